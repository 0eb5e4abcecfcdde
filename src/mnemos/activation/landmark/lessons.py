"""What the small models learn from: notes among noise, which are asked for by their keys, and characters of books whose passages come back.

Both are functions of a seed and a number alone; rows have no landmarks yet.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random

import torch
from torch import Tensor

from mnemos.base.errors import Invalid, NotFound
from mnemos.models.reference.training.batches import BOOKS, HELD_OUT

VALUES, NOISE, KEYS = 64, 64, 512
ASK = 0
"""Notes are spoken in ids: `ASK`, then those of values, of noise, and of keys. A note is a key and, behind it, its value; a question is `ASK`, a key,
and the value that is to be said."""
_FIRST_VALUE = 1
_FIRST_NOISE = _FIRST_VALUE + VALUES
_FIRST_KEY = _FIRST_NOISE + NOISE
NOTE_WORDS = _FIRST_KEY + KEYS
"""Ids that notes have, the landmark's not counted."""

DENSITY = 64
"""Tokens for each note in sessions where other notes distract as often whatever their length."""

CHARACTERS = "\n !\"'(),-.:;?0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
"""Of texts; any other is a space."""
AGAIN, PASSAGE = 0.5, (30, 60)
"""How often a passage of a document is one that the document has had; characters of a passage."""

_PLAIN = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "—": "-", "–": "-"})


@dataclass(frozen=True)
class Notes:
    """A session: `ids`; `asked`, where questions begin; of each question `places`, where its value is to be said, and `homes`, where the note has
    it."""

    ids: list[int]
    asked: int
    places: list[int]
    homes: list[int]


def notes(rng: Random, words: int, count: int, questions: int, among: Sequence[int] = range(KEYS)) -> Notes:
    """A session of so many words, in which `count` notes with keys of their own, `among` those, stand anywhere among noise, and questions on some at
    the end. Raises `Invalid` where there is no room for them."""
    room, there = words - 2 * count - 3 * questions, len(among)
    if not 0 < questions <= count <= there or room < 0:
        raise Invalid(f"{questions} questions on {count} notes do not go into {words} words: there are {there} keys, a note takes 2 and a question 3")
    keys = [_FIRST_KEY + key for key in rng.sample(among, count)]
    values = [_FIRST_VALUE + rng.randrange(VALUES) for _ in keys]
    ids: list[int] = []
    homes, done = [], 0
    for spot, key, value in zip(sorted(rng.randrange(room + 1) for _ in keys), keys, values, strict=True):
        ids += [_noise(rng) for _ in range(spot - done)] + [key, value]
        homes.append(len(ids) - 1)
        done = spot
    ids += [_noise(rng) for _ in range(room - done)]
    chosen, asked = rng.sample(range(count), questions), len(ids)
    for number in chosen:
        ids += [ASK, keys[number], values[number]]
    return Notes(ids, asked, list(range(asked + 2, words, 3)), [homes[number] for number in chosen])


def _noise(rng: Random) -> int:
    return _FIRST_NOISE + rng.randrange(NOISE)


def rows_of_notes(rng: Random, words: int, rows: int, again: float) -> tuple[Tensor, Tensor]:
    """Ids and weights [rows, words] to learn from: sessions with all their notes asked for; a share of `again` are words that say themselves again
    (Olsson et al. 2022), by which looking up is learnt soonest. No key is in two sessions, so that where blocks of other rows are rivals, none of
    them answers. Raises `Invalid` where there are too few keys for so many rows."""
    ids, weights = [], []
    shuffled = rng.sample(range(KEYS), KEYS)
    for row in range(rows):
        if rng.random() < again:
            size = rng.randint(4 if words < 30 else words // 4, words // 2)
            once = [rng.randrange(_FIRST_VALUE, NOTE_WORDS) for _ in range(size)]
            ids.append((once * (words // size + 1))[:words])
            weights.append([0.0] * (size + 1) + [0.3] * (words - size - 1))
            continue
        count = rng.randint(2, words // 6)
        session = notes(rng, words, count, count, shuffled[row::rows])
        ids.append(session.ids)
        weights.append([float(place in session.places) for place in range(words)])
    return torch.tensor(ids), torch.tensor(weights)


@dataclass(frozen=True)
class Texts:
    """Books of a folder as in shared/data/text. Raises `NotFound` where one is missing."""

    folder: Path

    @cached_property
    def read(self) -> list[str]:
        """Those that are learnt from."""
        return [self._of(name) for name in BOOKS]

    @cached_property
    def held_out(self) -> str:
        """The one that is only scored on."""
        return self._of(HELD_OUT)

    def _of(self, name: str) -> str:
        path = self.folder / f"{name}.txt.gz"
        if not path.exists():
            raise NotFound(f"{path} is missing: the models of characters read the folder of plain texts that shared/data/text describes")
        return " ".join(gzip.decompress(path.read_bytes()).decode("utf-8").translate(_PLAIN).split(" "))


def document(rng: Random, text: str, length: int, again: float = AGAIN) -> list[int]:
    """So many characters, as ids: a text read on from a random place, between whose passages earlier ones of the document come again."""
    at, out = rng.randrange(len(text) - length), ""
    while len(out) < length:
        size = rng.randint(*PASSAGE)
        if len(out) > size and rng.random() < again:
            begin = rng.randrange(len(out) - size + 1)
            out += out[begin : begin + size]
        else:
            out += text[at : at + size]
            at += size
    return encode(out[:length])


def encode(text: str) -> list[int]:
    """The ids of characters."""
    return [_ID.get(one, _ID[" "]) for one in text]


_ID = {one: number for number, one in enumerate(CHARACTERS)}


def documents(rng: Random, texts: Sequence[str], length: int, rows: int, again: float = AGAIN) -> Tensor:
    """[rows, length]: documents of texts that are drawn."""
    return torch.tensor([document(rng, rng.choice(texts), length, again) for _ in range(rows)])
