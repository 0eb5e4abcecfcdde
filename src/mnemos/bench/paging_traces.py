"""The traces of the paging benchmark: thirteen real ones, a made one, and the capacities at which they are replayed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mnemos.cache.traces import Prompt, Trace, of_blocks, read_csv, read_jsonl, read_prompts, read_text

FOLDER = "traces"
SHARES = (0.01, 0.05, 0.10)
"""Capacities, as shares of the different pages of a trace. Fixed before any policy was run on them."""
LEAST = 10
"""Pages that a cache holds at least: the capacity at which the literature replays BrightKite."""
MIX = "agent memory (made)"
PROMPTS = "mooncake_conversation.jsonl.gz"
TEXTS = ("lirs_multi1", "lirs_multi2", "lirs_sprite", "lirs_cpp", "lirs_cs", "lirs_ps", "cache2k_web07")
LENGTHS = ("azure_llm_2023_conv", "azure_llm_2023_code")
SMALL = ("lirs_cpp", "lirs_cs", "lirs_ps", "lirs_multi1", "azure_llm_2023_code")


@dataclass(frozen=True)
class Set:
    """Traces that count as one: each has a cache of its own, and misses are summed."""

    name: str
    traces: Sequence[Trace]

    @property
    def requests(self) -> int:
        return sum(map(len, self.traces))


def capacity(trace: Trace, share: float) -> int:
    """Pages that a cache holds which is to hold this share of the trace's pages, rounded, and at least `LEAST`."""
    return max(LEAST, round(share * trace.pages))


def real_sets(folder: Path, quick: bool = False) -> list[Set]:
    """One set for each of the thirteen files of traces; `quick`: five short ones. Raises `NotFound`, `Corrupt`.

    CitiBike and BrightKite are 6 and 20 traces of users or months. Of the chat service the requests are prompt blocks. The two other services'
    files hold no blocks: their pages are the lengths of prompts, what a cache of plans or compiled graphs by length would be asked for.
    """
    home = folder / FOLDER
    texts = [Set(name, [read_text(home / f"{name}.txt.gz")]) for name in TEXTS]
    lengths = [Set(name, [read_csv(home / f"{name}.csv.gz", "ContextTokens")]) for name in LENGTHS]
    if quick:
        return [one for one in (*texts, *lengths) if one.name in SMALL]
    return [
        *texts,
        Set("cloudphysics_io", [read_csv(home / "cloudphysics_io.csv.gz", "block")]),
        *lengths,
        Set("citibike", citibike(folder)),
        Set("brightkite", brightkite(folder)),
        Set("mooncake_conversation", [of_blocks(prompts(folder), "mooncake")]),
    ]


def citibike(folder: Path) -> list[Trace]:
    """Start stations of bicycle rides, a month each."""
    return read_jsonl(folder / FOLDER / "citibike_dev.jsonl.gz")


def brightkite(folder: Path) -> list[Trace]:
    """Places where people checked in, a person each."""
    return read_jsonl(folder / FOLDER / "brightkite_dev.jsonl.gz")


def prompts(folder: Path) -> list[Prompt]:
    """An hour of a chat service."""
    return read_prompts(folder / FOLDER / PROMPTS)


def agent_memory(rng: np.random.Generator, requests: int = 200_000) -> Trace:
    """What an agent's memory may be asked for: half from 20,000 pages by Zipf's law with exponent 0.9, half from a working set of 1,500 pages
    that moves on by one every 20 requests, and now and then a scan over 100 to 1,000 pages that are never asked for again."""
    weights = 1 / np.arange(1, 20_001) ** 0.9
    popular = rng.choice(20_000, requests, p=weights / weights.sum())
    keys: list[int] = []
    scanned = 10**7
    while len(keys) < requests:
        now = len(keys)
        keys.append(int(popular[now]) if rng.random() < 0.5 else 10**6 + now // 20 + int(rng.integers(1500)))
        if rng.random() < 0.0005:
            length = int(rng.integers(100, 1000))
            keys += range(scanned, scanned + length)
            scanned += length
    return Trace(MIX, keys[:requests])
