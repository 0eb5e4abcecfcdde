"""Knowledge updates on real histories: whether the turn with the current value comes before the turn with the old one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import mnemos
from mnemos.base.errors import NotFound
from mnemos.base.stats import wilson
from mnemos.bench import longmemeval
from mnemos.bench.corpus import Corpus
from mnemos.bench.datasets import data_folder
from mnemos.bench.embedding import CountingEmbedder
from mnemos.bench.registry import Options
from mnemos.bench.result import Check

TYPE = "knowledge-update"
BOUND = 0.95
K = 100
QUICK = 12
NOTE = (
    "Knowledge updates: questions of LongMemEval of that type whose evidence stands in two sessions or more; the current value is that of the "
    "newest; those whose answer is the old value are left out. "
    "Right where its best turn is above the best turn of the oldest one. MemDaily has no updates: its streams are of one day, and no value changes."
)


class Pair(NamedTuple):
    """A question, and the sources that tell the current and the oldest value."""

    corpus: Corpus
    newest: frozenset[str]
    oldest: frozenset[str]


def pairs(corpora: Sequence[Corpus]) -> list[Pair]:
    """The questions about something that changed, where the data tell which turn is the newer."""
    out = []
    for corpus in corpora:
        if not corpus.questions or corpus.questions[0].category != TYPE:
            continue
        when: dict[str, datetime] = {str(record["source"]): record["event_at"] for record in corpus.records if record.get("event_at") is not None}
        evidence = corpus.questions[0].evidence
        days = sorted({when[source] for source in evidence if source in when})
        sessions = {source.split(":")[0] for source in evidence}
        if len(days) < 2 or len(sessions) < 2:
            continue
        newest, oldest = (" ".join(corpus.questions[0].labels["turns"][s] for s in evidence if when.get(s) == day) for day in (days[-1], days[0]))
        answer = _plain(corpus.questions[0].labels["answer"])
        if answer in _plain(oldest) and answer not in _plain(newest):
            continue  # it asks for the old value
        out.append(Pair(corpus, *(frozenset(source for source in evidence if when.get(source) == day) for day in (days[-1], days[0]))))
    return out


def _plain(text: str) -> str:
    return f" {' '.join(''.join(c if c.isalnum() else ' ' for c in text.casefold()).split())} "


def measure(options: Options, embedder: CountingEmbedder, strategies: Sequence[str], folder: Path) -> tuple[list[Check], dict[str, Any]]:
    """The share of questions of which the current value comes first, for each strategy. Nothing where the data are absent."""
    try:
        found = pairs(longmemeval.load(data_folder(options.data), options))
    except NotFound:
        return [], {}
    found = found[:QUICK] if options.quick else found
    right: dict[str, int] = dict.fromkeys(strategies, 0)
    both: dict[str, int] = dict.fromkeys(strategies, 0)
    with mnemos.open(str(folder / "updates.db"), embedder=embedder) as memory:
        for number, pair in enumerate(found):
            options.say(f"knowledge update {number + 1} of {len(found)}")
            question = pair.corpus.questions[0]
            for strategy in strategies:
                space = memory.space(f"{number} {strategy}", strategy=strategy)
                space.add_many(list(pair.corpus.records))
                space.consolidate()
                sources = [hit.cube.source for hit in space.search(question.text, k=K)]
                new, old = (next((at for at, source in enumerate(sources) if source in wanted), K) for wanted in (pair.newest, pair.oldest))
                right[strategy] += new < old
                both[strategy] += new < 10
    checks = []
    rows: dict[str, dict[str, Any]] = {}
    for strategy in strategies:
        share = wilson(right[strategy], len(found))
        bound = BOUND if strategy != "plain" and not options.quick else None
        checks.append(Check.of(f"LongMemEval updates, current above old, {strategy}", share, bound))
        rows[strategy] = {"n": len(found), "current above old": share.value, "current among ten": both[strategy] / max(len(found), 1)}
    return checks, {"LongMemEval knowledge updates": rows}
