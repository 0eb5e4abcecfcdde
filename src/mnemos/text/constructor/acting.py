"""What can be done with a statement, and the calls that do it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum

from mnemos.text.constructor.candidates import Candidate, Sort
from mnemos.text.constructor.matching import Comparer, Match, match
from mnemos.text.constructor.memory import STAMP_TOKENS, Memory
from mnemos.text.constructor.operations import CORE, DELETE, EPISODIC, INSERT, NOTHING, SEMANTIC, UPDATE, Kind, Operation


class Action(IntEnum):
    """What to do with a statement."""

    SKIP = 0
    FACT = 1
    """Insert it as a fact."""
    EVENT = 2
    """Insert it as an event."""
    UPDATE = 3
    """Let it replace what it bears on. Fails where it bears on nothing."""
    DELETE = 4
    """Delete what it bears on. Fails where it bears on nothing."""
    CORE = 5
    """Put it into the core, in place of what the core says of the same attribute; among the facts or events where the core has no room for it."""
    SWAP_FACT = 6
    """Insert it as a fact; where there is no room, the oldest entries are deleted first."""
    SWAP_EVENT = 7


Choose = Callable[[Memory, Candidate, Match], int]
"""What to do with a statement: from what is held, and what of it the statement bears on."""


def decide_each(memory: Memory, candidates: Sequence[Candidate], choose: Choose, compared: Comparer | None = None) -> list[Operation]:
    """The calls that carry out what is chosen for one statement after the other, each on the memory as the calls for those before it leave it: two
    values of one attribute in one chunk are a value and its change. `[NOTHING]` where nothing is called. `memory` stays as it is."""
    ahead = memory.fork()
    out: list[Operation] = []
    for candidate in candidates:
        found = match(ahead, candidate, compared)
        made = calls(ahead, candidate, found, choose(ahead, candidate, found))
        for call in made:
            ahead.execute(call)
        out += made
    return out or [NOTHING]


def calls(memory: Memory, candidate: Candidate, found: Match, chosen: int) -> list[Operation]:
    """The calls that carry out an action; none where the statement is skipped."""
    action = Action(chosen)
    out: list[Operation] = []
    if action in (Action.SWAP_FACT, Action.SWAP_EVENT):
        oldest, room = iter(memory.entries.values()), memory.room
        while room is not None and room < candidate.tokens + STAMP_TOKENS and (victim := next(oldest, None)) is not None:
            out.append(Operation(DELETE, victim.kind, memory_id=victim.id))
            room += victim.tokens
    if action in (Action.FACT, Action.SWAP_FACT):
        out.append(_insert(SEMANTIC, candidate))
    elif action in (Action.EVENT, Action.SWAP_EVENT):
        out.append(_insert(EPISODIC, candidate))
    elif action is Action.UPDATE:
        kind, id = (found.entry.kind, found.entry.id) if found.entry is not None else (SEMANTIC, "")
        out.append(Operation(UPDATE, kind, candidate.text, id, candidate.at, (candidate.source,)))
    elif action is Action.DELETE:
        kind, id = (found.entry.kind, found.entry.id) if found.entry is not None else (SEMANTIC, "")
        out.append(Operation(DELETE, kind, memory_id=id))
    elif action is Action.CORE:
        out += _into_core(memory, candidate, found.line)
    return out


def _into_core(memory: Memory, candidate: Candidate, line: int) -> list[Operation]:
    core = [one.text for one in memory.lines]
    others = [text for at, text in enumerate(core) if at != line]
    room = memory.core_room + (memory.count(core[line]) if line >= 0 else 0)
    if candidate.tokens > room and others:  # else what the core says last would be cut off
        out = [_update_core(others, candidate)] if line >= 0 else []
        return [*out, _insert(EPISODIC if candidate.sort is Sort.EVENT else SEMANTIC, candidate)]
    if line >= 0:
        core[line] = candidate.text
    else:
        core.append(candidate.text)
    return [_update_core(core, candidate)]


def _update_core(lines: Sequence[str], candidate: Candidate) -> Operation:
    return Operation(UPDATE, CORE, "\n".join(dict.fromkeys(lines)), sources=(candidate.source,))


def _insert(kind: Kind, candidate: Candidate) -> Operation:
    return Operation(INSERT, kind, candidate.text, at=candidate.at, sources=(candidate.source,))
