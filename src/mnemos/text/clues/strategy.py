"""The strategy "clues": a global memory of the space says what a question may be about besides what it names, and each such clue is searched for.

Source: MemoRAG, arXiv 2409.05591, section 2: in its statistical form, and, where the store has a model with a compressed memory of the space, with
what that recalls. Nothing that is written is changed; sections of conversations and documents get gists. What a clue finds is fused with the
foundation's ranking, and the best of that keep their places.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from mnemos.base.cube import Content
from mnemos.base.ids import parse_id
from mnemos.text.clues.associations import MOST_TERMS, WALK, Asked, Associations, Look, Unit, Walk, headline, rarity, read, share
from mnemos.text.clues.evidence import EACH, fused
from mnemos.text.clues.gists import SECTIONS, Sections, cut, gist
from mnemos.text.clues.memory import MOST, SURE, Clue, cleaned
from mnemos.text.plain import Plain, distinct
from mnemos.text.question import Question, analyse
from mnemos.text.ranking import Ranking
from mnemos.text.reading import Flag
from mnemos.text.strategy import Draft, Floats, Memory, Portion, Recall, View, Workbench
from mnemos.text.summary import Passage

Rows = NDArray[np.int64]
Numbers = NDArray[np.float64]

_CHUNK = 2048
NAME = "clues"


@dataclass(frozen=True, slots=True)
class Parameters:
    """How clues are made and what they may change. What has no other source was chosen on generated corpora, and on half of the questions of MuSiQue,
    2WikiMultihopQA and HotpotQA (docs/strategies/clues.md)."""

    most: int = MOST
    """Clues of a question."""
    each: int = EACH
    """Memories that each clue finds; MemoRAG's h."""
    kept: int = 5
    """The best memories by the question alone, which keep their places."""
    pool: int = 40
    """Memories of the question's own ranking that are fused."""
    gists: int = 2
    """Gists that are looked into, the nearest."""
    first: int = 3
    """Memories found first whose words make a clue."""
    feedback_terms: int = 10
    near: int = 10
    """The best memories by the question alone, whose names the walk begins from, too."""
    value: float = 1.0
    """Exponent of how surely a name is reached, in the weight of its clue."""
    entity: float = 3.0
    """Weight of a sure clue of that kind against the question itself."""
    gist: float = 0.2
    feedback: float = 0.2
    recalled: float = 1.0
    """Weight of what a model recalls; `memory.SURE` says how sure each kind is."""
    meaning: float = 0.5
    """How much likeness to the question counts beside its words, where the memories that hold a name are ranked."""
    walk: Walk = field(default=WALK)
    sections: Sections = field(default=SECTIONS)


DEFAULTS = Parameters()


class Led(NamedTuple):
    """A clue, what it found, best first, and how much of the question its best find says together with what led to it (0..1)."""

    clue: Clue
    rows: list[int]
    says: float


