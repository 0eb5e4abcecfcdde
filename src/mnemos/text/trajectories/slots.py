"""Typed slots: what is particular to one task (numbers, quoted strings, paths, ids, dates, names) is replaced by its type, so that what is left
says which kind of task it is (ReMe, arXiv 2512.10696, appendix: generalised queries; the types are ours)."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mnemos.index.terms import fold

_MONTH = (
    "(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sep(?:t(?:ember)?)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)"
)
_FILE = (
    "(?:txt|pdf|csv|tsv|json|jsonl|xml|html?|md|docx?|xlsx?|pptx?|py|js|ts|java|cpp|c|h|rs|go|sh|ya?ml|toml|ini|log|png|jpe?g|gif|svg|mp[34]|wav"
    "|zip|gz|tar|sql|db)"
)
_CAPITAL = r"[A-Z][\w'’&.-]*\w|[A-Z]"
TYPES = ("url", "email", "string", "date", "time", "path", "id", "number", "name")
_SLOT = re.compile(
    rf"""
      (?P<url>\bhttps?://[^\s<>"'`]+[^\s<>"'`.,;:!?)])
    | (?P<email>\b[\w.+-]{{1,64}}@[\w-]{{1,63}}(?:\.[\w-]{{1,63}}){{1,8}})
    | (?P<string>"[^"\n]{{1,400}}" | (?<!\w)'[^'\n]{{1,400}}'(?!\w) | “[^”\n]{{1,400}}” | ‘[^’\n]{{1,400}}’(?!\w) | `[^`\n]{{1,400}}`)
    | (?P<date>\b\d{{4}}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?)?
        | \b\d{{1,2}}[/.]\d{{1,2}}[/.]\d{{2,4}}\b
        | \b{_MONTH}\.?\s+\d{{1,2}}(?:st|nd|rd|th)?(?:,?\s+\d{{4}})?\b | \b\d{{1,2}}(?:st|nd|rd|th)?\s+{_MONTH}\b(?:\s+\d{{4}})?
        | \b{_MONTH}\s+\d{{4}}\b)
    | (?P<time>\b\d{{1,2}}:\d\d(?::\d\d)?(?:\s?[ap]\.?m\b\.?)? | \b\d{{1,2}}\s?[ap]m\b)
    | (?P<path>(?<![\w<])(?:~|\.{{1,2}}|[A-Za-z]:)?[/\\][\w.+/\\-]{{0,400}}[\w+/\\-]
        | \b[\w+-]{{1,100}}(?:/[\w+-]{{1,100}}){{0,20}}(?:\.[\w+-]{{1,20}}){{0,3}}\.{_FILE}\b)
    | (?P<id>\#\w[\w-]* | \b[0-9a-f]{{8}}-[0-9a-f]{{4}}-[0-9a-f-]{{20,}}\b | \b[A-Z][A-Z0-9]*[-_:]\d[\w-]*\b
        | \b(?=[A-Za-z_]*\d)(?=\d*[A-Za-z_])\w*_\w+\b | \b(?=[A-Za-z]+\d|\d+[A-Za-z]+\d|\d[\da-f]{{6,}}[a-f])[A-Za-z0-9]{{2,}}\b)
    | (?P<number>(?:[$€£]\s?|\b(?<![\w.])[-+]?)\d[\d,]*(?:\.\d+)?(?:\s?%|(?=[^\w]|$)|(?=[A-Za-z]{{1,3}}\b)))
    | (?P<name>(?<=[a-z,;:)]\ )(?!I\b)(?:{_CAPITAL})(?:\ (?:(?:of|the|and|de|van|von)\ )?(?:{_CAPITAL}))*)
    """,
    re.VERBOSE,
)
_FILLED = re.compile(rf"<({'|'.join(TYPES)}) (\d+)>")
_QUOTES = "\"'“”‘’`"
_BLANKS = re.compile(r"\s+")
_CONSTANT = re.compile(r"[a-z][a-z_ -]{0,23}")
"""What an argument that names one of a few choices looks like ("metric", "high"): short, lower case, no digits."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One particular of a text: its type, its value without quotation marks, its number among those of its type (from 1), and where it stands."""

    type: str
    value: str
    number: int
    start: int
    end: int

    def __str__(self) -> str:
        return f"<{self.type} {self.number}>"


