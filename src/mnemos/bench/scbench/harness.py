"""Running a client over sessions, in the two modes of the paper, and what comes out of each turn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import orjson

from mnemos.base.errors import Conflict, Corrupt, Invalid, NotFound
from mnemos.bench.scbench.clients import Answered, Client, Conversation
from mnemos.bench.scbench.records import Record, Turn
from mnemos.bench.scbench.scoring import score
from mnemos.bench.scbench.tasks import new_tokens

MULTI_TURN, MULTI_REQUEST = "multi-turn", "multi-request"
MODES = (MULTI_TURN, MULTI_REQUEST)
REFERENCE, OWN = "reference", "own"


@dataclass(frozen=True, slots=True)
class TurnRow:
    """One answer. Seconds to the first token begin with the question: a method that must know it when it reads the context has that in them. What
    reading the context took stands in the session."""

    session: str
    task: str
    kind: str
    turn: int
    answer: str
    score: float
    facts: float | None
    tokens: int | None
    first_seconds: float | None
    rest_seconds: float | None
    fork_seconds: float
    resident: Mapping[str, int]
    moved: int
    length: int
    retention: float | None
    read: float | None
    rolled_back: bool | None
    peak: int | None = None
    reused: float | None = None
    hits: float | None = None

    @property
    def token_seconds(self) -> float | None:
        """Seconds for each token after the first."""
        return self.rest_seconds / (self.tokens - 1) if self.rest_seconds is not None and self.tokens and self.tokens > 1 else None

    @property
    def bytes(self) -> int:
        return sum(self.resident.values())


@dataclass(frozen=True, slots=True)
class SessionResult:
    """A session as one client answered it."""

    session: str
    task: str
    method: str
    query_aware: bool
    mode: str
    answers: str
    template: str
    prefill_seconds: float
    rows: tuple[TurnRow, ...]

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "rows": [{**asdict(row), "resident": dict(row.resident)} for row in self.rows]}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> SessionResult:
        """Raises `Invalid` for what is none."""
        try:
            return cls(**{**row, "rows": tuple(TurnRow(**each) for each in row["rows"])})
        except (KeyError, TypeError) as problem:
            raise Invalid(f"session result: this is none: {problem}") from problem


def run_session(client: Client, record: Record, mode: str = MULTI_TURN, answers: str = REFERENCE) -> SessionResult:
    """A session, turn by turn, with the reference answers in the history, or ("own") with the client's; or each question by itself, from the state
    after the context. Raises `Conflict` where generated tokens stayed behind, by the hash of the state; `Invalid` for an unknown mode."""
    if mode not in MODES or answers not in (REFERENCE, OWN):
        raise Invalid(f"mode is one of {', '.join(MODES)}, answers {REFERENCE} or {OWN}; not {mode!r:.40}, {answers!r:.40}")
    play = _multi_turn if mode == MULTI_TURN else _multi_request
    prefill, rows = play(client, record, answers)
    return SessionResult(record.id, record.task, client.name, client.query_aware, mode, answers, client.template, prefill, rows)


def run(
    client: Client, records: Iterable[Record], mode: str = MULTI_TURN, answers: str = REFERENCE, say: Callable[[str], None] = lambda _: None
) -> list[SessionResult]:
    """All sessions, one after the other."""
    out = []
    for record in records:
        say(f"{client.name}, {mode}: {record.id}")
        out.append(run_session(client, record, mode, answers))
    return out


def _multi_turn(client: Client, record: Record, answers: str) -> tuple[float, tuple[TurnRow, ...]]:
    start = perf_counter()
    conversation = client.open(record, record.turns[0])
    prefill = perf_counter() - start
    rows = []
    try:
        for number, turn in enumerate(record.turns):
            answered = _asked(client, conversation, record, turn)
            rows.append(_row(record, number, turn, answered, prefill if client.query_aware and number == 0 else 0.0))
            conversation.settle(turn.reference if answers == REFERENCE else answered.text)
    finally:
        conversation.close()
    return prefill, tuple(rows)


def _multi_request(client: Client, record: Record, answers: str) -> tuple[float, tuple[TurnRow, ...]]:
    """The context is read once and forked for each question; by a query-aware client, once with each question."""
    prefill, opened, rows = 0.0, 0.0, []
    base: Conversation | None = None
    try:
        for number, turn in enumerate(record.turns):
            if base is None or client.query_aware:
                if base is not None:
                    base.close()
                start = perf_counter()
                base = client.open(record, turn)
                opened = perf_counter() - start
                prefill += opened
            before = base.digest()
            asked = base.fork()
            try:
                rows.append(_row(record, number, turn, _asked(client, asked, record, turn), opened if client.query_aware else 0.0))
            finally:
                asked.close()
            if before != base.digest():
                raise Conflict(f"{client.name}: a request changed what others start from ({record.id}, turn {number}): its fork shares state")
    finally:
        if base is not None:
            base.close()
    return prefill, tuple(rows)


def _asked(client: Client, conversation: Conversation, record: Record, turn: Turn) -> Answered:
    answered = conversation.ask(turn, new_tokens(record, turn))
    if answered.rolled_back is False:
        raise Conflict(f"{client.name}: generated tokens stayed in the state ({record.id}): its fork shares state")
    return answered


def _row(record: Record, number: int, turn: Turn, answered: Answered, waited: float) -> TurnRow:
    """`waited`: seconds between the question and its turn that reading the context took."""
    first = None if answered.first_seconds is None else answered.first_seconds + waited
    scored = score(record, turn, answered.text)
    stats = answered.stats
    return TurnRow(
        record.id, record.task, record.kind(turn), number, answered.text, scored["score"], scored.get("facts"), answered.tokens,
        first, answered.rest_seconds, answered.fork_seconds, dict(stats.resident), stats.moved, stats.length,
        answered.retention, answered.read, answered.rolled_back, stats.peak, answered.reused, stats.hits,
    )  # fmt: skip


def write_results(path: Path, results: Sequence[SessionResult]) -> None:
    """JSON Lines, a session a line."""
    with path.open("wb") as file:
        file.writelines(orjson.dumps(result.as_json(), option=orjson.OPT_APPEND_NEWLINE) for result in results)


def read_results(path: Path) -> list[SessionResult]:
    """What `write_results` wrote. Raises `NotFound`, `Corrupt`, `Invalid`."""
    if not path.is_file():
        raise NotFound(f"results: there is no file {path}")
    try:
        rows = [orjson.loads(line) for line in path.read_bytes().splitlines() if line.strip()]
    except orjson.JSONDecodeError as problem:
        raise Corrupt(f"results: {path} is not JSON Lines: {problem}") from problem
    return [SessionResult.from_json(row) for row in rows]
