"""What can be done with a statement, and the calls that do it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

from mnemos.text.constructor.candidates import Candidate
from mnemos.text.constructor.matching import Match
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
    """Put it into the core, in place of what the core says of the same attribute."""
    SWAP_FACT = 6
    """Insert it as a fact; where there is no room, the oldest entries are deleted first."""
    SWAP_EVENT = 7


_INSERTS = (Action.FACT, Action.EVENT, Action.SWAP_FACT, Action.SWAP_EVENT)


def calls(memory: Memory, candidates: Sequence[Candidate], matches: Sequence[Match], actions: Sequence[int]) -> list[Operation]:
    """The calls that carry out one action for each statement. The core is replaced once for each statement that goes into it, so that each line of it
    is known to be of its own source. `[NOTHING]` where every statement is skipped."""
    out: list[Operation] = []
    core = [line.text for line in memory.lines]
    oldest, room = iter(memory.entries.values()), memory.room
    for candidate, found, chosen in zip(candidates, matches, actions, strict=True):
        action = Action(chosen)
        if action in (Action.SWAP_FACT, Action.SWAP_EVENT):
            while room is not None and room < candidate.tokens + STAMP_TOKENS and (victim := next(oldest, None)) is not None:
                out.append(Operation(DELETE, victim.kind, memory_id=victim.id))
                room += victim.tokens
        if room is not None and action in _INSERTS:
            room -= candidate.tokens + STAMP_TOKENS
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
            if found.line >= 0:
                core[found.line] = candidate.text
            else:
                core.append(candidate.text)
            out.append(Operation(UPDATE, CORE, "\n".join(dict.fromkeys(core)), sources=(candidate.source,)))
    return out or [NOTHING]


def _insert(kind: Kind, candidate: Candidate) -> Operation:
    return Operation(INSERT, kind, candidate.text, at=candidate.at, sources=(candidate.source,))
