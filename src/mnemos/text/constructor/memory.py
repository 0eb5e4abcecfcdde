"""The memory that a policy builds: one core paragraph, a list of facts, a list of events with times; changed by operations and by nothing else.

Source: Mem-α, arXiv 2509.25911, section 3.1. Ours: ids are counted, so that none is given twice (four hexadecimal digits collide at some 300 items);
what is deleted is archived and can be recovered; the log, replayed, gives the same memory; a fork shares everything until either side writes;
many deletions at one step need a confirmation.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from mnemos.text.constructor.gist import Gist, Read, read_gist
from mnemos.text.constructor.operations import (
    CORE,
    DELETE,
    EPISODIC,
    INSERT,
    LISTS,
    NO_OPERATION,
    SEMANTIC,
    UPDATE,
    WRITING,
    Kind,
    Operation,
    stamp,
)
from mnemos.text.tokens import TokenCounter, count_tokens

CUT = " […cut]"
"""Stands where the core was cut to its size."""
STAMP_TOKENS = 8
"""Tokens of the time before an event."""


class Status(StrEnum):
    """How a call ended."""

    OK = "ok"
    SKIPPED = "skipped"
    """Nothing to do: the memory says so already."""
    FAILED = "failed"


class Fault(StrEnum):
    """Why a call failed."""

    UNKNOWN_TOOL = "unknown tool"
    BAD_ARGUMENTS = "bad arguments"
    BAD_TYPE = "bad type"
    UNKNOWN_ID = "unknown id"
    EMPTY = "empty content"
    NO_TIME = "no time"
    NO_ROOM = "no room"
    UNCONFIRMED = "needs confirmation"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a call."""

    status: Status
    id: str = ""
    """Of the item that was written, changed or deleted; empty for the core."""
    fault: Fault | None = None
    message: str = ""
    """For a model or a person: what was wrong and what to do."""

    def as_json(self) -> dict[str, Any]:
        out: dict[str, Any] = {"status": self.status.value}
        if self.id:
            out["id"] = self.id
        if self.fault is not None:
            out["error"] = {"code": self.fault.value, "message": self.message}
        return out


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a memory holds, and how much may go at once."""

    core_tokens: int = 512
    """Tokens of the core, 1 and more; the paper's."""
    tokens: int | None = None
    """Tokens of the whole memory; what does not fit is refused. None: no limit."""
    bulk: int = 4
    """Deletions at one step from which on they need a confirmation; 1 and more. Ours."""
    bulk_share: float = 0.25
    """Deletions at one step, as a share of what was held, from which on they need one, where that is more; 0..1. Ours."""


DEFAULTS = Limits()


