"""Sessions of SCBench: one context, several questions, in the published record format with the places of their evidence added."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from mnemos.base.errors import Corrupt, Invalid, NotFound, shown

Span = tuple[int, int]
"""(start, end) in characters of the context."""
Answer = str | tuple[str, ...]

TEXT, COMPACT = "text", "compact"
RENDERINGS = (TEXT, COMPACT)

PUBLISHED = {
    "scbench_kv": "kv",
    "scbench_prefix_suffix": "prefix_suffix",
    "scbench_vt": "multi_hop",
    "scbench_repoqa": "repoqa",
    "scbench_qa_eng": "qa_english",
    "scbench_qa_chn": "qa_chinese",
    "scbench_choice_eng": "choice",
    "scbench_mf": "math_find",
    "scbench_many_shot": "many_shot",
    "scbench_summary": "summary",
    "scbench_summary_with_needles": "summary_needles",
    "scbench_repoqa_and_kv": "repoqa_kv",
    "scbench_passkey": "needle",
    "scbench_needle": "needle",
}
"""Names of tasks in the published files, and ours."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A question about the context. `task` says which kind it is where a session mixes kinds; `options` are what is chosen from; `facts` are
    groups of strings of which a summary should hold all."""

    input: str
    answer: Answer
    options: tuple[str, ...] = ()
    task: str | None = None
    facts: tuple[tuple[str, ...], ...] = ()
    evidence: tuple[Span, ...] = ()
    """Where in the context the answer comes from; of a question about the whole, that whole."""

    @property
    def reference(self) -> str:
        """The answer as one text: what is put into the history."""
        return self.answer if isinstance(self.answer, str) else ", ".join(self.answer)


@dataclass(frozen=True, slots=True)
class Record:
    """One context with its questions."""

    id: str
    task: str
    context: str
    turns: tuple[Turn, ...]
    rendering: str = TEXT
    about: Mapping[str, Any] = field(default_factory=dict)
    """What made it (length, seed) or happened to it (`middle_truncated`, `evidence_cut`)."""

    def kind(self, turn: Turn) -> str:
        """The task that a turn belongs to."""
        return turn.task or self.task

    def as_json(self) -> dict[str, Any]:
        """The published form {id, context, multi_turns}, with task, rendering, evidence_spans (per turn) and about added."""
        turns = []
        for turn in self.turns:
            row: dict[str, Any] = {"input": turn.input, "answer": turn.answer if isinstance(turn.answer, str) else list(turn.answer)}
            if turn.options:
                row["options"] = list(turn.options)
            if turn.task:
                row["task"] = turn.task
            if turn.facts:
                row["facts"] = [list(fact) for fact in turn.facts]
            turns.append(row)
        spans = [[list(span) for span in turn.evidence] for turn in self.turns]
        return {
            "id": self.id, "context": self.context, "multi_turns": turns, "evidence_spans": spans, "task": self.task, "rendering": self.rendering,
            "about": dict(self.about),
        }  # fmt: skip

    def as_line(self) -> bytes:
        """One line of JSON Lines, with its end; equal records give equal bytes."""
        return orjson.dumps(self.as_json(), option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


def record_from(row: Mapping[str, Any], task: str | None = None) -> Record:
    """A record of a published row, or of one of ours. `task`, ours or published, where the row does not say. Raises `Invalid`."""
    try:
        named = str(row.get("task") or task or "")
        spans = row.get("evidence_spans") or [[] for _ in row["multi_turns"]]
        turns = tuple(_turn(turn, where) for turn, where in zip(row["multi_turns"], spans, strict=True))
        context, id_ = row["context"], str(row["id"])
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        wanted = "id, context and multi_turns of input and answer (evidence_spans for each turn, if any)"
        raise Invalid(f"record: expected {wanted}; {type(problem).__name__}: {problem}") from problem
    if not isinstance(context, str) or not turns:
        raise Invalid(f"record {shown(id_)}: the context must be text, and multi_turns must have a turn")
    kind = PUBLISHED.get(named, named)
    if not kind:
        raise Invalid(f"record {shown(id_)}: says no task; give one, such as {', '.join(list(PUBLISHED.values())[:3])}")
    for turn in turns:
        if any(not 0 <= start <= end <= len(context) for start, end in turn.evidence):
            raise Invalid(f"record {shown(id_)}: an evidence span lies outside the context of {len(context)} characters")
    return Record(id_, kind, context, turns, str(row.get("rendering") or TEXT), dict(row.get("about") or {}))


def _turn(row: Mapping[str, Any], spans: Sequence[Sequence[int]]) -> Turn:
    answer = row["answer"]
    asked = row.get("task")
    return Turn(
        str(row["input"]),
        tuple(str(part) for part in answer) if isinstance(answer, list) else str(answer),
        tuple(str(option) for option in row.get("options") or ()),
        PUBLISHED.get(asked, asked) if asked else None,
        tuple(tuple(str(part) for part in fact) for fact in row.get("facts") or ()),
        tuple((int(start), int(end)) for start, end in spans),
    )


def write_records(path: Path, records: Iterable[Record]) -> None:
    """JSON Lines, one record a line."""
    with path.open("wb") as file:
        file.writelines(record.as_line() for record in records)


def read_records(path: Path, task: str | None = None) -> Iterator[Record]:
    """Records of a JSON Lines file, ours or published. `task` names it where the rows do not; the file's name does, if it is a published one.
    Raises `NotFound`, `Corrupt` (not JSON) and `Invalid` (not a record), each with the line."""
    if not path.is_file():
        raise NotFound(f"records: there is no file {path}; generate one, or put the published JSON Lines there")
    named = task or (path.stem if path.stem in PUBLISHED else None)
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError as problem:
                raise Corrupt(f"records: {path}, line {number} is not JSON: {problem}") from problem
            try:
                yield record_from(row, named)
            except Invalid as problem:
                raise Invalid(f"records: {path}, line {number}: {problem}") from problem


def with_about(record: Record, **more: Any) -> Record:
    """The record with more said about it."""
    return replace(record, about={**record.about, **more})
