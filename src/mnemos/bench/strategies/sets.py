"""The sets on which strategies are compared: histories with questions, and which session each memory belongs to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mnemos.bench import bfcl_memory, locomo, multihop, qmsum
from mnemos.bench.corpus import Corpus, Question, sample_corpora, sample_questions
from mnemos.bench.datasets import read_lines
from mnemos.bench.registry import Options
from mnemos.bench.strategies.shared_histories import shared_histories
from mnemos.text.encoding import SESSION_KEYS

MSC = "msc/msc_dev.jsonl.gz"
MSC_DIALOGUES = 40
MSC_FACTS = 20
"""Facts of each dialogue that are asked for, where it has so many. Of five of each, three that a strategy happens to win look like more than a point;
over 3,977 facts, up to twenty of each dialogue, there is no such gain."""
MULTI_HOP = ("musique", "hotpotqa", "2wikimultihopqa")
PER_CATEGORY = {"locomo": 75, "qmsum": 60, "bfcl-memory": 40}
"""Questions of each category that are asked in the full run, where a set has many."""


def load(folder: Path, options: Options, only: Sequence[str] | None = None) -> dict[str, list[Corpus]]:
    """Every set (or those of `only`) by its name; quick takes a few histories, or a few questions, of each."""
    quick = options.quick
    loaders: dict[str, Callable[[], Sequence[Corpus]]] = {
        "locomo": lambda: _answerable(locomo.load(folder)),
        "longmemeval": lambda: shared_histories(folder, options),
        "musique": lambda: [_named(folder, "musique", options)],
        "hotpotqa": lambda: [_named(folder, "hotpotqa", options)],
        "2wikimultihopqa": lambda: [_named(folder, "2wikimultihopqa", options)],
        "qmsum": lambda: qmsum.load(folder),
        "bfcl-memory": lambda: bfcl_memory.load(folder)[0],
        "msc": lambda: msc(folder, options),
    }
    out = {}
    for name, loader in loaders.items():
        if only is not None and name not in only:
            continue
        corpora = list(loader())
        if quick:
            few = sample_corpora(corpora, 2, options.rng(), lambda corpus: "")
            corpora = sample_questions(few, 8, options.rng())
            if name in MULTI_HOP:
                corpora = [multihop.candidates_only(corpus) for corpus in corpora]
        elif name in PER_CATEGORY:
            corpora = sample_questions(corpora, PER_CATEGORY[name], options.rng())
        out[name] = corpora
    return out


def _answerable(corpora: Sequence[Corpus]) -> list[Corpus]:
    """LoCoMo without the questions that the conversation does not answer."""
    return [replace(corpus, questions=[q for q in corpus.questions if q.category != locomo.ADVERSARIAL]) for corpus in corpora]


def _named(folder: Path, name: str, options: Options) -> Corpus:
    return next(corpus for corpus in multihop.load(folder, distractors=not options.quick) if corpus.name == name)


def msc(folder: Path, options: Options) -> list[Corpus]:
    """Multi-Session Chat: each question is a fact that an annotator noted of a turn of an earlier session, in the annotator's words."""
    dialogues = read_lines(folder, MSC)
    rng = options.rng()
    chosen = sorted(rng.choice(len(dialogues), min(MSC_DIALOGUES, len(dialogues)), replace=False).tolist())
    return [_dialogue(dialogues[number], rng) for number in chosen]


def _dialogue(dialogue: dict[str, Any], rng: np.random.Generator) -> Corpus:
    records: list[dict[str, Any]] = []
    facts: list[tuple[str, str]] = []
    for session in dialogue["sessions"]:
        for position, turn in enumerate(session["turns"], 1):
            source = f"s{session['session']}:{position}"
            records.append({
                "text": turn["text"], "source": source, "author": turn["speaker"], "type": "turn", "metadata": {"session": session["session"]},
            })  # fmt: skip
            if turn.get("fact") and session["session"] < len(dialogue["sessions"]):
                facts.append((turn["fact"], source))
    asked = sorted(rng.choice(len(facts), min(MSC_FACTS, len(facts)), replace=False).tolist())
    name = str(dialogue["id"])
    return Corpus(name, records, [Question(f"{name}/{i}", facts[i][0], frozenset([facts[i][1]]), "fact", name) for i in asked])


def sessions_of(corpus: Corpus) -> dict[str, str]:
    """Source → the session that it stands in; what stands in none is its own."""
    out = {}
    for record in corpus.records:
        metadata = record.get("metadata") or {}
        session = next((str(metadata[key]) for key in SESSION_KEYS if key in metadata), None)
        out[str(record["source"])] = f"session {session}" if session is not None else str(record["source"])
    return out
