"""Where an update belongs: the rule of thirds (arXiv 2509.18868, DMM-Gov, steps S1 to S3).

Time-sensitive or disputed: external memory first. Few, clear, stable facts: an edit, as an overlay before any weight is touched. A broad, stable
domain: an adapter or further pretraining. Every decision comes with reasons that a program can read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from mnemos.base.clock import Moment, to_micros
from mnemos.base.errors import Invalid

FEW_FACTS = 50
"""Up to so many facts count as few: what sequential editing of weights has been shown to bear."""
NOTABLE = 0.1
"""Share of an update's records or sentences from which a sign in them counts for the whole."""
BROAD_DOCUMENTS, BROAD_WORDS = 50, 20_000
"""From so many documents, or words, on an update counts as a domain."""

_VOLATILE = re.compile(
    r"\b(?:currently|at (?:the )?present|right now|now|today|tonight|tomorrow|yesterday|as of|so far|until|till|temporar(?:y|ily)|latest|newest|"
    r"recent(?:ly)?|upcoming|this (?:week|month|quarter|year|season|morning|evening)|(?:next|last) (?:week|month|quarter|year|season)|these days|"
    r"for the time being|interim|acting|incumbent|live score|forecast|(?:share|stock) price|exchange rate|opening hours|in stock|version \d|"
    r"no longer|has (?:just )?(?:moved|switched|changed|left|joined|become|resigned|been (?:appointed|replaced|renamed)))\b",
    re.IGNORECASE,
)
_DISPUTED = re.compile(
    r"\b(?:reportedly|allegedly|supposedly|rumou?r(?:s|ed)?|unconfirmed|disputed?|contested|controversial|claims? that|according to some|"
    r"critics|denies|denied|contradicts?|others say|it is said|debated?)\b",
    re.IGNORECASE,
)
_UNCLEAR = re.compile(r"^\W*(?:it|he|she|they|this|that|these|those|there|someone|somebody|something|we|you|i)\b", re.IGNORECASE)
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_VALUE = re.compile(
    r"^(?P<key>(?:the )?[\w' -]{2,80}?\b(?:is|are|was|were|has|have|lives? in|works? (?:as|at|for)|equals))\s+(?P<value>[^.!?]{1,120})[.!?]?$",
    re.IGNORECASE,
)
_SLOT = re.compile(r"\d+(?:[.,]\d+)*|\b[A-Z]\w*(?: [A-Z]\w*)*")


class Path(StrEnum):
    """Where an update goes."""

    EXTERNAL = "external"
    EDIT = "edit"
    ADAPTER = "adapter"


METHODS: Mapping[Path, tuple[str, ...]] = {
    Path.EXTERNAL: ("store", "retrieval"),
    Path.EDIT: ("overlay", "ROME", "MEMIT", "MEND"),
    Path.ADAPTER: ("PEFT", "DAPT", "TAPT"),
}
"""What to try on a path, the most easily undone first."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why: the step of the protocol, a code from a closed set, and what was seen."""

    step: str
    code: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Scope:
    """S3: for when and for what an update holds. None as a time is open; `entities` are the subjects, `event` an event's id."""

    valid_from: int | None = None
    valid_to: int | None = None
    entities: tuple[str, ...] = ()
    event: str | None = None

    @property
    def given(self) -> bool:
        return bool(self.entities or self.event)


@dataclass(frozen=True, slots=True)
class Profile:
    """What the rule looks at. `volatile` and `disputed` list what was seen of either; `unclear` counts statements without a subject of their own."""

    facts: int
    documents: int
    words: int
    volatile: tuple[str, ...] = ()
    disputed: tuple[str, ...] = ()
    unclear: int = 0
    scope: Scope = Scope()

    def as_json(self) -> dict[str, Any]:
        """What the ledger keeps: codes and counts, and how many entities, not which."""
        return {**asdict(self), "scope": {**asdict(self.scope), "entities": len(self.scope.entities)}}


@dataclass(frozen=True, slots=True)
class Route:
    """The path chosen, what to try on it, and why."""

    path: Path
    methods: tuple[str, ...]
    reasons: tuple[Reason, ...]

    def as_json(self) -> dict[str, Any]:
        return {"path": self.path.value, "methods": list(self.methods), "reasons": [asdict(reason) for reason in self.reasons]}