class Clues(Plain):
    """Names that the question leads to, gists near it, and words of what was found first: each is searched for."""

    name = NAME
    about = "questions that name what they ask for by what it is to something else: clues from the whole space lead to the evidence"
    consolidates = True
    recalls = True

    def __init__(self, parameters: Parameters = DEFAULTS) -> None:
        super().__init__()
        self.parameters = parameters

    # -- reading --
    def recall(self, question: Question, view: View, k: int) -> Recall:
        ranking = self.ranking(question, view)
        own = distinct(view.index, ranking.scores, max(k, self.parameters.pool))
        led = self.led(question, view, ranking, own)
        if not led:
            best = own[:k]
            return Recall(best, ranking.scores[best], ranking.signals(best))
        scores, given = self._fused(ranking.scores, own, led)
        best = distinct(view.index, scores, k)
        signals = dict(ranking.signals(best))
        for clue, gains in given.items():
            gained = np.array([gains.get(row, 0.0) for row in best.tolist()], dtype=np.float32)
            if gained.any():
                signals[f"clue {clue.kind}: {clue.text}"] = gained
        return Recall(best, scores[best], signals)

    def led(self, question: Question, view: View, ranking: Ranking, own: Rows) -> list[Led]:
        """The clues to a question with what they find: at most `most`, none that says less of the question, with what led to it, than the best memory
        does by itself. Empty where the question is best left alone."""
        if len(own) < 2 or not len(question.terms.hashes):
            return []
        seen = _Seen(question, view)
        says = float(seen.says(own[:1])[0])
        found = [
            led
            for made in (self._names(question, seen, own), self._gists(seen), self._words(question, seen, ranking, own))
            for led in made
            if led.rows and led.says > says + 1e-9
        ]
        found += self._recalled(question, view, float(ranking.scores[own[0]]))
        found.sort(key=lambda led: -led.clue.weight)
        return found[: self.parameters.most]

    def _names(self, question: Question, seen: _Seen, own: Rows) -> Iterator[Led]:
        """Names one or two steps from those of the question: the memories that hold them."""
        p = self.parameters
        asked = Asked.of(question.text, question.terms.hashes)
        made = []
        for one in seen.look.reach(asked, seen.weights, own[: p.near].tolist(), seen.likeness, p.walk):
            rows = seen.look.documents(one.numbers)
            says = seen.says(rows, one.held)
            order = np.argsort(-(says + p.meaning * seen.likeness[rows]), kind="stable")[: p.each]
            if len(order):
                left = [word for at, (h, word) in enumerate(seen.words) if h not in asked.name_terms and not one.held >> at & 1]
                best = float(says[order[0]])
                clue = Clue(" ".join([one.name, *left]), "entity", p.entity * best * one.value**p.value, one.via)
                made.append(Led(clue, rows[order].tolist(), best))
        made.sort(key=lambda led: -led.clue.weight)
        yield from made[: max(p.most - p.gists - 1, 1)]

    def _gists(self, seen: _Seen) -> Iterator[Led]:
        """Sentences of the nearest gists: the memories that are like those which they were taken from."""
        p, view = self.parameters, seen.view
        if view.cosines is None or view.vectors is None:
            return
        gists = np.flatnonzero(view.made_by(NAME))
        near = np.nan_to_num(view.cosines[gists], nan=-1.0)
        for gist_row in gists[np.argsort(-near, kind="stable")[: p.gists]].tolist():
            content = view.contents([gist_row])[0]
            told = zip((content.text or "").split("\n"), seen.rows_of(content.metadata.get("from")), strict=False)
            lines = [(line, row) for line, row in told if row >= 0]
            if not lines:
                continue
            rows = np.array([row for _, row in lines])
            at = int(np.argmax(seen.says(rows) + p.meaning * seen.likeness[rows]))
            line, row = lines[at]
            like = view.vectors.scores(view.vectors.vectors(rows[at : at + 1])[0], len(view.index), view.allowed)
            found = distinct(view.index, np.where(view.allowed & ~np.isnan(like), like, np.float32(-np.inf)), p.each)
            says = seen.says(found, int(seen.held[gist_row]))
            yield Led(Clue(line, "gist", p.gist * float(max(seen.likeness[row], 0.0))), found.tolist(), float(says.max(initial=0.0)))

    def _words(self, question: Question, seen: _Seen, ranking: Ranking, own: Rows) -> Iterator[Led]:
        """The telling words of what was found first (RM3)."""
        p, view = self.parameters, seen.view
        best = own[: p.first]
        weights = np.exp(ranking.scores[best] - ranking.scores[best[0]]).astype(np.float32)
        shared = view.index.lexical.expand(question.terms, best, weights, view.allowed, p.feedback_terms)
        shared[best] = 0.0
        found = distinct(view.index, np.where(view.allowed & (shared > 0), shared, -np.inf).astype(np.float32), p.each)
        if len(found):
            text = view.texts(best[:1].tolist())[0].split("\n", 1)[0][:80]
            says = seen.says(found, int(seen.held[best[0]]))
            yield Led(Clue(f"words of: {text}", "feedback", p.feedback), found.tolist(), float(says.max()))

    def _recalled(self, question: Question, view: View, bound: float) -> Iterator[Led]:
        """What a model remembers to the question: the memories that are like it. One whose best memory matches it worse than the question's best
        matches the question (`bound`) is dropped, as in `evidence.gather`."""
        said = [Clue(text, kind, self.parameters.recalled * SURE.get(kind, 1.0)) for kind, text in view.recalled]
        clues = cleaned(question.text, said, self.parameters.most)
        vectors = view.embed([clue.text for clue in clues]) if clues and view.vectors is not None else None
        for at, clue in enumerate(clues):
            cosines = None
            if vectors is not None and view.vectors is not None:
                cosines = view.vectors.scores(vectors[at], len(view.index), view.allowed)
            scores = self.ranking(analyse(clue.text), replace(view, cosines=cosines)).scores
            best = distinct(view.index, scores, self.parameters.each)
            best = best[np.isfinite(scores[best])]
            if len(best) and scores[best[0]] >= bound:
                yield Led(clue, best.tolist(), 1.0)

    def _fused(self, scores: Floats, own: Rows, led: Sequence[Led]) -> tuple[Floats, dict[Clue, dict[int, float]]]:
        """The scores (n,) with those of the question's best rows and of what the clues found dealt out anew, in the fused order; and what each clue
        gave to each row. The differences between hits stay log odds, which contexts are cut by."""
        kept = own[: self.parameters.kept].tolist()
        order = fused(own.tolist(), [(clue, rows) for clue, rows, _ in led], lambda row: 1 + int(np.count_nonzero(scores > scores[row])))
        rest = [row for row in order if row not in set(kept)]
        dealt = np.array([*kept, *rest], dtype=np.int64)
        out = scores.copy()
        out[dealt] = np.sort(scores[dealt])[::-1]
        given: dict[Clue, dict[int, float]] = {}
        for row, (_, gains) in order.items():
            for clue, gain in gains.items():
                given.setdefault(clue, {})[row] = gain
        return out, given

    # -- consolidation --
    def consolidate(self, work: Workbench) -> None:
        for portion in work.portions(256):
            kept: set[UUID] = set()
            with portion.look() as view:
                sections = [section for thread in _touched(view, portion) for section in self._sections(view, thread)]
            known = portion.views_of(dict.fromkeys(id for section in sections for id in section.ids))
            for section in sections:
                kept |= self._renew(portion, section, known)
            retired = {view.id: view for views in known.values() for view in views} | {view.id: view for view in portion.stale}
            for view_id, old in retired.items():
                if view_id not in kept:
                    portion.retire(old, "its section is no more")

    def _renew(self, portion: Portion, section: _Section, known: dict[UUID, list[Memory]]) -> set[UUID]:
        """Write a section's gist, or its next version, or leave it where nothing has changed. Gives the view that was seen to."""
        if section.words < self.parameters.sections.fewest:
            return set()
        views = [view for view in known.get(section.ids[0], ()) if view.content.derived_from[0].id == section.ids[0]]
        old = views[0] if views else None
        if old is not None and not old.stale and [link.id for link in old.content.derived_from] == section.ids:
            return {old.id}
        with portion.look() as view:
            memories = [Memory(content, row) for content, row in zip(view.contents(section.rows), section.rows, strict=True)]
        told = gist([Passage(memory.text, memory.content.author) for memory in memories], section.words, self.parameters.sections)
        if not told:
            return set()
        text = "\n".join(" ".join(sentence.text.split()) for sentence in told)
        draft = Draft(text, "gist", memories, {"from": [str(memories[sentence.passage].id) for sentence in told]})
        if old is None:
            return {portion.add(draft)}
        portion.revise(old, draft, "its section has changed")
        return {old.id}

    def _sections(self, view: View, rows: list[int]) -> list[_Section]:
        lengths = view.index.lexical.lengths[rows]
        out = []
        for part in cut(lengths, self.parameters.sections):
            out.append(_Section(rows[part], [view.index.id_at(row) for row in rows[part]], float(lengths[part].sum())))
        return out


