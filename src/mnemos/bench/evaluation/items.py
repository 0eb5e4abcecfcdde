"""What an evaluation asks and what a system answers: plain records, the same for every system, setting and data set."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import orjson


@dataclass(frozen=True)
class Item:
    """One question. `answer` is None where nothing in the history answers it.

    `history` names the history, and is the unit of resampling. `evidence` are the sources of the messages that answer it, `superseded` the
    values that held before, `stale` the sources that state them. `position` says where in the history the evidence lies (0 begin, 1 end), and
    `elapsed` how many sessions ago it was said; both NaN without evidence. `kind` is the data set's own word for what is asked.
    """

    id: str
    history: str
    question: str
    answer: str | None
    kind: str
    evidence: tuple[str, ...] = ()
    superseded: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    position: float = float("nan")
    elapsed: float = float("nan")
    paraphrases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Message:
    """One message of a history: its source id, session number, speaker, text, and time (ISO 8601)."""

    source: str
    session: int
    author: str
    text: str
    at: str


@dataclass(frozen=True)
class History:
    """One history and what is asked about it. `events` are, by session, the facts written in it, for measures of writing."""

    name: str
    messages: tuple[Message, ...]
    items: tuple[Item, ...]
    events: Mapping[int, tuple[str, ...]] = field(default_factory=dict)

    @property
    def sessions(self) -> int:
        return len({message.session for message in self.messages})


@dataclass(frozen=True)
class Answer:
    """What a system said. `text` None is a refusal; `claims` says of each factual sentence whether what it cites supports it.

    `retrieved` are the sources in rank order, `citations` those that the answer rests on, `replayed` the sources of replayed sessions.
    `tokens` of context were read, in `seconds`.
    """

    text: str | None
    confidence: float = 0.0
    citations: tuple[str, ...] = ()
    retrieved: tuple[str, ...] = ()
    replayed: tuple[str, ...] = ()
    claims: tuple[bool | None, ...] = ()
    tokens: int = 0
    seconds: float = 0.0

    @property
    def refused(self) -> bool:
        return self.text is None


class MemorySystem(Protocol):
    """A memory with something that reads it: the seam of every comparison. A system may answer under several settings (`setting`)."""

    def add(self, history: History) -> None:
        """Take a history in, message by message, in order."""
        ...

    def answer(self, item: Item, setting: str) -> Answer:
        """Answer one question about a history that was added."""
        ...

    def usage(self) -> Mapping[str, float]:
        """What it costs to hold: at least `bytes`."""
        ...


def digest(value: Any) -> str:
    """SHA-256 of plain values, dataclasses included, as one canonical JSON: equal exactly where the values are."""
    return hashlib.sha256(orjson.dumps(_plain(value), option=orjson.OPT_SORT_KEYS)).hexdigest()


def _plain(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(item) for item in value]
    return value
