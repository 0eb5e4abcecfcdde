"""A stream of facts, updates, events, rules and noise, with what is asked of it: where what is worth keeping is known.

Every chunk makes a few statements in plain sentences, which are read as any others are. Not all that is said is asked for alike: the speaker's own
attributes often, other people's now and then, what is said of strangers seldom, chatter never. The speaker's attributes and other people's change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from mnemos.index.terms import fold
from mnemos.text.constructor.acting import Action, decide_each
from mnemos.text.constructor.candidates import Candidate, Sort, read_candidates
from mnemos.text.constructor.gist import Gist, read_gist
from mnemos.text.constructor.matching import Standing, match
from mnemos.text.constructor.memory import STAMP_TOKENS, Limits
from mnemos.text.constructor.operations import CORE, DELETE, EPISODIC, INSERT, LISTS, NOTHING, SEMANTIC, UPDATE, Kind, Operation
from mnemos.text.constructor.policy import Chunk, Turn, View
from mnemos.text.constructor.reading import Lookup
from mnemos.text.constructor.rollouts import Instance
from mnemos.text.tokens import count_tokens

ATTRIBUTES = (
    "dentist", "gym", "locker code", "bank", "landlord", "doctor", "tutor", "alarm code", "coach", "accountant", "lawyer", "boss", "manager",
    "therapist", "nickname", "password", "favourite tea", "favourite band", "door code", "school", "office", "neighbour", "roommate", "gate code",
)  # fmt: skip
FRIENDS = ("Ann", "Bob", "Carla", "Deniz", "Emil", "Fatou", "Goran", "Hana", "Ines", "Jonas", "Kira", "Luca")
STRANGERS = ("Quentin", "Rosalind", "Siegfried", "Tabitha", "Ulrich", "Verena", "Wendell", "Xenia", "Yorick", "Zelda")
PLACES = ("museum", "harbour", "theatre", "market", "castle", "zoo", "stadium", "library", "vineyard", "lighthouse", "quarry", "observatory")
DEEDS = ("visited", "sketched", "toured", "photographed")
TOPICS = ("billing", "refunds", "parking", "warranty", "shipping", "passwords", "catering", "heating", "badges", "visas", "printers", "leases")
CHATTER = (
    "Haha, that is so funny!", "What do you think about that?", "I see, good to know.", "Oh dear, what a day it has been.",
    "Nice weather, isn't it?",
    "Well, you never know.", "How are things with you otherwise?", "That reminds me of something else entirely.",
    "Let me think about it for a while.",
    "Thanks, that is kind of you to say!", "Could you say that again?", "It is what it is, as they say.",
)  # fmt: skip
_SYLLABLES = ("ba", "co", "di", "fe", "gu", "ha", "jo", "ka", "lu", "mi", "no", "pe", "qua", "ri", "so", "ta", "ve", "wu", "xi", "zo")
_PREFIXES = (
    "", "old ", "second ", "summer ", "winter ", "city ", "family ", "office ", "club ", "school ", "village ", "holiday ", "night ", "weekend ",
)  # fmt: skip
OWN, OTHERS, STRANGE, EVENT, RULE, NOISE = "own", "others", "strange", "event", "rule", "noise"
_START = datetime(2024, 1, 1, 9, tzinfo=UTC)


@dataclass(frozen=True)
class Mix:
    """What a stream is made of. Shares of statements, and of questions, by kind."""

    said: tuple[tuple[str, float], ...] = ((OWN, 0.2), (OTHERS, 0.12), (STRANGE, 0.13), (EVENT, 0.12), (RULE, 0.05), (NOISE, 0.38))
    asked: tuple[tuple[str, float], ...] = ((OWN, 0.45), (OTHERS, 0.2), (STRANGE, 0.0), (EVENT, 0.25), (RULE, 0.1))
    changes: float = 0.35
    """How often a statement of an attribute gives a known one another value."""
    statements: int = 2
    """Of a chunk."""
    questions: int = 12
    tokens_a_chunk: float | None = 8.0
    """Room of the memory for each chunk; None for no limit."""
    core_tokens: int = 32


DEFAULT = Mix()
GRADED = Mix(
    said=((OWN, 0.3), (OTHERS, 0.25), (STRANGE, 0.25), (EVENT, 0.1), (NOISE, 0.1)),
    asked=((OWN, 0.74), (OTHERS, 0.1), (STRANGE, 0.02), (EVENT, 0.14)),
    tokens_a_chunk=None,
)
"""Without a limit, and with things that are worth less and less: what a memory costs decides how many of them are kept."""


class Reading:
    """Gists of texts, each read once: streams repeat them in every rollout."""

    def __init__(self) -> None:
        self._known: dict[str, Gist] = {}
        self._counts: dict[str, int] = {}
        self._candidates: dict[tuple[str, int], list[Candidate]] = {}

    def __call__(self, text: str) -> Gist:
        known = self._known.get(text)
        if known is None:
            known = self._known[text] = read_gist(text)
        return known

    def count(self, text: str) -> int:
        """Tokens of a text."""
        known = self._counts.get(text)
        if known is None:
            known = self._counts[text] = count_tokens(text)
        return known

    def candidates(self, text: str, at: int, source: int) -> list[Candidate]:
        """The statements of a sentence: one, or none where it says too little."""
        key = (text, at)
        if key not in self._candidates:
            self._candidates[key] = read_candidates(text, None, at, source, self)
        return self._candidates[key]


@dataclass(frozen=True)
class Stream:
    """An instance, and for each chunk which of its statements are asked for, as they are in the end: what an oracle keeps."""

    instance: Instance
    worth: tuple[tuple[bool, ...], ...]


def stream(rng: np.random.Generator, reading: Reading, chunks: int, mix: Mix = DEFAULT, scale: float = 1.0) -> Stream:
    """A stream of `chunks` chunks. `scale` is how many times more there is to speak of, and room for it: a longer stream is not the same few facts
    over and over."""
    teller = _Teller(rng, mix, scale)
    made, told = [], []
    for number in range(chunks):
        at = round((_START + timedelta(days=number)).timestamp() * 1e6)
        texts = [teller.statement(number, place) for place in range(mix.statements)]
        read = [(candidate, about) for text, about in texts for candidate in reading.candidates(text, at, number)]
        whole = " ".join(text for text, _ in texts)
        made.append(Chunk((Turn(whole, None, at, number),), tuple(candidate for candidate, _ in read), count_tokens(whole)))
        told.append([about for _, about in read])
    questions, wanted = teller.questions(reading, round(mix.questions * scale))
    limit = None if mix.tokens_a_chunk is None else round(mix.tokens_a_chunk * chunks)
    limits = Limits(core_tokens=mix.core_tokens, tokens=limit)
    worth = tuple(tuple(about in wanted for about in row) for row in told)
    return Stream(Instance(made, questions, limits), worth)


class _Teller:
    def __init__(self, rng: np.random.Generator, mix: Mix, scale: float) -> None:
        self.rng, self.mix = rng, mix
        self.kinds = [kind for kind, _ in mix.said]
        shares = np.array([share for _, share in mix.said])
        self.shares = shares / shares.sum()
        self.names = _names(FRIENDS, scale)
        self.strangers = _names(STRANGERS, scale)
        self.own = [f"{prefix}{attribute}" for prefix in _prefixes(scale) for attribute in ATTRIBUTES]
        self.held: dict[str, dict[str, tuple[str, str]]] = {kind: {} for kind in self.kinds}
        """Kind → what is spoken of → (its words, its present value)."""
        self.newest: dict[tuple[str, str], tuple[str, str, str]] = {}

    def statement(self, step: int, place: int) -> tuple[str, tuple[str, str, str]]:
        """A sentence, and what it says: (kind, of what, value)."""
        kind = str(self.rng.choice(self.kinds, p=self.shares))
        if kind == NOISE:
            return self._pick(CHATTER), (NOISE, "", "")
        known = self.held[kind]
        if kind in (OWN, OTHERS, STRANGE):
            changed = bool(known) and self.rng.random() < self.mix.changes
            about = self._pick(sorted(known)) if changed else self._attribute(kind)
            value = self._value()
            again = about in known
            whose = about.split("|")
            if kind == STRANGE:
                text = f"They said on the radio that {whose[0]} likes the {whose[1]} called {value}."
            else:
                text = f"{_whose(kind, whose[0])} {whose[1]} is {value}{' now' if again else ''}."
        elif kind == EVENT:
            about, value = f"{self._pick(self.names)}|{self._pick(PLACES)}|{step}-{place}", self._value()
            name, where, _ = about.split("|")
            day = (_START + timedelta(days=step)).strftime("%-d %B %Y")
            text = f"On {day} I {self._pick(DEEDS)} the {where} of {value} with {name}."
        else:
            about, value = f"{self._pick(TOPICS)} {self._value().lower()}", self._value().upper()
            text = f"Messages about {about} get the label {value}."
        known[about] = (about, value)
        said = (kind, about, value)
        self.newest[kind, about] = said
        return text, said

    def questions(self, reading: Reading, count: int) -> tuple[list[Lookup], set[tuple[str, str, str]]]:
        """What is asked, and the statements that answer it."""
        kinds = [kind for kind, _ in self.mix.asked if self.held.get(kind)]
        shares = np.array([share for kind, share in self.mix.asked if kind in kinds])
        out: list[Lookup] = []
        wanted: set[tuple[str, str, str]] = set()
        while len(out) < count and kinds:
            kind = str(self.rng.choice(kinds, p=shares / shares.sum()))
            about = self._pick(sorted(self.held[kind]))
            words, value = self.held[kind][about]
            out.append(_question(reading, kind, words, value))
            wanted.add((kind, about, value))
        return out, wanted

    def _attribute(self, kind: str) -> str:
        if kind == OWN:
            return f"I|{self._pick(self.own)}"
        return f"{self._pick(self.names if kind == OTHERS else self.strangers)}|{self._pick(ATTRIBUTES)}"

    def _value(self) -> str:
        return "".join(self._pick(_SYLLABLES) for _ in range(3)).capitalize()

    def _pick(self, words: Sequence[str]) -> str:
        return words[int(self.rng.integers(len(words)))]


def _names(names: Sequence[str], scale: float) -> list[str]:
    count = max(round(len(names) * scale), len(names))
    return [names[at % len(names)] + ("" if at < len(names) else _SYLLABLES[at // len(names) % len(_SYLLABLES)]) for at in range(count)]


def _prefixes(scale: float) -> list[str]:
    return list(_PREFIXES[: max(1, round(scale))])


def _whose(kind: str, name: str) -> str:
    return "My" if kind == OWN else f"{name}'s"


def _question(reading: Reading, kind: str, about: str, value: str) -> Lookup:
    """The latest value of an attribute; who was there; which label."""
    parts = about.split("|")
    if kind == EVENT:
        words = reading(f"{parts[1]} {value}").words
        return Lookup(words, words, fold(parts[0]))
    if kind == RULE:
        words = reading(about).words
        return Lookup(words, words, fold(value))
    if kind == STRANGE:
        words = reading(f"{parts[0]} {parts[1]}").words
        return Lookup(words, words, fold(value))
    stated = reading(f"{_whose(kind, parts[0])} {parts[1]} is {value}.")
    return Lookup(stated.words - reading(value).words, stated.words, fold(value), stated.key)


class Oracle:
    """The writer that knows what will be asked: it keeps exactly the statements that answer something in the end."""

    name = by = "oracle"

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._step = 0

    def decide(self, view: View, chunk: Chunk) -> list[Operation]:
        flags = self._stream.worth[self._step]
        self._step += 1
        kept = [Operation(INSERT, _kind(c), c.text, at=c.at, sources=(c.source,)) for c, flag in zip(chunk.candidates, flags, strict=True) if flag]
        return kept or [NOTHING]


# ---- writers to compare with ----------------------------------------------------------------------------------------


def _kind(candidate: Candidate) -> Kind:
    return EPISODIC if candidate.sort is Sort.EVENT else SEMANTIC


def _stored(view: View, candidates: Sequence[Candidate]) -> list[Operation]:
    """Every statement inserted; the oldest entries deleted first where there is no room."""
    memory, out = view.memory, []
    room = memory.room
    oldest = iter(memory.entries.values())
    for candidate in candidates:
        needed = candidate.tokens + STAMP_TOKENS
        while room is not None and room < needed and (entry := next(oldest, None)) is not None:
            out.append(Operation(DELETE, entry.kind, memory_id=entry.id))
            room += entry.tokens
        out.append(Operation(INSERT, _kind(candidate), candidate.text, at=candidate.at, sources=(candidate.source,)))
        room = None if room is None else room - needed
    return out


class Everything:
    """Stores all that is said; where there is no room, the oldest goes (FIFO)."""

    name = by = "store all, FIFO"

    def decide(self, view: View, chunk: Chunk) -> list[Operation]:
        return _stored(view, chunk.candidates) or [NOTHING]


class Nothing:
    """Stores nothing."""

    name = by = "store nothing"

    def decide(self, view: View, chunk: Chunk) -> list[Operation]:
        return [NOTHING]


class Newest:
    """Recency: the newest value of an attribute replaces the older one; all else that is new is stored; where there is no room, the oldest goes."""

    name = by = "recency rule"

    def decide(self, view: View, chunk: Chunk) -> list[Operation]:
        out, new = [], []
        for candidate in chunk.candidates:
            found = match(view.memory, candidate)
            if found.entry is not None and found.standing is Standing.REPLACES:
                out.append(Operation(UPDATE, found.entry.kind, candidate.text, found.entry.id, candidate.at, (candidate.source,)))
            elif found.standing is not Standing.HELD:
                new.append(candidate)
        return out + _stored(view, new) or [NOTHING]


class Random:
    """Any action, for each statement."""

    name = by = "random"

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def decide(self, view: View, chunk: Chunk) -> list[Operation]:
        return decide_each(view.memory, chunk.candidates, lambda *_: int(self._rng.integers(len(Action))))


class DeleteAll:
    """Deletes all that it is shown, at every chunk."""

    name = by = "delete all"

    def decide(self, view: View, chunk: Chunk) -> list[Operation]:
        return [Operation(DELETE, entry.kind, memory_id=entry.id) for kind in LISTS for entry in view.entries(kind)]


class DumpAll:
    """Puts every chunk as it is into both lists and the core."""

    name = by = "dump all"

    def decide(self, view: View, chunk: Chunk) -> list[Operation]:
        text = " ".join(turn.text for turn in chunk.turns)
        lists = [Operation(INSERT, kind, text, at=chunk.at) for kind in LISTS]
        return [*lists, Operation(UPDATE, CORE, f"{view.core}\n{text}")]
