"""Contexts that change, and contexts of others: what it costs to correct or to delete a fact that was read, and whether one tenant's session shows
in another's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np

from mnemos.base.errors import Invalid
from mnemos.bench.result import Check
from mnemos.bench.scbench.clients import Client, Conversation
from mnemos.bench.scbench.harness import run_session
from mnemos.bench.scbench.records import Record, Turn
from mnemos.bench.scbench.scoring import score
from mnemos.bench.scbench.tasks import new_tokens


def corrected(record: Record, number: int, answer: str) -> Record:
    """The context in which the evidence of a turn says `answer` instead, with that turn alone. Raises `Invalid` where the evidence is not one span
    that holds the answer once."""
    turn = record.turns[number]
    start, end = _only(turn)
    told = record.context[start:end]
    if told.count(turn.reference) != 1:
        raise Invalid(f"{record.id}, turn {number}: its evidence does not hold its answer once, so that it cannot be corrected")
    context = record.context[:start] + told.replace(turn.reference, answer) + record.context[end:]
    return replace(record, context=context, turns=(replace(turn, answer=answer, evidence=()),))


def deleted(record: Record, number: int) -> Record:
    """The context without the evidence of a turn, with that turn alone. Raises `Invalid` where the evidence is not one span."""
    turn = record.turns[number]
    start, end = _only(turn)
    return replace(record, context=record.context[:start] + record.context[end:].lstrip(" "), turns=(replace(turn, evidence=()),))


def _only(turn: Turn) -> tuple[int, int]:
    if len(turn.evidence) != 1:
        raise Invalid(f"a fact that is corrected or deleted stands in one place, not in {len(turn.evidence)}")
    return turn.evidence[0]


@dataclass(frozen=True, slots=True)
class Changes:
    """Means over turns. `right`: corrected facts that are answered as they are now; `still`: deleted ones whose old value still comes out."""

    read_seconds: float
    correct_seconds: float
    delete_seconds: float
    right: float
    still: float
    n: int


def change(client: Client, records: Sequence[Record]) -> Changes:
    """Each fact that is asked for is once corrected, to the answer of the next turn read backwards, and once deleted, in a context that was just
    read."""
    read: list[float] = []
    correct: list[float] = []
    delete: list[float] = []
    right: list[float] = []
    still: list[float] = []
    for record in records:
        for number, turn in enumerate(record.turns):
            other = " ".join(record.turns[(number + 1) % len(record.turns)].reference.split(" ")[::-1])
            for after, spent, hits in ((corrected(record, number, other), correct, right), (deleted(record, number), delete, still)):
                start = perf_counter()
                conversation = client.open(record)
                opened = perf_counter()
                try:
                    conversation.change(after)
                    done = perf_counter()
                    said = conversation.ask(after.turns[0], new_tokens(after, after.turns[0])).text
                finally:
                    conversation.close()
                read.append(opened - start)
                spent.append(done - opened)
                hits.append(score(record, after.turns[0] if hits is right else turn, said)["score"])
    seconds = float(np.mean(read)), float(np.mean(correct)), float(np.mean(delete))
    return Changes(*seconds, float(np.mean(right)), float(np.mean(still)), len(right))


@dataclass(frozen=True, slots=True)
class Apart:
    """`leaked`: questions about one tenant's context that another tenant's session answered; `changed`: answers that came out otherwise because
    another session went on at the same time."""

    leaked: float
    changed: float
    n: int


def apart(client: Client, records: Sequence[Record]) -> Apart:
    """Sessions in pairs, each with the next one as a stranger, by a client that does not know the question. Raises `Invalid` for fewer than two."""
    if len(records) < 2:
        raise Invalid("isolation is between two sessions or more")
    leaked: list[float] = []
    changed: list[float] = []
    for own, strange in zip(records, [*records[1:], records[0]], strict=True):
        alone = [row.answer for row in run_session(client, own).rows]
        one, other = client.open(own), client.open(strange)
        try:
            for number, turn in enumerate(own.turns):
                asked = other.fork()
                leaked.append(score(own, turn, asked.ask(turn, new_tokens(own, turn)).text)["score"])
                asked.close()
                changed.append(float(one.ask(turn, new_tokens(own, turn)).text != alone[number]))
                one.settle(turn.reference)
                _go_on(other, strange, number)
        finally:
            one.close()
            other.close()
    return Apart(float(np.mean(leaked)), float(np.mean(changed)), len(leaked))


def _go_on(other: Conversation, strange: Record, number: int) -> None:
    """The stranger's own turn, between two of ours."""
    turn = strange.turns[number % len(strange.turns)]
    other.ask(turn, new_tokens(strange, turn))
    other.settle(turn.reference)


def table(clients: Sequence[Client], records: Sequence[Record], say: Callable[[str], None]) -> tuple[dict[str, dict[str, Any]], list[Check]]:
    """What changes cost and whether tenants stay apart, by method; checks that deleted facts do not come out and that nothing crosses over."""
    rows: dict[str, dict[str, Any]] = {}
    still, crossed, n = 0.0, 0.0, 0
    for each in clients:
        say(f"changes and tenants: {each.name}")
        changes, tenants = change(each, records), apart(each, records)
        rows[each.name] = {
            "read ms": 1e3 * changes.read_seconds, "correct ms": 1e3 * changes.correct_seconds, "delete ms": 1e3 * changes.delete_seconds,
            "correct ÷ read": changes.correct_seconds / changes.read_seconds, "corrected, right": changes.right, "deleted, still said": changes.still,
            "leaked": tenants.leaked, "changed by others": tenants.changed, "n": changes.n,
        }  # fmt: skip
        still, crossed, n = max(still, changes.still), max(crossed, tenants.leaked, tenants.changed), n + changes.n
    return rows, [
        Check("deleted facts that still come out, any method", still, 0.0, at_least=False, n=n),
        Check("answers that cross to or change with another tenant's session, any method", crossed, 0.0, at_least=False, n=n),
    ]
