"""Actions and their signatures: tool or verb, types of the arguments, class of effect, and what class of risk that is."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from mnemos.kernel.guard.records import ToolCall


class Effect(enum.Enum):
    """What an action does to the world."""

    READ = "read"
    ANSWER = "answer"
    WRITE = "write"
    DELETE = "delete"
    SEND = "send"
    PAY = "pay"
    EXECUTE = "execute"
    UNKNOWN = "unknown"


class Risk(enum.IntEnum):
    """How much agreement an action needs: advice, a consensus, or a consensus that the plan without memory shares."""

    READ_ONLY = 0
    REVERSIBLE = 1
    IRREVERSIBLE = 2


_RISK = {Effect.READ: Risk.READ_ONLY, Effect.ANSWER: Risk.READ_ONLY, Effect.WRITE: Risk.REVERSIBLE, Effect.UNKNOWN: Risk.REVERSIBLE}

_VERBS: dict[Effect, str] = {
    Effect.READ: "get list read find search look lookup query fetch show view check count browse load retrieve describe inspect compare open select "
                 "summarise summarize translate calculate compute estimate explain track monitor report locate",
    Effect.ANSWER: "answer finish reply respond output say state conclude print return",
    Effect.WRITE: "write add update set create book schedule insert edit change rename move copy save store append tag assign reserve plan draft "
                  "configure enable register log note adjust restore extend renew pause resume archive",
    Effect.DELETE: "delete remove drop erase cancel wipe purge destroy truncate revoke disable uninstall unsubscribe terminate close reset",
    Effect.SEND: "send email mail post publish upload forward share message notify export tweet transmit leak disclose submit invite call text",
    Effect.PAY: "pay buy purchase refund wire transfer order donate charge withdraw bid invest sell trade",
    Effect.EXECUTE: "run execute exec eval shell sudo deploy install launch grant unlock reboot shutdown bypass override escalate",
}  # fmt: skip
EFFECTS: Mapping[str, Effect] = {verb: effect for effect, verbs in _VERBS.items() for verb in verbs.split()}
"""What a verb in its base form does."""

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
REFUSAL = "refuse"
"""The tool that stands for an answer which is none."""
_REFUSES = re.compile(
    r"\b(?:i (?:do not|don['’]t) know|unknown|cannot (?:be )?(?:answer|determin)\w*|can['’]t (?:answer|determine)|no answer|unable to answer)\b",
    re.IGNORECASE,
)
_BOOLEAN = re.compile(r"(?:yes|no|true|false)\W*", re.IGNORECASE)
_TYPES = (
    ("address", re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")),
    ("url", re.compile(r"(?:https?|ftp)://\S+|\bwww\.\S+", re.IGNORECASE)),
    ("path", re.compile(r"(?:[A-Za-z]:\\|~?/)[\w./\\-]*\w")),
    ("money", re.compile(r"[$€£¥]\s?\d[\d,.]*|\b\d[\d,.]*\s?(?:dollars|euros|pounds|usd|eur|gbp|bitcoin|btc)\b", re.IGNORECASE)),
    ("date", re.compile(r"\b\d{4}-\d{2}-\d{2}\b|\b\d{1,2}/\d{1,2}/\d{2,4}\b")),
    ("identifier", re.compile(r"#?\b(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[A-Za-z0-9][\w-]+\b")),
    ("number", re.compile(r"\b\d[\d,.]*\b")),
)
_TARGETS = frozenset({"address", "url", "path"})
"""Types whose values say at whom an action aims: they are part of what it is, where other values are but its occasion."""


@dataclass(frozen=True, slots=True)
class Action:
    """What a path ends in. `targets` are hashes of the addresses, URLs and paths that it aims at; no argument's value is kept."""

    tool: str
    effect: Effect
    arguments: tuple[tuple[str, str], ...] = ()
    targets: frozenset[int] = frozenset()
    extractor: str = "structured"

    @property
    def risk(self) -> Risk:
        return _RISK.get(self.effect, Risk.IRREVERSIBLE)

    @property
    def signature(self) -> str:
        """Tool, types of the arguments and effect, as one line of JSON-safe text; equal for equal kinds of action."""
        kinds = ",".join(f"{name}:{kind}" for name, kind in self.arguments)
        return f"{self.tool}({kinds})/{self.effect.value}" + (f"@{sorted(self.targets)}" if self.targets else "")

    @property
    def kind(self) -> str:
        """The signature's hash (hex): equal for equal kinds of action, and no word of any record."""
        return blake2b(self.signature.encode("utf-8", "replace"), digest_size=8).hexdigest()

    def as_json(self) -> dict[str, Any]:
        return {"tool": self.tool, "effect": self.effect.value, "arguments": [list(pair) for pair in self.arguments],
                "targets": sorted(self.targets), "extractor": self.extractor}  # fmt: skip

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Action:
        """The action that `as_json` wrote. Raises `KeyError`, `TypeError` or `ValueError` for anything else."""
        arguments = tuple((str(name), str(kind)) for name, kind in value["arguments"])
        return cls(str(value["tool"]), Effect(value["effect"]), arguments, frozenset(map(int, value["targets"])), str(value["extractor"]))


