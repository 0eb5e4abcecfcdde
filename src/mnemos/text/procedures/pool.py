"""The procedures of one space as they are searched: a vector and the words of each entry's key, compared one by one; pools are small.

The paper's released pools hold 96 and 207 entries, so that nothing but an exact search is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Invalid
from mnemos.index.lexical import LexicalIndex
from mnemos.index.terms import pack_terms
from mnemos.text.procedures.procedure import KEYS, Procedure
from mnemos.text.trajectories.duplicates import THRESHOLD, duplicates

Embed = Callable[[Sequence[str]], NDArray[np.float32] | None]
"""Unit vectors (n, d) of texts; None where there is no embedder."""


@dataclass(frozen=True, slots=True)
class Weights:
    """How entries are ranked: cosine of the key + `words` · the words that it shares with what is asked (inverse document frequency, all of them 1)
    + `uplift` · what the entry was measured to add, −1 to 1.

    Ours; the paper recalls by cosine and leaves the order to a language model.
    """

    cosine: float = 1.0
    words: float = 0.5
    uplift: float = 0.5


@dataclass(frozen=True, slots=True)
class Recalled:
    """An entry that was found, with what its score is made of."""

    id: str
    procedure: Procedure
    score: float
    cosine: float
    words: float


class Pool:
    """Entries by id. `key` says what they are found by (`procedure.KEYS`), `embed` gives vectors. Not safe for several threads without a lock."""

    def __init__(self, embed: Embed, key: str = "scenario", weights: Weights = Weights()) -> None:
        if key not in KEYS:
            raise Invalid(f"key: {key!r} is none of {', '.join(KEYS)}")
        self.key = key
        self.weights = weights
        self._embed = embed
        self._entries: dict[str, Procedure] = {}
        self._vectors: dict[str, NDArray[np.float32]] = {}
        self._identities: dict[str, Any] = {}
        self._index: tuple[list[str], LexicalIndex, NDArray[np.float32] | None] | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, id: object) -> bool:
        return id in self._entries

    def __getitem__(self, id: str) -> Procedure:
        return self._entries[id]

    @property
    def entries(self) -> Mapping[str, Procedure]:
        return self._entries

    def replace(self, entries: Mapping[str, Procedure]) -> None:
        """Hold these entries and no others; of texts that are held already the vectors stay."""
        if entries != self._entries:
            self._entries = dict(entries)
            self._index = None
            self._identities = {}
            held = {text for entry in entries.values() for text in self._texts(entry)}
            self._vectors = {text: vector for text, vector in self._vectors.items() if text in held}

    def put(self, id: str, procedure: Procedure | None) -> None:
        """Hold an entry, or, with None, hold it no more."""
        gone = self._entries.get(id)
        if gone == procedure:
            return
        if procedure is None:
            del self._entries[id]
        else:
            self._entries[id] = procedure
        self._index = None
        self._identities.pop(id, None)
        if gone is not None:
            held = {text for entry in self._entries.values() for text in self._texts(entry)}
            for text in self._texts(gone) - held:
                self._vectors.pop(text, None)

    def _texts(self, entry: Procedure) -> set[str]:
        """What vectors are held of."""
        return {*entry.keys(self.key), entry.text}

    def recall(
        self,
        query: str,
        k: int = 5,
        *,
        tools: Iterable[str] = (),
        uplift: Callable[[str], float] | None = None,
        floor: float | None = None,
        relative: float = 0.0,
    ) -> list[Recalled]:
        """The `k` entries whose keys answer `query` best, best first; of those with the same content, or the same calls, only the best. `floor` is
        the least score, `relative` the least share of the best one's score. `tools`: those at hand, where that is known; an entry that calls
        others is of no use.

        What is known to go wrong with the calls that the best one advises comes with them, the best supported first, in the places of the last.

        Twice `k` entries, at least 20, are weighed again by `uplift` (of an id), where that is given: what an entry adds cannot bring up one
        that is for something else.
        """
        if not self._entries or k < 1:
            return []
        ids, lexical, vectors = self._indexed()
        told = lexical.search(query).coverage
        cosines = np.zeros(len(ids), dtype=np.float32)
        if vectors is not None:
            asked = self._embed([query])
            assert asked is not None  # there is an embedder, or there were no vectors
            cosines = vectors @ asked[0]
        scores = self.weights.cosine * cosines + self.weights.words * told
        usable = set(tools)
        first: dict[str, int] = {}  # the best key of each entry
        for row in np.argsort(-scores, kind="stable").tolist():
            if not usable or usable.issuperset(self._entries[ids[row]].actions):
                first.setdefault(ids[row], row)
        rows = list(first.values())[: max(2 * k, 20)]
        best = [
            Recalled(ids[row], self._entries[ids[row]], float(scores[row]) + self.weights.uplift * (uplift(ids[row]) if uplift else 0.0),
                     float(cosines[row]), float(told[row]))
            for row in rows
        ]  # fmt: skip
        best.sort(key=lambda one: -one.score)
        said: set[Any] = set()
        out: list[Recalled] = []
        for one in best:
            same = {" ".join(one.procedure.content.split()), one.procedure.actions} - {()}
            if len(out) == k:
                break
            near = not out or relative <= 0 or one.score >= relative * out[0].score
            if near and not same & said and (floor is None or one.score >= floor):
                said |= same
                out.append(one)
        return self._with_known_failures(out, k, usable, said)

    def _with_known_failures(self, chosen: list[Recalled], k: int, usable: set[str], said: set[Any]) -> list[Recalled]:
        """At most `k` entries: those found, and what is known to go wrong with the calls that the best of them advises."""
        calls = set(chosen[0].procedure.actions) if chosen else set()
        held = {one.id for one in chosen}
        more = [
            (id, entry) for id, entry in self._entries.items()
            if entry.category == "failure" and entry.trigger in calls and id not in held and entry.actions not in said
            and (not usable or usable.issuperset(entry.actions))
        ]  # fmt: skip
        more.sort(key=lambda one: (-one[1].confidence, -one[1].support))
        followed = [Recalled(id, entry, chosen[-1].score, 0.0, 0.0) for id, entry in more[: max(k // 2, k - len(chosen))]]
        return [*chosen[: k - len(followed)], *followed]

    def repeated(self, new: Sequence[Procedure], threshold: float = THRESHOLD) -> list[str | int | None]:
        """For each new entry what it repeats: the id of an entry, the number (from 0) of an earlier new one, or None.

        What the rules wrote repeats what is the same by `Procedure.identity`. Of the others the vectors of scenario and content together are
        compared, and what the entries advise (`Procedure.repeats`); without an embedder the texts have to be equal.
        """
        ids = list(self._entries)
        held = list(self._entries.values())
        texts = [one.text for one in (*held, *new)]
        vectors = self._of(texts)
        if vectors is None:  # one coordinate for each different text
            vectors = np.eye(len(texts), dtype=np.float32)[[texts.index(text) for text in texts]]

        def same(i: int, j: int) -> bool:
            return new[i].repeats(held[j] if j < len(held) else new[j - len(held)])

        identities = [*map(self._identity, ids), *(one.identity for one in new)]
        first = {identity: number for number, identity in reversed(list(enumerate(identities)))}
        found = duplicates(vectors[len(held) :], vectors[: len(held)], threshold, same)
        for i, identity in enumerate(identities[len(held) :]):
            if identity is not None and first[identity] < len(held) + i:
                found[i] = first[identity]
        for text in set(texts[len(held) :]) - set(texts[: len(held)]):  # nothing is kept of what may never be stored
            self._vectors.pop(text, None)
        return [None if j is None else ids[j] if j < len(held) else j - len(held) for j in found]

    def _identity(self, id: str) -> Any:
        if id not in self._identities:
            self._identities[id] = self._entries[id].identity
        return self._identities[id]

    def _indexed(self) -> tuple[list[str], LexicalIndex, NDArray[np.float32] | None]:
        """A row for each key of each entry: whose it is, its words, its vector."""
        if self._index is None:
            rows = [(id, key) for id, entry in self._entries.items() for key in entry.keys(self.key)]
            lexical = LexicalIndex()
            lexical.append([pack_terms(key) for _, key in rows])
            self._index = [id for id, _ in rows], lexical, self._of([key for _, key in rows])
        return self._index

    def _of(self, texts: Sequence[str]) -> NDArray[np.float32] | None:
        missing = list(dict.fromkeys(text for text in texts if text not in self._vectors))
        if missing:
            made = self._embed(missing)
            if made is None:
                return None
            self._vectors |= dict(zip(missing, made, strict=True))
        return np.stack([self._vectors[text] for text in texts]) if texts else np.zeros((0, 1), dtype=np.float32)
