"""LongMemEval with several questions to a history, so that every strategy can be afforded.

The published form has one question to a history of some 500 turns: 235 histories, a hundred thousand turns, for each strategy to consolidate. Here
the evidence sessions of twenty questions stand in one history of as many turns, filled up with sessions that are evidence of none.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mnemos.bench.corpus import Corpus, Question
from mnemos.bench.datasets import file_of, read_lines
from mnemos.bench.longmemeval import FULL, ORACLE, SESSIONS, assembled_history, filler_sessions
from mnemos.bench.registry import Options
from mnemos.text.formats.longmemeval import question_records, session_order
from mnemos.text.formats.record import Place

EACH = 20
"""Questions to a history: their evidence is some 40 of its 48 sessions, so what bears on one question stands among what bears on others."""


HISTORIES = 6
"""Most of the cost is embedding what strategies write: some minutes a history for all of them, where no vector is at hand."""


def shared_histories(folder: Path, options: Options) -> list[Corpus]:
    """Questions with labelled evidence, twenty to a history; which ones is drawn from the seed."""
    published, oracle = read_lines(folder, FULL), read_lines(folder, ORACLE)
    asked = [question for question in oracle if not question["question_id"].endswith("_abs") and any(map(_tells, question["haystack_sessions"]))]
    rng = options.rng()
    fillers = list(filler_sessions([*published, *oracle]))
    order = rng.permutation(len(asked)).tolist()
    place, out = Place(str(file_of(folder, ORACLE))), []
    for start in range(0, min(len(order), HISTORIES * EACH), EACH):
        questions = [asked[at] for at in order[start : start + EACH]]
        together, own = _together(questions)
        together["question_id"] = name = f"shared {start // EACH + 1}"
        out.append(_corpus(name, questions, own, assembled_history(together, fillers, SESSIONS, rng), place))
    return out


def _tells(session: Sequence[dict[str, Any]]) -> bool:
    return any(turn.get("has_answer") for turn in session)


def _together(questions: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], list[list[int]]]:
    """One history with all sessions of some questions, a session that several have once; and the place of each question's sessions in it."""
    texts: list[list[str]] = []
    sessions: list[Any] = []
    dates: list[str] = []
    own: list[list[int]] = []
    for question in questions:
        places = []
        for session, date in zip(question["haystack_sessions"], question["haystack_dates"], strict=True):
            text = [turn["content"] for turn in session]
            if text not in texts:
                texts.append(text)
                sessions.append(session)
                dates.append(date)
            places.append(texts.index(text))
        own.append(places)
    latest = max(question["question_date"] for question in questions)
    return {"haystack_sessions": sessions, "haystack_dates": dates, "question_date": latest}, own


def _corpus(name: str, questions: Sequence[dict[str, Any]], own: Sequence[Sequence[int]], history: dict[str, Any], place: Place) -> Corpus:
    records = [{key: value for key, value in record.items() if key != "space"} for record in question_records(history, place)]
    number = {index: at for at, (index, _) in enumerate(session_order(history, place), 1)}
    asked = []
    for question, places in zip(questions, own, strict=True):
        evidence = frozenset(
            f"s{number[index]}:{position}"
            for index, session in zip(places, question["haystack_sessions"], strict=True)
            for position, turn in enumerate(session, 1)
            if turn.get("has_answer") and turn["content"].strip()
        )
        labels = {"answer": str(question["answer"])}
        asked.append(Question(question["question_id"], question["question"], evidence, question["question_type"], name, labels))
    return Corpus(name, records, asked)