@dataclass(frozen=True, slots=True)
class Entry:
    """A fact, or an event with its time."""

    id: str
    kind: Kind
    content: str
    at: int | None
    """Microseconds since 1970; an event always has it."""
    step: int
    """When it was written or last changed, in steps."""
    tokens: int
    gist: Gist
    sources: tuple[Hashable, ...] = ()

    @property
    def shown(self) -> str:
        """The entry as a reader sees it."""
        return f"[{stamp(self.at)}] {self.content}" if self.kind == EPISODIC and self.at is not None else self.content


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the core."""

    text: str
    gist: Gist
    sources: tuple[Hashable, ...] = ()
    step: int = 0
    """When it was written, in steps."""


@dataclass(frozen=True, slots=True)
class Logged:
    """A call as the log keeps it: all that its outcome depends on."""

    step: int
    operation: Operation
    confirmed: bool
    at: int | None
    outcome: Outcome


class _Held:
    """What a memory holds, shared by forks until one of them writes."""

    __slots__ = ("archived", "by_key", "by_word", "core_tokens", "entries", "lines", "log", "next", "tokens")

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.archived: dict[str, Entry] = {}
        self.by_word: dict[int, dict[str, None]] = {}
        self.by_key: dict[str, dict[str, None]] = {}
        self.lines: tuple[Line, ...] = ()
        self.log: list[Logged] = []
        self.tokens = 0
        self.core_tokens = 0
        self.next = 1

    def copy(self) -> _Held:
        other = _Held()
        other.entries, other.archived, other.log = dict(self.entries), dict(self.archived), list(self.log)
        other.by_word = {word: dict(ids) for word, ids in self.by_word.items()}
        other.by_key = {key: dict(ids) for key, ids in self.by_key.items()}
        other.lines, other.tokens, other.core_tokens, other.next = self.lines, self.tokens, self.core_tokens, self.next
        return other


class Memory:
    """Core, facts and events. Not safe for use by several threads at once."""

    def __init__(self, limits: Limits = DEFAULTS, read: Read = read_gist, count: TokenCounter = count_tokens) -> None:
        self.limits = limits
        self.read = read
        self.count = count
        self.step = 0
        self.at: int | None = None
        """The time of the chunk at hand."""
        self._held = _Held()
        self._shared = False
        self._deleted = 0
        self._before = 0

    # -- looking --
    @property
    def entries(self) -> dict[str, Entry]:
        """By id, in the order in which they were written or last changed. To be read only."""
        return self._held.entries

    @property
    def lines(self) -> tuple[Line, ...]:
        """The lines of the core."""
        return self._held.lines

    @property
    def core(self) -> str:
        return "\n".join(line.text for line in self._held.lines)

    @property
    def core_room(self) -> int:
        """Tokens that are left for the core."""
        return self.limits.core_tokens - self._held.core_tokens

    @property
    def log(self) -> list[Logged]:
        return list(self._held.log)

    @property
    def archived(self) -> dict[str, Entry]:
        """What was deleted, by id. To be read only."""
        return self._held.archived

    @property
    def tokens(self) -> int:
        """Tokens of everything that is held."""
        return self._held.tokens

    @property
    def room(self) -> int | None:
        """Tokens that are left; None where there is no limit."""
        return None if self.limits.tokens is None else self.limits.tokens - self._held.tokens

    def of_kind(self, kind: Kind) -> list[Entry]:
        """The facts, or the events, in the order in which they were written or last changed."""
        return [entry for entry in self._held.entries.values() if entry.kind == kind]

    def with_key(self, key: str) -> Entry | None:
        """The newest entry that gives a value to an attribute."""
        ids = self._held.by_key.get(key) if key else None
        return self._held.entries[next(reversed(ids))] if ids else None

    def sharing(self, gist: Gist, most: int = 10) -> list[tuple[float, Entry]]:
        """The entries that share most words with a text, best first, the newer one first where they share alike: (overlap, entry)."""
        counts: dict[str, int] = {}
        for word in gist.words:
            for id in self._held.by_word.get(word, ()):
                counts[id] = counts.get(id, 0) + 1
        entries, n = self._held.entries, len(gist.words)
        found = [(both / (n + len(entries[id].gist.words) - both), entries[id].step, id) for id, both in counts.items()]
        found.sort(reverse=True)
        return [(share, entries[id]) for share, _, id in found[:most]]

    def as_json(self) -> dict[str, Any]:
        """All that is held, as plain JSON values: two memories that say the same here are the same."""

        def shown(entry: Entry) -> dict[str, Any]:
            return {"id": entry.id, "kind": entry.kind, "content": entry.content, "at": entry.at, "step": entry.step}

        return {
            "core": self.core,
            "entries": [shown(entry) for entry in self._held.entries.values()],
            "archived": [shown(entry) for entry in self._held.archived.values()],
            "next": self._held.next,
            "tokens": self._held.tokens,
        }

    # -- forks and replays --
    def fork(self) -> Memory:
        """A memory that holds the same; what either side does from now on, the other does not see."""
        other = Memory(self.limits, self.read, self.count)
        other.step, other.at = self.step, self.at
        other._deleted, other._before = self._deleted, self._before
        other._held = self._held
        other._shared = self._shared = True
        return other

    @classmethod
    def replay(cls, log: Iterable[Logged], limits: Limits = DEFAULTS, read: Read = read_gist, count: TokenCounter = count_tokens) -> Memory:
        """The memory to which the calls of a log lead."""
        memory = cls(limits, read, count)
        for call in log:
            while memory.step < call.step:
                memory.begin(call.at)
            memory.execute(call.operation, confirmed=call.confirmed)
        return memory

    # -- changing --
    def begin(self, at: int | None = None) -> None:
        """A new step: the next chunk, with its time."""
        self.step += 1
        self.at = at
        self._deleted, self._before = 0, len(self._held.entries)

    def hold(self, kind: Kind, content: str, at: int | None, sources: tuple[Hashable, ...] = ()) -> Entry:
        """Put in what a store is known to hold, as the newest entry; no call, and not in the log."""
        self._own()
        entry = Entry(f"m{self._held.next}", kind, content, at, self.step, self._tokens(kind, content), self.read(content), sources)
        self._held.next += 1
        self._put(entry)
        return entry

    def hold_core(self, lines: Iterable[Line]) -> None:
        """Put in the core as it is in a store."""
        self._own()
        self._set_core(tuple(lines))

    def recover(self, id: str) -> Entry:
        """Bring back what was deleted. Raises `KeyError` for an id that was not; only people recover, no policy has a tool for it."""
        entry = self._held.archived[id]
        self._own()
        del self._held.archived[id]
        self._put(entry)
        return entry

    def execute(self, operation: Operation, *, confirmed: bool = False) -> Outcome:
        """Do what a call asks, or say why not; nothing is raised for what a call says. `confirmed` allows many deletions at one step."""
        outcome = self._execute(operation, confirmed)
        self._own()
        self._held.log.append(Logged(self.step, operation, confirmed, self.at, outcome))
        return outcome

    def _execute(self, call: Operation, confirmed: bool) -> Outcome:
        if call.tool not in WRITING:
            return _failed(Fault.UNKNOWN_TOOL, f"there is no tool {call.tool[:40]!r}; there are {', '.join(WRITING)}")
        if call.fault:
            return _failed(Fault.BAD_ARGUMENTS, call.fault)
        if call.tool == NO_OPERATION:
            return Outcome(Status.OK)
        content = " ".join(call.content.split()) if call.memory_type != CORE else call.content.strip()
        if call.tool != DELETE and not content:
            return _failed(Fault.EMPTY, "content: say what to remember")
        if call.tool == UPDATE and call.memory_type == CORE:
            return self._update_core(content, call.sources)
        if call.memory_type not in LISTS:
            return _failed(Fault.BAD_TYPE, f"memory_type {call.memory_type[:40]!r}: {call.tool} takes {', '.join(LISTS)}")
        if call.tool == INSERT:
            return self._insert(SEMANTIC if call.memory_type == SEMANTIC else EPISODIC, content, call)
        entry = self._held.entries.get(call.memory_id)
        if entry is None or entry.kind != call.memory_type:
            return _failed(Fault.UNKNOWN_ID, f"memory_id {call.memory_id[:40]!r}: no {call.memory_type} item has it; give one that the memory shows")
        return self._update(entry, content, call) if call.tool == UPDATE else self._delete(entry, confirmed)

    def _insert(self, kind: Kind, content: str, call: Operation) -> Outcome:
        gist = self.read(content)
        same = self._said(content, gist)
        if same is not None:
            return Outcome(Status.SKIPPED, same.id, message="the memory holds this already")
        at = call.at if call.at is not None else self.at
        if kind == EPISODIC and at is None:
            return _failed(Fault.NO_TIME, "an event needs its time")
        tokens = self._tokens(kind, content)
        if not self._fits(tokens):
            return self._no_room(tokens)
        self._own()
        entry = Entry(f"m{self._held.next}", kind, content, at, self.step, tokens, gist, call.sources)
        self._held.next += 1
        self._put(entry)
        return Outcome(Status.OK, entry.id)

    def _update(self, entry: Entry, content: str, call: Operation) -> Outcome:
        at = call.at if call.at is not None else entry.at if entry.kind == EPISODIC else self.at
        if content == entry.content and (entry.kind == SEMANTIC or at == entry.at):
            return Outcome(Status.SKIPPED, entry.id, message="the item says this already")
        gist = self.read(content)
        same = self._said(content, gist)
        if same is not None and same.id != entry.id:
            return Outcome(Status.SKIPPED, same.id, message="another item says this already")
        tokens = self._tokens(entry.kind, content)
        if not self._fits(tokens - entry.tokens):
            return self._no_room(tokens - entry.tokens)
        self._own()
        self._drop(entry)
        sources = tuple(dict.fromkeys((*call.sources, *entry.sources)))
        self._put(replace(entry, content=content, at=at, step=self.step, tokens=tokens, gist=gist, sources=sources))
        return Outcome(Status.OK, entry.id)

    def _delete(self, entry: Entry, confirmed: bool) -> Outcome:
        if not confirmed and self._deleted + 1 > max(self.limits.bulk, int(self.limits.bulk_share * self._before)):
            return _failed(Fault.UNCONFIRMED, f"more than {self._deleted} deletions at one step need a confirmation; leave the rest, or confirm them")
        self._own()
        self._deleted += 1
        self._drop(entry)
        self._held.archived[entry.id] = entry
        return Outcome(Status.OK, entry.id)

    def _update_core(self, content: str, sources: tuple[Hashable, ...]) -> Outcome:
        content = self._cut("\n".join(" ".join(line.split()) for line in content.splitlines() if line.strip()))
        if content == self.core:
            return Outcome(Status.SKIPPED, message="the core says this already")
        known = {line.text: line for line in self._held.lines}
        lines = tuple(known.get(text) or Line(text, self.read(text), sources, self.step) for text in dict.fromkeys(content.splitlines()))
        more = sum(self.count(line.text) for line in lines) - self._held.core_tokens
        if not self._fits(more):
            return self._no_room(more)
        self._own()
        self._set_core(lines)
        return Outcome(Status.OK)

    def _cut(self, content: str) -> str:
        """`content` in at most the tokens that the core may have; where something is left out, a mark says so."""
        most = self.limits.core_tokens
        if self.count(content) <= most:
            return content
        low, high = 0, len(content)
        while low < high:
            middle = (low + high + 1) // 2
            if self.count(content[:middle].rstrip() + CUT) <= most:
                low = middle
            else:
                high = middle - 1
        return content[:low].rstrip() + CUT if low else content[:0]

    # -- within --
    def _own(self) -> None:
        if self._shared:
            self._held, self._shared = self._held.copy(), False

    def _said(self, content: str, gist: Gist) -> Entry | None:
        """The entry that says exactly this, in whichever list: to hold one thing twice serves nobody."""
        word = min(gist.words, default=None)
        ids = self._held.entries if word is None else self._held.by_word.get(word, {})
        return next((self._held.entries[id] for id in ids if self._held.entries[id].content == content), None)

    def _tokens(self, kind: Kind, content: str) -> int:
        return self.count(content) + (STAMP_TOKENS if kind == EPISODIC else 0)

    def _fits(self, more: int) -> bool:
        return more <= 0 or self.limits.tokens is None or self._held.tokens + more <= self.limits.tokens

    def _no_room(self, more: int) -> Outcome:
        return _failed(Fault.NO_ROOM, f"{more} tokens more do not fit, {self.room} are left; delete or shorten something first")

    def _put(self, entry: Entry) -> None:
        held = self._held
        held.entries[entry.id] = entry
        held.tokens += entry.tokens
        for word in entry.gist.words:
            held.by_word.setdefault(word, {})[entry.id] = None
        if entry.gist.key:
            held.by_key.setdefault(entry.gist.key, {})[entry.id] = None

    def _drop(self, entry: Entry) -> None:
        held = self._held
        del held.entries[entry.id]
        held.tokens -= entry.tokens
        for word in entry.gist.words:
            ids = held.by_word[word]
            del ids[entry.id]
            if not ids:
                del held.by_word[word]
        if entry.gist.key:
            ids = held.by_key[entry.gist.key]
            del ids[entry.id]
            if not ids:
                del held.by_key[entry.gist.key]

    def _set_core(self, lines: tuple[Line, ...]) -> None:
        held = self._held
        tokens = sum(self.count(line.text) for line in lines)
        held.tokens += tokens - held.core_tokens
        held.lines, held.core_tokens = lines, tokens


def _failed(fault: Fault, message: str) -> Outcome:
    return Outcome(Status.FAILED, fault=fault, message=message)
