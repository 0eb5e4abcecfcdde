"""Questions on long documents: how much of the answer's words a context of 2,000 tokens holds, from one search and from an investigation."""

from __future__ import annotations

import gzip
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import mnemos
from mnemos.base.errors import NotFound
from mnemos.base.stats import bootstrap_difference
from mnemos.bench.datasets import read_lines
from mnemos.bench.embedding import CountingEmbedder, vector_folder
from mnemos.bench.registry import Options
from mnemos.index.terms import query_terms
from mnemos.kernel.space import Space
from mnemos.models.minilm import MiniLM
from mnemos.text.hypergraph.answering import Room
from mnemos.text.hypergraph.evidence import terms_of
from mnemos.text.hypergraph.session import Settings
from mnemos.text.tokens import token_counter

TOKENS = 2_000
PER_TYPE = 15
DOCUMENTS = {
    "medical": ("longdoc/medical_corpus.txt.gz", "longdoc/medical_questions_dev.jsonl.gz"),
    "novel": ("text/unsentimental-journey-through-cornwall.txt.gz", "longdoc/novel_questions_44557.jsonl.gz"),
}
KINDS = ("Fact Retrieval", "Complex Reasoning", "Contextual Summarize")


def long_documents(folder: Path, options: Options) -> dict[str, Any]:
    """By document and kind of question: n, share of the answer's telling words in either context, their difference with its interval, and seconds of
    an investigation. The answers are sentences; there are no marked passages, so this is as near as the data allow to recall of evidence."""
    embedder = CountingEmbedder(MiniLM(), vector_folder())
    out: dict[str, Any] = {}
    for name, (text, asked) in DOCUMENTS.items():
        with mnemos.open(":memory:", embedder=embedder) as memory:
            space = memory.space(name)
            space.add(_text(folder / text), type="document", source=name)
            out[name] = _measured(space, read_lines(folder, asked), options)
    return out


def _text(path: Path) -> str:
    if not path.is_file():
        raise NotFound(f"evaluation data: no file {path}")
    return gzip.decompress(path.read_bytes()).decode("utf-8")


def _measured(space: Space, questions: list[Any], options: Options) -> dict[str, Any]:
    found: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    rng = options.rng()
    for kind in KINDS:
        own = [one for one in questions if one["question_type"] == kind]
        for at in sorted(rng.permutation(len(own))[:PER_TYPE].tolist()):
            options.say(f"long documents: {space.name}, {kind}")
            wanted = frozenset(query_terms(own[at]["answer"]).hashes.tolist()) - frozenset(query_terms(own[at]["question"]).hashes.tolist())
            if wanted:
                found[kind].append((*_both(space, own[at]["question"], wanted),))
    out = {}
    for kind, rows in found.items():
        ours, plain, seconds = zip(*rows, strict=True)
        gain = bootstrap_difference(ours, plain, list(range(len(rows))), options.rng())
        out[kind] = {
            "n": len(rows), "investigation": sum(ours) / len(rows), "one search": sum(plain) / len(rows),
            "gain": gain.value, "low": gain.low, "high": gain.high, "seconds": sum(seconds) / len(rows),
        }  # fmt: skip
    return out


def _both(space: Space, question: str, wanted: frozenset[int]) -> tuple[float, float, float]:
    """(share by an investigation, share by one search, seconds of the investigation)"""
    start = time.perf_counter()
    context = space.investigate(question, Settings(room=Room(tokens=TOKENS))).context()
    seconds = time.perf_counter() - start
    count, left, told = token_counter(None), TOKENS, []
    for hit in space.search(question, k=30):
        left -= count(hit.cube.text or "")
        if left < 0:
            break
        told.append(hit.cube.text or "")
    return _held(wanted, context.text), _held(wanted, "\n".join(told)), seconds


def _held(wanted: frozenset[int], text: str) -> float:
    return len(wanted & terms_of(text)) / len(wanted)
