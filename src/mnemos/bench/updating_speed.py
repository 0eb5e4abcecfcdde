"""What it costs to find the relations of new memories in a large space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import mnemos
from mnemos.base.meter import Seconds
from mnemos.bench.embedding import SeededEmbedder
from mnemos.bench.fact_families import FAMILIES, stated
from mnemos.bench.registry import Options
from mnemos.bench.result import Check
from mnemos.bench.updating_relations import Findings
from mnemos.text.agreement import Memory, find_relations, memory_of

MEMORIES, QUICK_MEMORIES, PEOPLE = 100_000, 10_000, 200
NEWEST = (1, 100)
_NOUNS = "apple river cloud train letter garden window castle bridge market forest lamp piano storm bottle island mirror carpet engine ladder"


def speed(options: Options, folder: Path) -> Findings:
    """Milliseconds for each of the newest memories, one and a hundred at a time, in a space of many: candidates, reading and comparison."""
    count = QUICK_MEMORIES if options.quick else MEMORIES
    rng, nouns = options.rng(), _NOUNS.split()
    rows: dict[str, dict[str, Any]] = {}
    with mnemos.open(str(folder / "large.db"), embedder=SeededEmbedder()) as memory:
        space = memory.space("large")
        texts = [
            stated(FAMILIES[rng.integers(len(FAMILIES))], rng)[0] if rng.random() < 0.3 else f"{' '.join(rng.choice(nouns, 12))} {number}"
            for number in range(count)
        ]
        space.add_many([{"text": text, "author": f"Person {rng.integers(PEOPLE)}"} for text in texts])
        with memory.snapshot() as snapshot:
            index = memory.index(space.num, snapshot)
            with index.lock:
                index.catch_up(snapshot)
                allowed, seqs = index.visible(snapshot.position), index.seq.view()

                def read(rows: Sequence[int]) -> Mapping[int, Memory]:
                    found = snapshot.versions([int(seqs[row]) for row in rows])
                    return {row: memory_of(found[int(seqs[row])].content, int(seqs[row])) for row in rows}

                find_relations(index, allowed, [len(index) - 1], read)  # what waits in the index is settled by the first search
                for newest in NEWEST:
                    with Seconds() as took:
                        find_relations(index, allowed, np.flatnonzero(allowed)[-newest:], read)
                    rows[f"newest {newest}"] = {"memories": count, "ms": 1e3 * took.seconds, "ms for each": 1e3 * took.seconds / newest}
    last = rows[f"newest {NEWEST[-1]}"]["ms for each"]
    return Findings([Check(f"ms to find the relations of a new memory among {count:,}", last, n=NEWEST[-1])], rows)