class _Section(NamedTuple):
    """Memories of one thread in a row: their rows, their ids, their words."""

    rows: list[int]
    ids: list[UUID]
    words: float


class _Names:
    """The names and terms of a space's rows, held in memory beside the index and caught up from row to row."""

    def __init__(self) -> None:
        self._read = 0
        self._associations = Associations()

    @classmethod
    def of(cls, view: View) -> Associations:
        held = view.index.attached(NAME, cls)
        held._catch_up(view)
        return held._associations

    def _catch_up(self, view: View) -> None:
        index, n = view.index, len(view.index)
        while self._read < n:
            rows = np.arange(self._read, min(self._read + _CHUNK, n))
            # A row that was forgotten cannot be read any more; `died` tells.
            wanted = rows[(index.died.view()[rows] > 0) & (index.flags.view()[rows] & int(Flag.VIEW) == 0)].tolist()
            self._associations.add((row, _read(content)) for row, content in zip(wanted, view.contents(wanted), strict=True))
            self._read = int(rows[-1]) + 1


def _read(content: Content) -> list[Unit]:
    text = content.text or ""
    heading = content.metadata.get("heading") or content.metadata.get("title")
    about = [headline(text) if "\n" in text else "", heading if isinstance(heading, str) else "", content.author or "", *content.entities]
    return read(text, about)