@dataclass(frozen=True, slots=True)
class Slotted:
    """A text with its particulars taken out: `text` has "<number>" where a number stood; `slots` are they, in order."""

    text: str
    slots: tuple[Slot, ...]

    def named(self, value: object) -> Slot | None:
        """The slot that holds `value`, as an argument would give it; None where none does."""
        wanted = _plain(value)
        return next((slot for slot in self.slots if _plain(slot.value) == wanted), None) if wanted else None


def slotted(text: str) -> Slotted:
    """`text` with typed slots. Equal values share a slot's number, so that "copy a.txt over a.txt" has one path."""
    slots: list[Slot] = []
    numbers: dict[tuple[str, str], int] = {}
    counts: Counter[str] = Counter()
    pieces: list[str] = []
    end = 0
    for match in _SLOT.finditer(text):
        kind = match.lastgroup or ""
        value = match[0].strip(_QUOTES) if kind == "string" else match[0]
        if (kind, value) not in numbers:
            counts[kind] += 1
            numbers[kind, value] = counts[kind]
        slots.append(Slot(kind, value, numbers[kind, value], match.start(), match.end()))
        pieces += [text[end : match.start()], f"<{kind}>"]
        end = match.end()
    pieces.append(text[end:])
    return Slotted(_BLANKS.sub(" ", "".join(pieces)).strip(), tuple(slots))


def family(task: str) -> str:
    """A short name for all tasks that differ in their particulars alone: a digest, which does not hold the text, but confirms a guess at it."""
    return hashlib.sha256(fold(slotted(task).text).encode()).hexdigest()[:16]


def type_of(value: object) -> str:
    """The slot type of an argument's value; "value" for what is neither text nor number."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return "number"
    if not isinstance(value, str):
        return "value"
    found = _SLOT.fullmatch(value.strip())
    return found.lastgroup or "string" if found else "string"


def generalised(arguments: Mapping[str, Any], task: Slotted, earlier: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
    """Arguments with what is particular to one run replaced: by the task's slot that holds it ("<path 1>"), by the tool whose result gave it
    ("<from search>"), else by its type ("<id>"). What names a choice, and flags, stay. `earlier`: (tool, result) of the calls before."""
    return {name: _generalised(value, task, earlier) for name, value in arguments.items()}


def _generalised(value: Any, task: Slotted, earlier: Sequence[tuple[str, str]]) -> Any:
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, Mapping):
        return generalised(value, task, earlier)
    if isinstance(value, (list, tuple)):
        return [_generalised(item, task, earlier) for item in value]
    if isinstance(value, str) and _FILLED.fullmatch(value):
        return value
    slot = task.named(value)
    if slot is not None:
        return str(slot)
    if isinstance(value, str) and _CONSTANT.fullmatch(value):
        return value
    told = _plain(value)
    giver = next((tool for tool, result in reversed(earlier) if len(told) >= 3 and told in result.casefold()), None)
    return f"<from {giver}>" if giver else f"<{type_of(value)}>"


def refilled(text: str, task: str) -> str:
    """`text` with its numbered slots ("<path 1>") filled by what `task` has in their place; those that it has nothing for stay."""
    held = {(slot.type, slot.number): slot.value for slot in reversed(slotted(task).slots)}
    return _FILLED.sub(lambda match: held.get((match[1], int(match[2])), match[0]), text)


def _plain(value: object) -> str:
    """A value as it compares: text without case and quotes, a number without its sign of currency and separators."""
    if isinstance(value, bool) or value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip().strip(_QUOTES).casefold()
    number = text.lstrip("$€£ ").rstrip("% ").replace(",", "")
    try:
        return f"{float(number):g}" if number and number[0] in "0123456789.-+" else text
    except ValueError:
        return text