def profile(
    records: Sequence[Mapping[str, Any]], *, known: Iterable[Mapping[str, Any]] = (), entities: Sequence[str] = (), event: str | None = None
) -> Profile:
    """Read an update, given as the records that `Space.add` takes. `known` are records that stand already, to find contradictions with.

    A record is volatile where it ends or expires (`valid_to`, `expires_at`) or its words say so; disputed where its words say so, or where two
    records of the update, or one and a known one, give the same thing different values. An update is, where at least a tenth of its records, or
    of its sentences, are: one "now" does not make a library volatile. Raises `Invalid` without records.
    """
    if not records:
        raise Invalid("update: holds no records; there is nothing to route")
    volatile: Counter[str] = Counter()
    disputed: Counter[str] = Counter()
    worded: Counter[str] = Counter()
    subjects: dict[str, None] = dict.fromkeys(entities)
    facts = unclear = words = 0
    begins: list[int] = []
    ends: list[int] = []
    stood = {key: value for record in known for key, value in _statements(record)}
    values: dict[str, str] = {}
    for record in records:
        text = str(record.get("text", ""))
        words += len(text.split())
        sentences = [part for part in _SENTENCE.split(text) if part.strip()]
        facts += len(sentences)
        unclear += sum(bool(_UNCLEAR.match(sentence)) for sentence in sentences)
        worded["volatile"] += sum(bool(_VOLATILE.search(sentence)) for sentence in sentences)
        worded["disputed"] += sum(bool(_DISPUTED.search(sentence)) for sentence in sentences)
        subjects |= dict.fromkeys(record.get("entities") or ())
        for name, seen in (("valid_from", begins), ("valid_to", ends), ("expires_at", ends)):
            moment: Moment | None = record.get(name)
            if moment is not None:
                seen.append(_micros(moment, name))
        volatile["validity ends"] += record.get("valid_to") is not None or record.get("expires_at") is not None
        said = _statements(record)
        disputed["contradicts what is known"] += any(stood.get(key, value) != value for key, value in said)
        disputed["contradicts itself"] += any(values.get(key, value) != value for key, value in said)
        values |= said
    scope = Scope(min(begins, default=None), max(ends, default=None), tuple(subjects), event)
    enough, enough_said = NOTABLE * len(records), NOTABLE * facts
    signs = []
    for counted, wording in ((volatile, worded["volatile"]), (disputed, worded["disputed"])):
        signs.append([sign for sign, n in counted.items() if n and n >= enough] + ["wording"] * (wording > 0 and wording >= enough_said))
    return Profile(facts, len(records), words, tuple(signs[0]), tuple(signs[1]), unclear, scope)


def route(seen: Profile) -> Route:
    """The path of an update, by the rule of thirds."""
    if seen.volatile or seen.disputed:
        reasons = [Reason("S1", "time-sensitive", sign) for sign in seen.volatile] + [Reason("S1", "disputed", sign) for sign in seen.disputed]
        return _to(Path.EXTERNAL, *reasons)
    stable = Reason("S1", "stable-and-undisputed")
    if seen.documents >= BROAD_DOCUMENTS or seen.words >= BROAD_WORDS:
        return _to(Path.ADAPTER, stable, Reason("S2", "broad", f"{seen.documents} documents, {seen.words} words"))
    if seen.facts > FEW_FACTS:
        return _to(Path.EXTERNAL, stable, Reason("S2", "neither-few-nor-broad", f"{seen.facts} facts"))
    few = Reason("S2", "few-facts", f"{seen.facts} facts")
    if seen.unclear:
        return _to(Path.EXTERNAL, stable, few, Reason("S3", "unclear-subject", f"{seen.unclear} statements"))
    if not seen.scope.given:
        return _to(Path.EXTERNAL, stable, few, Reason("S3", "no-entity-scope"))
    return _to(Path.EDIT, stable, few, Reason("S3", "scoped", f"{len(seen.scope.entities)} entities"))


def _to(path: Path, *reasons: Reason) -> Route:
    return Route(path, METHODS[path], reasons)


def _micros(moment: Moment, name: str) -> int:
    micros = to_micros(moment, name)
    assert micros is not None
    return micros


def _statements(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(what is spoken of, its value) of sentences that say what something is. The value is the numbers and names of a sentence, the rest of it
    with its subject is what it speaks of: so "is 40 m long" and "is 50 m long" contradict each other, "is long" and "is old" do not."""
    out = []
    for part in _SENTENCE.split(str(record.get("text", ""))):
        match = _VALUE.match(part.strip())
        if match and (slots := _SLOT.findall(match["value"])):
            key = f"{match['key']} {_SLOT.sub('…', match['value'])}"
            out.append((" ".join(key.casefold().split()), " ".join(slots).casefold()))
    return out
