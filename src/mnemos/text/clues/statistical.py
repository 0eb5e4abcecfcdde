"""The statistical driver of a global memory: names, terms and gists of a corpus of texts, without a model, saved as JSON lines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson

from mnemos.base.errors import Corrupt, Invalid, NotFound
from mnemos.index.terms import query_terms
from mnemos.text.clues.associations import WALK, Asked, Associations, Unit, Walk, headline, rarity, read, share
from mnemos.text.clues.gists import SECTIONS, Sections, gist
from mnemos.text.clues.memory import MOST, Clue, cleaned
from mnemos.text.sentence_spans import sentence_spans
from mnemos.text.summary import Passage

FORMAT = "mnemos statistical memory"
VERSION = 1
FROM_GISTS = 3
"""Clues that are sentences of gists, of all."""


class Told(NamedTuple):
    """A sentence, and the hashes of its telling terms."""

    text: str
    terms: tuple[int, ...]


@dataclass
class _Document:
    """A document as it is remembered: all its sentences' names and terms, the gists of its finished sections, and the sentences of the one that is
    not."""

    about: list[str]
    units: list[Unit] = field(default_factory=list)
    gists: list[Told] = field(default_factory=list)
    tail: list[Told] = field(default_factory=list)
    """One for each of the last units."""
    words: int = 0
    """Of the tail."""
    said: list[Told] | None = field(default=None, compare=False)
    """The gist of the tail as it stands, once it was asked for: made from the tail, and saved with it so that a memory is loaded quickly."""


class StatisticalMemory:
    """A `GlobalMemory` of texts. What is remembered of a document is its own alone, so forgetting it is exact; memorising goes on where a text ended,
    if that was the end of a line. The first line of a document's first text, if it is written like a heading, is what all of it is about."""

    kind = "statistical"

    def __init__(self, walk: Walk = WALK, sections: Sections = SECTIONS) -> None:
        self._walk, self._sections = walk, sections
        self._documents: dict[str, _Document] = {}
        self._index: Associations | None = None

    def __len__(self) -> int:
        """Documents."""
        return len(self._documents)

    def memorise(self, document: str, text: str) -> None:
        """Read a text of a document, or more of it; time linear in the text, beside the gists'. Raises `Invalid` for an empty name."""
        if not document:
            raise Invalid("clues.memorise: a document needs a name")
        held = self._documents.get(document)
        if held is None:
            head = headline(text)
            held = self._documents[document] = _Document([head] if head else [])
        held.said = None
        for line in text.splitlines():
            units = read(line, held.about)
            held.units += units
            for span, unit in zip(sentence_spans(line), units, strict=True):
                held.tail.append(Told(span.text, unit.terms))
                held.words += len(span.text.split())
                if held.words >= self._sections.words:
                    held.gists += self._gist(held)
                    held.tail, held.words = [], 0
        self._index = None

    def forget(self, document: str) -> None:
        """Take a document out; nothing of it stays. Raises `NotFound`."""
        if document not in self._documents:
            raise NotFound(f"clues.forget: no document {document!r} was memorised")
        del self._documents[document]
        self._index = None

    def clues(self, question: str, most: int = MOST) -> list[Clue]:
        """Names one or two steps from the question's, with what the steps leave of the question, and the nearest sentences of gists. Raises `Invalid`
        for `most` below 1."""
        if most < 1:
            raise Invalid(f"clues.most: expected 1 or more, not {most}")
        index, asked = self._associations(), Asked.of(question)
        look = index.look(np.ones(len(self._documents), dtype=bool))
        weights = rarity(index.counts(asked.terms), index.units)
        words = query_terms(question).words
        found: list[Clue] = []
        reached = look.reach(asked, weights, walk=self._walk)
        for one in sorted(reached, key=lambda one: -one.value * one.says):
            left = [
                word
                for at, (h, word) in enumerate(zip(asked.terms.tolist(), words, strict=False))
                if h not in asked.name_terms and not one.held >> at & 1
            ]
            found.append(Clue(" ".join([one.name, *left]), "entity", round(one.value * one.says, 6), one.via))
        told = self._nearest(asked, FROM_GISTS)
        named = cleaned(question, found, most - min(len(told), most // 2))
        return cleaned(question, [*named, *told], most)

    def save(self, path: Path) -> None:
        """Write the memory as JSON lines, a document a line, through a file beside it."""
        beside = path.with_name(path.name + ".new")
        with beside.open("wb") as file:
            head = {"format": FORMAT, "version": VERSION, "documents": len(self._documents)}
            file.write(orjson.dumps(head) + b"\n")
            for name, held in self._documents.items():
                names = list(dict.fromkeys(name for unit in held.units for name in unit.names))
                number = {name: at for at, name in enumerate(names)}
                units = [[[number[name] for name in unit.names], unit.terms] for unit in held.units]
                line: dict[str, Any] = {"document": name, "about": held.about, "names": names, "units": units}
                gists = [list(told) for told in self._told(held)]
                line |= {"gists": gists, "finished": len(held.gists), "tail": [told.text for told in held.tail]}
                file.write(orjson.dumps(line) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)

    @classmethod
    def load(cls, path: Path, walk: Walk = WALK, sections: Sections = SECTIONS) -> StatisticalMemory:
        """What `save` wrote. Raises `NotFound`, and `Corrupt` for a file that is not whole."""
        if not path.is_file():
            raise NotFound(f"clues.load: there is no file {path}")
        lines = path.read_bytes().split(b"\n")
        out = cls(walk, sections)
        try:
            head = orjson.loads(lines[0])
            if head.get("format") != FORMAT or head.get("version") != VERSION:
                raise ValueError(f"not of format {FORMAT!r} {VERSION}")
            for line in lines[1:-1]:
                name, held = _parsed(orjson.loads(line))
                out._documents[name] = held
            if len(out) != head["documents"] or lines[-1]:
                raise ValueError(f"holds {len(out)} of {head['documents']} documents")
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise Corrupt(f"clues.load: {path}: {error}; memorise the corpus anew") from error
        return out

    def __eq__(self, other: object) -> bool:
        """Whether two memories remember the same, whatever the order in which they came to."""
        return isinstance(other, StatisticalMemory) and self._documents == other._documents

    __hash__ = None  # type: ignore[assignment]

    def _associations(self) -> Associations:
        if self._index is None:
            self._index = Associations()
            self._index.add((number, self._documents[name].units) for number, name in enumerate(sorted(self._documents)))
        return self._index

    def _gist(self, held: _Document) -> list[Told]:
        """The gist of a document's tail; of a short one, all of it."""
        if held.words < self._sections.fewest:
            return held.tail
        text = "\n".join(told.text for told in held.tail)
        chosen = gist([Passage(text)], held.words, self._sections)
        return [Told(sentence.text, tuple(query_terms(sentence.text).hashes.tolist())) for sentence in chosen]

    def _nearest(self, asked: Asked, most: int) -> list[Clue]:
        """The sentences of gists that hold most of the question, and more than it."""
        if most < 1 or not len(asked.terms):
            return []
        told = [one for name in sorted(self._documents) for one in self._told(self._documents[name])]
        place = {h: 1 << at for at, h in enumerate(asked.terms.tolist())}
        bits = np.array([sum(place[h] for h in one.terms if h in place) for one in told], dtype=np.int64)
        counts = np.array([np.count_nonzero(bits >> at & 1) for at in range(len(place))], dtype=np.int64)
        held = share(bits, rarity(counts, len(told)))
        best = np.argsort(-held, kind="stable")[:most]
        return [Clue(told[at].text, "gist", round(float(held[at]), 6)) for at in best.tolist() if held[at] > 0]

    def _told(self, held: _Document) -> Iterator[Told]:
        """The gists of a document, that of its tail among them."""
        yield from held.gists
        if held.said is None:
            held.said = self._gist(held)
        yield from held.said


def _parsed(line: dict[str, Any]) -> tuple[str, _Document]:
    names = line["names"]
    units = [Unit(tuple(names[at] for at in named), tuple(terms)) for named, terms in line["units"]]
    gists, finished = [Told(text, tuple(terms)) for text, terms in line["gists"]], line["finished"]
    last = units[len(units) - len(line["tail"]) :]
    tail = [Told(text, unit.terms) for text, unit in zip(line["tail"], last, strict=True)]
    return line["document"], _Document(
        list(line["about"]), units, gists[:finished], tail, sum(len(told.text.split()) for told in tail), gists[finished:]
    )  # fmt: skip