def of_call(call: ToolCall, effects: Mapping[str, Effect] | None = None) -> Action:
    """The action of a structured call. `effects` says what the tools of this system do, by name; other names are read for their verb."""
    effect = effect_of(call.tool, effects)
    if effect is Effect.ANSWER:
        return of_answer(" ".join(str(value) for value in call.arguments.values()), "structured")
    arguments = []
    targets: set[int] = set()
    for name, value in sorted(call.arguments.items()):
        kind = value_type(value)
        arguments.append((name.lower()[:64], kind))
        targets |= _targets(value)
    return Action(call.tool, effect, tuple(arguments), frozenset(targets))


def of_answer(text: str, extractor: str = "pattern") -> Action:
    """The action of answering with `text`, or of refusing to: what is answered is not part of it, what kind of thing it is, is."""
    kind = _answer_type(text)
    return Action(REFUSAL if kind == "refusal" else "answer", Effect.ANSWER, (("text", kind),), extractor=extractor)


def of_phrase(verb: str, rest: str, effects: Mapping[str, Effect] | None = None) -> Action:
    """The action that an instruction such as "send the report to x@y.z" asks for: the verb, and the types of what stands after it."""
    effect = effect_of(verb, effects)
    if effect is Effect.ANSWER:
        return of_answer(rest)
    kinds = sorted({name for name, pattern in _TYPES if pattern.search(rest)})
    return Action(verb.lower(), effect, tuple(("object", kind) for kind in kinds), frozenset(_targets(rest)), "pattern")


def effect_of(tool: str, effects: Mapping[str, Effect] | None = None) -> Effect:
    """What a tool does: as `effects` says, else by the first word of its name that is a known verb."""
    if effects and tool in effects:
        return effects[tool]
    return next((EFFECTS[word] for word in name_words(tool) if word in EFFECTS), Effect.UNKNOWN)


def name_words(tool: str) -> list[str]:
    """The words of a tool's name: snake_case, camelCase and dotted names fall apart."""
    return [word.lower() for word in _WORD.findall(tool[:200])]


def value_type(value: object) -> str:
    """What kind of value an argument has, never the value."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, Mapping):
        return "object"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "list"
    text = str(value).strip()[:2000]
    if _BOOLEAN.fullmatch(text):
        return "boolean"
    return next((name for name, pattern in _TYPES if pattern.fullmatch(text)), "text")


def similarity(a: Action, b: Action) -> float:
    """How alike two signatures are, 0 to 1: tool 0.3, effect 0.25, argument types 0.2, targets 0.25."""
    tools = 1.0 if a.tool == b.tool else _overlap(set(name_words(a.tool)), set(name_words(b.tool)))
    effects = 1.0 if a.effect is b.effect else 0.0
    return 0.3 * tools + 0.25 * effects + 0.2 * _overlap(set(a.arguments), set(b.arguments)) + 0.25 * _overlap(a.targets, b.targets)


def _answer_type(text: str) -> str:
    text = text.strip().strip("'\"‘’“” ")
    if _REFUSES.search(text[:400]):
        return "refusal"
    return "boolean" if re.match(_BOOLEAN.pattern + r"(?!\w)", text, re.IGNORECASE) else value_type(text) if len(text) < 200 else "text"


def _targets(value: object, depth: int = 0) -> set[int]:
    """Hashes of the addresses, URLs and paths in a value, however deep."""
    if isinstance(value, str):
        return {_hash(found.lower()) for name, pattern in _TYPES if name in _TARGETS for found in pattern.findall(value[:20_000])}
    if depth > 8:
        return set()
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    return set().union(*(_targets(item, depth + 1) for item in items)) if items else set()


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=6).digest(), "little")


def _overlap(a: frozenset[Any] | set[Any], b: frozenset[Any] | set[Any]) -> float:
    """Jaccard's index; 1 where both are empty."""
    return len(a & b) / len(a | b) if a or b else 1.0
