"""What the default policy saves where it is used: prefill tokens of a chat service's KV prefix cache, and disk reads of hot posting lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mnemos.bench.datasets import read_lines
from mnemos.bench.multihop import SETS
from mnemos.bench.paging_traces import SHARES
from mnemos.bench.result import Check
from mnemos.cache.auto import Auto
from mnemos.cache.base import Meta
from mnemos.cache.lru import LRU
from mnemos.cache.policy import Policy
from mnemos.cache.s3fifo import S3FIFO
from mnemos.cache.traces import Prompt
from mnemos.index.terms import query_terms

Table = dict[str, dict[str, Any]]
BLOCK = 512
"""Tokens of a block of the trace."""
MORE_TOKENS, FEWER_READS = 1.05, 0.90
ASKED = 10_000
POSTING_BYTES = 8
"""Of a document's place in a posting list: its row and its count."""


def prefix_cache(prompts: Sequence[Prompt]) -> tuple[list[Check], Table]:
    """Tokens that need no prefill because the blocks at the start of a prompt are in memory, at the same number of blocks.

    Only an unbroken run from the first block on counts, and at least one token is computed. Every policy sees a prompt's blocks from the last to the
    first, so that in plain LRU the end of a prompt goes before its beginning, as in the serving engines.
    """
    distinct = len({block for prompt in prompts for block in prompt.blocks})
    makers: dict[str, Callable[[int], Policy]] = {"lru": LRU, "s3-fifo": S3FIFO, "auto": Auto}
    table: Table = {}
    for share in SHARES:
        blocks = max(1, round(share * distinct))
        saved = {name: tokens_saved(prompts, make(blocks)) for name, make in makers.items()}
        table[f"{share:.0%} of the blocks"] = {"blocks": blocks, **{f"{name}, tokens saved": count for name, count in saved.items()},
                                             "auto ÷ lru": saved["auto"] / saved["lru"]}
    total = sum(prompt.tokens for prompt in prompts)
    checks = [
        Check(f"prefill tokens saved ÷ LRU, {place}", row["auto ÷ lru"], MORE_TOKENS, baseline=row["lru, tokens saved"] / total, n=len(prompts))
        for place, row in table.items()
    ]
    return checks, table


def tokens_saved(prompts: Sequence[Prompt], cache: Policy) -> int:
    """Prompt tokens that the cached blocks save, over all prompts."""
    saved = 0
    for prompt in prompts:
        run = 0
        while run < len(prompt.blocks) and prompt.blocks[run] in cache:
            run += 1
        saved += min(run * BLOCK, prompt.tokens - 1)
        for block in dict.fromkeys(reversed(prompt.blocks)):
            cache.request(block)
    return saved


def posting_lists(folder: Path, rng: np.random.Generator) -> tuple[list[Check], Table]:
    """Reads of posting lists from disk while questions are asked of an index over all passages, with memory for a share of its bytes.

    Hot lists: `ASKED` questions are drawn by Zipf's law with exponent 0.8, each rank a question drawn beforehand: searches repeat, as in the logs
    of search engines. Beside it, without a bound, each question once, where two reads of five are of a list that was never read before.
    """
    sizes, questions = _index(folder)
    weights = 1 / np.arange(1, len(questions) + 1) ** 0.8
    order = rng.permutation(len(questions))
    loads = {"searches that repeat": order[rng.choice(len(questions), ASKED, p=weights / weights.sum())], "each question once": order}
    table: Table = {}
    checks = []
    for load, numbers in loads.items():
        asked = [term for number in numbers for term in questions[number]]
        for share in SHARES:
            place = f"{load}, {share:.0%} of the bytes"
            row = table[place] = _read(asked, sizes, max(max(sizes.values()), round(share * sum(sizes.values()))))
            bound = FEWER_READS if load == "searches that repeat" else None
            checks.append(Check(f"reads of posting lists ÷ LRU, {place}", row["auto ÷ lru, reads"], bound, at_least=False, n=len(asked)))
    return checks, table


def _read(asked: Sequence[int], sizes: Mapping[int, int], room: int) -> dict[str, float]:
    """Reads, and bytes that they read, of LRU and the default with `room` bytes."""
    row: dict[str, float] = {"bytes": room}
    for name, cache in (("lru", LRU(room)), ("auto", Auto(room, sized=True))):
        read = [sizes[term] for term in asked if cache.request(term, Meta(size=sizes[term])) is not None]
        row |= {f"{name}, reads": len(read), f"{name}, bytes read": sum(read)}
    return row | {f"auto ÷ lru, {what}": row[f"auto, {what}"] / row[f"lru, {what}"] for what in ("reads", "bytes read")}


def _index(folder: Path) -> tuple[dict[int, int], list[list[int]]]:
    """Bytes of each term's posting list, and the terms of each question that the index has."""
    natural = read_lines(folder, "nq-open/nq_open_dev.jsonl.gz")
    texts = [f"{row['title']}\n{row['passage']}" for row in natural]
    questions = [row["question"] for row in natural]
    for name in SETS:
        texts += [f"{row['title']}\n{' '.join(row['sentences'])}" for row in read_lines(folder, f"multihop/{name}_dev.corpus.jsonl.gz")]
        questions += [row["question"] for row in read_lines(folder, f"multihop/{name}_dev.questions.jsonl.gz")]
    documents = Counter(term for text in texts for term in set(_terms(text)))
    sizes = {term: POSTING_BYTES * count for term, count in documents.items()}
    return sizes, [[term for term in dict.fromkeys(_terms(question)) if term in sizes] for question in questions]


def _terms(text: str) -> list[int]:
    return [int(term) for term in query_terms(text).hashes]
