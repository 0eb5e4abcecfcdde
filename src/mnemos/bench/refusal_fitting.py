"""Fits the weights of `mnemos.text.support`: `python -m mnemos.bench.refusal_fitting` prints them, and what they tell apart on talks left out.

Questions of LoCoMo's seven conversations and of Natural Questions, asked of a space as `Space.answer` asks them. Right is an answer that shares
half of its words with the gold one. Wrong are the answers to questions that have none: LoCoMo's adversarial ones, and questions in which another
word of the same form, from another question of the set, stands in place of a noun; and, for less, wrong answers to the rest. LongMemEval, on
which the gate is measured (`mnemos bench convomem`), has no part in it.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import mnemos
from mnemos.base.clock import to_micros
from mnemos.bench.datasets import data_folder, read_json, read_lines
from mnemos.bench.locomo import CATEGORIES
from mnemos.bench.reader_data import f1
from mnemos.index.terms import fold, words
from mnemos.kernel.reading.answering import BY_MODEL, BY_RULES
from mnemos.kernel.space import Space
from mnemos.text.agreement.words import ADVERBS, AUXILIARIES, FORMS, PREPOSITIONS
from mnemos.text.answering.candidates import Source
from mnemos.text.answering.reader import answer
from mnemos.text.formats.locomo import sample_records
from mnemos.text.formats.record import Place
from mnemos.text.subject import base_term, rarity, subject_terms
from mnemos.text.support import Evidence, evidence

Floats = NDArray[np.float64]

SAME = 0.5
"""F1 of words from which an answer counts as the gold one."""
ANSWERED = 0.3
"""What a wrong answer to a question that has one counts, of one to a question that has none."""
RIDGE = 1.0
"""Penalty of squared weights, of evidence in units of its deviation."""
NATURAL = 800
"""Natural Questions that are used, of 1,300."""
LOST = 0.05
"""Right answers, as a share of answerable questions, that the report gives up."""
_LOCOMO = ("multi-hop", "temporal", "single-hop")
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Item:
    """A question, and the answers that count as right; of an unanswerable one, none."""

    group: str
    """What it is left out with: a conversation."""
    kind: str
    """"answerable", "adversarial", "swapped"."""
    question: str
    answers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """An item with the evidence for what is answered to it, and whether that is right."""

    item: Item
    evidence: Evidence
    right: bool


class Swaps:
    """Puts a noun of another question in place of one of a question's."""

    def __init__(self, questions: Iterable[str]) -> None:
        self._pool: dict[str, dict[str, None]] = {}
        for question in questions:
            for match in _nouns(question):
                self._pool.setdefault(_form(match), {})[match.group()] = None

    def swapped(self, question: str, rng: np.random.Generator) -> str | None:
        """The question with another noun; None where it has none, or nothing is of the same form."""
        found = _nouns(question)
        if not found:
            return None
        match = found[int(rng.integers(len(found)))]
        own = {base_term(word) for word in words(question)}
        pool = [word for word in self._pool.get(_form(match), ()) if base_term(fold(word)) not in own]
        if not pool:
            return None
        return question[: match.start()] + pool[int(rng.integers(len(pool)))] + question[match.end() :]


def _nouns(question: str) -> list[re.Match[str]]:
    """Words of the subject that look like no verb, adverb or function word."""
    subject = set(subject_terms(question))
    return [match for match in _WORD.finditer(question) if base_term(fold(match.group())) in subject and _may_be_noun(fold(match.group()))]


def _may_be_noun(word: str) -> bool:
    return not (word in FORMS or word in ADVERBS or word in AUXILIARIES or word in PREPOSITIONS or word.endswith(("ed", "ing", "ly")))


def _form(match: re.Match[str]) -> str:
    """What a word has to look like to stand in another's place: a number, a name, one or several of a thing."""
    word = match.group()
    sort = "number" if word[0].isdigit() else "name" if word[0].isupper() and match.start() else "noun"
    return f"{sort} {word.endswith('s')}"


def locomo(folder: Path, rng: np.random.Generator) -> Iterator[Case]:
    """The cases of LoCoMo: categories 1, 2 and 4, each also swapped, and 5."""
    samples = read_json(folder, "locomo/locomo_dev.json.gz")
    swaps = Swaps(one["question"] for sample in samples for one in sample["qa"])
    for sample in samples:
        name = str(sample["sample_id"])
        items = []
        for one in sample["qa"]:
            kind = CATEGORIES[one["category"]]
            if kind == "adversarial":
                items.append(Item(name, kind, one["question"]))
            elif kind in _LOCOMO:
                items += _with_swap(Item(name, "answerable", one["question"], (str(one["answer"]),)), swaps, rng)
        yield from _cases(items, ({key: value for key, value in one.items() if key != "space"} for one in sample_records(dict(sample), Place(name))))