class _Seen:
    """A space as one question sees it: how much of it each row says, and how like to it each is."""

    def __init__(self, question: Question, view: View) -> None:
        self.view = view
        terms = question.terms.hashes[:MOST_TERMS]
        self.words = list(zip(terms.tolist(), question.terms.words, strict=False))
        self.held = view.index.lexical.holding(terms)
        self.look: Look = _Names.of(view).look(view.allowed)
        seen = self.held[view.allowed]
        counts = np.array([np.count_nonzero(seen >> at & 1) for at in range(len(terms))], dtype=np.int64)
        self.weights = rarity(counts, len(seen))
        self.likeness: Numbers = np.zeros(len(view.index))
        if view.cosines is not None:
            near = np.where(view.allowed, np.nan_to_num(view.cosines, nan=0.0), 0.0).astype(np.float64)
            mean = float(near[view.allowed].mean()) if len(seen) else 0.0
            spread = max(float(near.max(initial=0.0)) - mean, 1e-6)
            self.likeness = np.where(view.allowed, np.clip((near - mean) / spread, 0.0, 1.0), 0.0)

    def says(self, rows: Rows, more: int = 0) -> Numbers:
        """How much of the question, 0..1, each row says, together with what holds the terms `more` (bits)."""
        return share(self.held[rows] | more, self.weights)

    def rows_of(self, ids: Any) -> list[int]:
        """The allowed row of each memory that metadata list; -1 where there is none."""
        out = []
        for id in ids if isinstance(ids, list) else ():
            try:
                rows = self.view.index.rows_of(parse_id(id))
            except ValueError:
                rows = []
            out.append(next((row for row in reversed(rows) if self.view.allowed[row]), -1))
        return out


def _touched(view: View, portion: Portion) -> list[list[int]]:
    """The threads that something has happened in: the rows of each, in order."""
    index = view.index
    thread, first = index.thread.view(), index.first.view()
    rows = [memory.row for memory in portion.fresh]
    if view.relations is not None and portion.stale:
        stale = np.zeros(len(index), dtype=bool)
        stale[[old.row for old in portion.stale]] = True
        sources = view.relations.sources(stale)[1]
        rows += sources[sources >= 0].tolist()
    out = []
    for number in dict.fromkeys(thread[rows].tolist() if rows else []):
        if number >= 0:
            members = np.flatnonzero(view.allowed & (thread == number))
            out.append(members[np.argsort(first[members], kind="stable")].tolist())
    return out
