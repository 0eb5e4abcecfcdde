"""Taking sensitive strings out of what is exported: out of every field, of every line, and wherever else they stand.

What a detector finds in one field is taken out of all others too, where its words around it no longer give it away: a password that a text names
is in no tag. Numbers are read with their keys ("phone": 4155552671), and a string that the cut between two parts of a document divides is read
whole. Names of spaces and principals stay apart from each other: each is "[email] 1", "[email] 2", ….
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from mnemos.base.ids import parse_id
from mnemos.base.lineage import PART_OF
from mnemos.kernel.exchange.transfer import Line
from mnemos.kernel.rights.governance import EVERYBODY, ROLE
from mnemos.text.detectors.folding import Folded
from mnemos.text.detectors.span import Label, Span
from mnemos.text.sensitivity import Redactor

_KEPT = ("id", "blob", "kind", "origin")
"""Fields of a record whose texts have one of a few forms, or are no words."""

_SHORTEST, _ANYWHERE = 4, 8
_PASSES = 4
_BY_PRINCIPAL = ("clearance", "licences")


@dataclass(frozen=True)
class Known:
    """Finds strings that were taken out somewhere, wherever they stand, in capitals or not. Of less than 8 characters they have to stand by
    themselves, and of less than 4 they are left to the other detectors: taken out everywhere they would take words and numbers with them."""

    strings: Mapping[str, str]
    """String, folded and in lower case → its kind."""
    kind: str = "known"
    _by_start: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, strings: Mapping[str, str]) -> Known:
        folded = {Folded(text).lower.strip(): kind for text, kind in strings.items()}
        known = cls({text: kind for text, kind in folded.items() if len(text) >= _SHORTEST})
        for text in sorted(known.strings, key=len, reverse=True):
            known._by_start.setdefault(text[:_SHORTEST], []).append(text)
        return known

    def find(self, text: Folded) -> Iterator[Span]:
        lower, starts = text.lower, self._by_start
        if not starts:
            return
        for at in range(len(lower) - _SHORTEST + 1):
            candidates = starts.get(lower[at : at + _SHORTEST])
            for candidate in candidates or ():
                if lower.startswith(candidate, at) and (len(candidate) >= _ANYWHERE or _apart(lower, at, at + len(candidate))):
                    yield Span(at, at + len(candidate), self.strings[candidate], 1.0, Label.SECRET)
                    break


def _apart(text: str, start: int, end: int) -> bool:
    """Whether no letter or digit stands before or behind."""
    return not text[max(0, start - 1) : start].isalnum() and not text[end : end + 1].isalnum()


class Redaction:
    """Redacts the lines of one export. `learn` reads all of them first, as often as it says so; then `line` redacts each."""

    def __init__(self, redactor: Redactor) -> None:
        self._given = redactor
        self._redactor = redactor
        self._gone: dict[str, str] = {}
        self._aliases: dict[str, str] = {}
        self._cut: dict[UUID, tuple[int, int, str]] = {}
        """Part of a document → how many characters at its beginning and end belong to strings that the cut divides, and their kind."""
        self.counts: Counter[str] = Counter()
        """How many strings of each kind were taken out."""

    # -- reading --
    def learn(self, lines: Iterable[Line]) -> bool:
        """Read the lines; give whether something new was found, so that they have to be read again."""
        before = len(self._gone)
        for line in _with_parts(lines, self._across):
            self.line(line)
        self.counts.clear()
        self._aliases.clear()  # made anew by what is known now
        self._redactor = replace(
            self._given,
            kinds=None if self._given.kinds is None else (*self._given.kinds, Known.kind),
            detectors={**self._given.detectors, Known.kind: Known.of(self._gone)},
        )
        return len(self._gone) > before

    def learn_all(self, lines: Any) -> None:
        """Read what `lines()` gives until nothing new is found."""
        for _ in range(_PASSES):
            if not self.learn(lines()):
                return

    def _across(self, parts: list[tuple[UUID, str]]) -> None:
        """Find what the cuts between the parts of a document divide."""
        places = []
        at = 0
        for part, text in parts:
            places.append((part, at, at + len(text)))
            at += len(text)
        whole = "".join(text for _, text in parts)
        for span in self._redactor.spans(whole):
            touched = [(part, start, end) for part, start, end in places if start < span.end and span.start < end]
            if len(touched) < 2:
                continue
            self._gone.setdefault(whole[span.start : span.end], span.kind)
            for part, start, end in touched:
                head, tail, _ = self._cut.get(part, (0, 0, ""))
                if span.start <= start:
                    head = max(head, min(span.end, end) - start)
                if span.end >= end:
                    tail = max(tail, end - max(span.start, start))
                self._cut[part] = head, tail, span.kind

    # -- redacting --
    def line(self, line: Line) -> Line:
        """The line without what is sensitive."""
        out = dict(line)
        if isinstance(line.get("space"), str):
            out["space"] = self.name(line["space"])
        if "settings" in line:
            out["settings"] = self._settings(line["settings"])
        if "record" in line:
            out["record"] = self._record(line["record"])
        if "acl" in line:
            out["acl"] = self._rules(line["acl"])
        for key in ("body", "link"):
            if isinstance(line.get(key), Mapping):
                out[key] = {name: value if name == "to" else self._value(name, value) for name, value in line[key].items()}
        return out

    def text(self, text: str) -> str:
        """A text without what is sensitive."""
        redacted, gone = self._redactor.redacted(text)
        for kind, string in gone:
            self._gone.setdefault(string, kind)
            self.counts[kind] += 1
        return redacted

    def name(self, name: str) -> str:
        """The name of a space or a principal: itself, or what stands for it and for no other."""
        if name not in self._aliases:
            redacted = self.text(name)
            taken = set(self._aliases.values())
            alias, number = name if redacted == name else f"{redacted} 1", 1
            while alias in taken:
                number += 1
                alias = f"{redacted} {number}"
            self._aliases[name] = alias
        return self._aliases[name]

    def _record(self, record: Mapping[str, Any]) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for name, value in record.items():
            if name == "derived_from":
                out[name] = [[id, version, self.text(relation)] for id, version, relation in value]
            elif name == "text":
                out[name] = self._text_of(parse_id(record["id"]), value)
            elif name not in _KEPT and isinstance(value, str):
                out[name] = self.text(value)
            elif isinstance(value, Mapping):
                out[name] = self._object(value)
            else:
                out[name] = self._list(value) if isinstance(value, list) else value
        return out

    def _text_of(self, cube: UUID, text: str) -> str:
        """The text of a version; of a part of a document without the pieces of what its cuts divide."""
        if cube not in self._cut:
            return self.text(text)
        head, tail, kind = self._cut[cube]
        self.counts[kind] += 1
        if head + tail >= len(text):
            return f"[{kind}]"
        middle = self.text(text[head : len(text) - tail])
        return f"{f'[{kind}]' if head else ''}{middle}{f'[{kind}]' if tail else ''}"

    def _list(self, values: Any) -> list[Any]:
        """A list of texts without repetition, since two may be redacted to the same; another list as it is."""
        return list(dict.fromkeys(map(self.text, values))) if all(isinstance(value, str) for value in values) else list(values)

    def _object(self, value: Mapping[str, Any]) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for name, item in value.items():
            key = redacted = self.text(name)
            number = 1
            while key in out:
                number += 1
                key = f"{redacted} {number}"
            out[key] = self._value(name, item)
        return out

    def _value(self, name: str, value: Any) -> Any:
        """A value of JSON, read with the key that it stands under: alone it may look harmless."""
        if isinstance(value, Mapping):
            return self._object(value)
        if isinstance(value, list):
            return [self._value(name, item) for item in value]
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            return value
        text = str(value)
        redacted = self.text(text)
        if redacted == text:
            redacted = self._after(f"{name}: ", text)
        return redacted if redacted != text else value

    def _after(self, key: str, text: str) -> str:
        """A text without what the words before it give away."""
        for span in reversed(self._redactor.spans(key + text)):
            start, end = max(0, span.start - len(key)), span.end - len(key)
            if end > start:
                self._gone.setdefault(text[start:end], span.kind)
                self.counts[span.kind] += 1
                text = f"{text[:start]}[{span.kind}]{text[end:]}"
        return text

    # -- rules --
    def _settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for name, value in settings.items():
            if name == "owner":
                out[name] = self._principal(value) if isinstance(value, str) else value
            elif name in ("acl", "deny"):
                out[name] = self._rules(value)
            elif name in _BY_PRINCIPAL and isinstance(value, Mapping):
                out[name] = {self._principal(who): item for who, item in value.items()}
            else:
                out[name] = self._value(name, value)
        return out

    def _rules(self, rules: Any) -> Any:
        if not isinstance(rules, Mapping):
            return rules
        return {verb: sorted(self._principal(who) for who in listed) for verb, listed in rules.items()}

    def _principal(self, who: str) -> str:
        if who == EVERYBODY:
            return who
        return f"{ROLE}{self.name(who.removeprefix(ROLE))}" if who.startswith(ROLE) else self.name(who)


def _with_parts(lines: Iterable[Line], finished: Any) -> Iterator[Line]:
    """The lines; `finished` is told of the parts of each document, in order, before the last of them is passed on."""
    document: Any = None
    parts: list[tuple[UUID, str]] = []
    waiting: list[Line] = []

    def close() -> Iterator[Line]:
        if len(parts) > 1:
            finished(list(parts))
        parts.clear()
        yield from waiting
        waiting.clear()

    for line in lines:
        record = line.get("record")
        links = record.get("derived_from", ()) if isinstance(record, Mapping) else ()
        whole = next(((id, version) for id, version, relation in links if relation == PART_OF), None)
        if whole is None or whole != document:
            yield from close()
            document = whole
        if whole is None:
            yield line
        elif isinstance(record, Mapping):
            parts.append((parse_id(record["id"]), record.get("text") or ""))
            waiting.append(line)
    yield from close()
