"""The instruction registry: the prompt program, addressable and in order, with the states of its instructions (L2MAC, section 3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from mnemos.base.cube import check_text
from mnemos.base.errors import Invalid, shown

STATES = ("pending", "running", "done", "failed", "skipped")
CONDITIONS = ("exists", "missing", "contains", "lacks", "checks", "always")
MOST_ROUNDS = 1000


@dataclass(frozen=True, slots=True)
class Cost:
    """What was spent: calls of the worker, tokens of requests and of replies, calls of tools, restarts for a full context."""

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    tools: int = 0
    restarts: int = 0

    def plus(self, **more: int) -> Cost:
        return replace(self, **{name: getattr(self, name) + value for name, value in more.items()})

    def as_json(self) -> dict[str, int]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Condition:
    """What is true of the files. `kind`: "exists" or "missing" (a file of that name), "contains" or "lacks" (a file, a text), "checks"
    ("pass" or "fail"), "always"."""

    kind: str
    name: str = ""
    text: str = ""

    @classmethod
    def of(cls, given: object) -> Condition:
        """The condition that plain JSON says: "always", {"exists": name}, {"contains": [name, text]}, {"checks": "fail"}. Raises `Invalid`."""
        if given == "always":
            return cls("always")
        if isinstance(given, Mapping) and len(given) == 1:
            ((kind, value),) = given.items()
            pair = isinstance(value, (list, tuple)) and len(value) == 2 and all(isinstance(part, str) for part in value)
            if kind in ("contains", "lacks") and pair:
                return cls(kind, *value)
            if kind in ("exists", "missing") and isinstance(value, str):
                return cls(kind, value)
            if kind == "checks" and value in ("pass", "fail"):
                return cls(kind, value)
        raise Invalid(f'condition: {shown(given)} is none; say "always", {{"exists": name}}, {{"contains": [name, text]}} or {{"checks": "fail"}}')

    def as_json(self) -> Any:
        if self.kind in ("contains", "lacks"):
            return {self.kind: [self.name, self.text]}
        return "always" if self.kind == "always" else {self.kind: self.name}


@dataclass(frozen=True, slots=True)
class Instruction:
    """One entry of the registry. `text` is what a worker is to do; with `when`, the entry is a jump: where the condition holds, the program goes
    on at `to`, at most `limit` times. `summary` is what the next one is told of it, `rounds` how often a jump was taken."""

    text: str = ""
    when: Condition | None = None
    to: int = 0
    limit: int = 1
    state: str = "pending"
    summary: str = ""
    rounds: int = 0
    cost: Cost = field(default_factory=Cost)

    @property
    def jumps(self) -> bool:
        return self.when is not None

    def as_json(self) -> dict[str, Any]:
        """What the instruction is, without what became of it."""
        return {"text": self.text} if self.when is None else {"when": self.when.as_json(), "to": self.to, "limit": self.limit}

    @classmethod
    def of(cls, given: object) -> Instruction:
        """The instruction that a text, or plain JSON ({"text": …}, or {"when": condition, "to": address, "limit": times}), says. Raises `Invalid`."""
        if isinstance(given, Instruction):
            return cls.of(given.as_json())
        if isinstance(given, str):
            given = {"text": given}
        if not isinstance(given, Mapping) or not (set(given) == {"text"} or {"when", "to"} <= set(given) <= {"when", "to", "limit"}):
            raise Invalid(f"instruction: {shown(given)} is none; give a text, or a jump as {{'when': condition, 'to': address, 'limit': times}}")
        if "text" in given:
            text = check_text(given["text"], "instruction")
            if not text.strip():
                raise Invalid("instruction: is empty; say what is to be done")
            return cls(text)
        to, limit = given["to"], given.get("limit", 1)
        for name, value, least, most in (("to", to, 0, 2**31), ("limit", limit, 1, MOST_ROUNDS)):
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise Invalid(f"instruction: {name} takes a whole number from {least} to {most:,}, not {shown(value)}")
        return cls(when=Condition.of(given["when"]), to=to, limit=limit)


class Registry(Sequence[Instruction]):
    """The instructions and the program counter, as a value: each change gives a new registry. `counter` is the address of the instruction that
    is being done or is next; the number of instructions where the program has ended."""

    def __init__(self, instructions: Sequence[Instruction] = (), counter: int = 0) -> None:
        self._entries = tuple(instructions)
        self.counter = counter

    @classmethod
    def of(cls, plan: Sequence[object]) -> Registry:
        """The registry of a plan. Raises `Invalid`, naming the instruction (from 0), as jumps do."""
        if isinstance(plan, (str, bytes, Mapping)) or not isinstance(plan, Sequence) or not plan:
            raise Invalid("plan: expected a list of instructions, at least one")
        entries = []
        for address, given in enumerate(plan):
            try:
                entries.append(Instruction.of(given))
            except Invalid as error:
                raise Invalid(f"plan, entry {address}: {error}") from None
        for address, entry in enumerate(entries):
            if entry.jumps and (entry.to > len(entries) or entry.to == address):
                raise Invalid(f"plan, entry {address}: jumps to {entry.to}; addresses are 0 to {len(entries)}, and not its own")
        return cls(entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, address: Any) -> Any:
        return self._entries[address]

    def __iter__(self) -> Iterator[Instruction]:
        return iter(self._entries)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Registry) and (self._entries, self.counter) == (other._entries, other.counter)

    def __hash__(self) -> int:
        return hash((self._entries, self.counter))

    @property
    def current(self) -> Instruction | None:
        """The instruction at the counter; None where the program has ended."""
        return self._entries[self.counter] if self.counter < len(self._entries) else None

    def with_(self, address: int, **changes: Any) -> Registry:
        """With other fields of one instruction."""
        entries = list(self._entries)
        entries[address] = replace(entries[address], **changes)
        return Registry(entries, self.counter)

    def spent(self, address: int, **more: int) -> Registry:
        """With more of the cost of one instruction."""
        return self.with_(address, cost=self._entries[address].cost.plus(**more))

    def advanced(self, state: str, summary: str = "") -> Registry:
        """The instruction at the counter comes to its end, and the next one's turn has come."""
        moved = self.with_(self.counter, state=state, summary=summary)
        return Registry(moved._entries, self.counter + 1)

    def jumped(self, taken: bool) -> Registry:
        """The jump at the counter is taken or not. What a jump forward leaves out is skipped, what one backward comes to again is pending."""
        here, jump = self.counter, self._entries[self.counter]
        if not taken:
            return self.advanced("done")
        entries = list(self._entries)
        entries[here] = replace(jump, state="done" if jump.to > here else "pending", rounds=jump.rounds + 1)
        for address in range(here + 1, jump.to):
            entries[address] = replace(entries[address], state="skipped")
        for address in range(jump.to, here):
            entries[address] = replace(entries[address], state="pending", rounds=0)
        return Registry(entries, jump.to)