def natural_questions(folder: Path, rng: np.random.Generator) -> Iterator[Case]:
    """The cases of Natural Questions over all its passages: `NATURAL` of the questions, each also swapped."""
    rows = list(read_lines(folder, "nq-open/nq_open_dev.jsonl.gz"))
    swaps = Swaps(row["question"] for row in rows)
    drawn = [rows[at] for at in rng.choice(len(rows), NATURAL, replace=False)]
    items = [item for row in drawn for item in _with_swap(Item("nq", "answerable", row["question"], tuple(row["answers"])), swaps, rng)]
    yield from _cases(items, ({"text": f"{row['title']}\n{row['passage']}", "type": "passage"} for row in rows))


def _with_swap(item: Item, swaps: Swaps, rng: np.random.Generator) -> list[Item]:
    other = swaps.swapped(item.question, rng)
    return [item] if other is None else [item, Item(item.group, "swapped", other)]


def _cases(items: Sequence[Item], records: Iterable[dict[str, object]]) -> Iterator[Case]:
    """The items as `Space.answer` sees them, without a model; those that it finds nothing for are left out."""
    with mnemos.open(":memory:", embedder="none") as memory:
        space = memory.space("history")
        space.add_many(records)
        for item in items:
            case = asked(space, item)
            if case is not None:
                yield case


def asked(space: Space, item: Item) -> Case | None:
    """The item asked of `space`; None where nothing is answered."""
    hits = space.search(item.question, k=BY_MODEL)
    read = [Source(str(hit.cube.id), hit.cube.text, hit.cube.author, to_micros(hit.cube.event_at)) for hit in hits[:BY_RULES]]
    found = answer(item.question, read, least=0.0)
    told = evidence(item.question, found, read, rarity([hit.cube.text for hit in hits])) if found.text else {}
    return Case(item, told, bool(item.answers) and f1(found.text, item.answers) >= SAME) if told else None


def fit(cases: Sequence[Case]) -> dict[str, float]:
    """The weights of greatest likelihood, the penalty counted and the bias free, by Newton's method."""
    names = [name for name in cases[0].evidence if name != "bias"]
    x = np.array([[case.evidence[name] for name in names] for case in cases])
    y = np.array([float(case.right) for case in cases])
    counts = np.array([ANSWERED if case.item.answers and not case.right else 1.0 for case in cases])
    mean, deviation = x.mean(axis=0), x.std(axis=0) + 1e-9
    z = np.column_stack([np.ones(len(x)), (x - mean) / deviation])
    penalty, w = np.diag([1e-6, *[RIDGE] * len(names)]), np.zeros(len(names) + 1)
    for _ in range(40):
        p = 1 / (1 + np.exp(-z @ w))
        w += np.linalg.solve((z.T * (counts * p * (1 - p))) @ z + penalty, z.T @ (counts * (y - p)) - penalty @ w)
    scaled = w[1:] / deviation
    return {"bias": round(float(w[0] - scaled @ mean), 3), **{name: round(float(one), 3) for name, one in zip(names, scaled, strict=True)}}


def scores(cases: Sequence[Case], weights: dict[str, float]) -> Floats:
    """The log odds of each case, (n,)."""
    return np.array([sum(weights[name] * value for name, value in case.evidence.items()) for case in cases])


def left_out(cases: Sequence[Case], others: Sequence[Case]) -> Floats:
    """The log odds of each case under weights fitted on `others` and the cases of other groups."""
    out = np.zeros(len(cases))
    for group in sorted({case.item.group for case in cases}):
        weights = fit([*others, *(case for case in cases if case.item.group != group)])
        here = [at for at, case in enumerate(cases) if case.item.group == group]
        out[here] = scores([cases[at] for at in here], weights)
    return out


def report(cases: Sequence[Case], odds: Floats) -> str:
    """What is answered of the unanswerable ones where `LOST` of the answerable questions lose their right answer."""
    answerable = sum(bool(case.item.answers) for case in cases)
    right = np.sort([value for value, case in zip(odds, cases, strict=True) if case.right])
    cut = float(right[int(LOST * answerable)])
    lines = [f"{answerable} answerable questions, {len(right) / answerable:.1%} answered rightly; cut at log odds {cut:.2f}"]
    for kind in ("adversarial", "swapped"):
        own = np.array([value for value, case in zip(odds, cases, strict=True) if case.item.kind == kind])
        if not len(own):
            continue
        lines.append(f"{kind}: {np.mean(own >= cut):.1%} of {len(own)} answered, for {LOST:.0%} of right answers")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    folder, rng = data_folder(options.data), np.random.default_rng(options.seed)
    talks, passages = list(locomo(folder, rng)), list(natural_questions(folder, rng))
    print(f"LoCoMo, each conversation left out:\n{report(talks, left_out(talks, passages))}")
    print("WEIGHTS: dict[str, float] =", str(fit([*talks, *passages])).replace("'", '"'))


if __name__ == "__main__":
    main()
