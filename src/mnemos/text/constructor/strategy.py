"""The strategy "constructor": a policy builds core, episodic and semantic memory from what was added, and what it kept is found better.

Source: Mem-α, arXiv 2509.25911. Sources are never rewritten; what the policy keeps are views of them: one for each fact and event, one for each line
of the core. A deletion archives the view. The policy's calls go through the same transaction, rights and log as anybody's writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from mnemos.index.terms import query_terms
from mnemos.text.asking import Report
from mnemos.text.constructor.candidates import MOST, Candidate, telling
from mnemos.text.constructor.gist import read_gist
from mnemos.text.constructor.learnt import LearntPolicy
from mnemos.text.constructor.matching import comparer
from mnemos.text.constructor.memory import DEFAULTS as UNLIMITED
from mnemos.text.constructor.memory import Entry, Limits, Line, Memory, Status
from mnemos.text.constructor.operations import CORE, LISTS, Kind
from mnemos.text.constructor.policy import ALIKE, RECENT, Chunk, MemoryPolicy, Turn, View
from mnemos.text.constructor.prompted import PromptedPolicy
from mnemos.text.constructor.rules import RulesPolicy
from mnemos.text.plain import Plain, distinct
from mnemos.text.question import Question
from mnemos.text.strategy import Draft, Floats, Portion, Recall, Workbench
from mnemos.text.strategy import Memory as Stored
from mnemos.text.strategy import View as Space
from mnemos.text.tokens import count_tokens

NAME = "constructor"
_AFTER = np.float32(1e-3)
_UPDATED = "updated by the policy"
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Parameters:
    """How memories are taken in, and what was kept counts for."""

    policy: str = "learnt"
    """Who decides where the store has no language model: "learnt" or "rules"."""
    ask: bool = True
    """Whether the store's language model decides where there is one."""
    portion: int = 64
    """Memories of a transaction."""
    turns: int = 8
    """Messages of a chunk, of one thread."""
    tokens: int = 1_024
    """Tokens of a chunk; a single longer message is a chunk of its own."""
    statements: int = MOST
    """Of a message that are decided on, the first that say something."""
    limits: Limits = UNLIMITED
    kept: float = 0.1
    """Log odds that a memory gains of which something was kept. Chosen on half of MSC and LongMemEval."""
    replaced: float = 3.0
    """Log odds by which an outdated memory may fit a question better than the one that replaced it, and still come after it. Ours."""
    nearer: float = 4.0
    """Log odds for each unit of cosine by which what was kept of a memory is nearer to the question than the memory as a whole."""


DEFAULTS = Parameters()


class Kept(NamedTuple):
    """Rows of views and of the sources that they are of; and rows that were replaced, with those that replaced them."""

    rows: Rows
    sources: Rows
    replaced: Rows
    by: Rows


class Constructor(Plain):
    """Searches give the memories that were added; what was kept of them are views of the types "core", "semantic" and "episodic"."""

    name = NAME
    about = "a learnt policy keeps what is worth keeping: a core, facts and events, updated as they change"
    consolidates = True

    def __init__(self, parameters: Parameters = DEFAULTS) -> None:
        super().__init__()
        self.parameters = parameters

    # -- reading --
    def recall(self, question: Question, view: Space, k: int) -> Recall:
        ranking = self.ranking(question, view)
        kept = self.kept(view)
        if kept is None:
            best = distinct(view.index, ranking.scores, k)
            return Recall(best, ranking.scores[best], ranking.signals(best))
        scores = self.scores(ranking.scores, kept, view)
        best = distinct(view.index, scores, k)
        return Recall(best, scores[best], {**ranking.signals(best), "kept": scores[best] - ranking.scores[best]})

    def kept(self, view: Space) -> Kept | None:
        """What was kept of which rows; None where nothing was."""
        if view.relations is None:
            return None
        rows, sources = view.relations.sources(view.made_by(NAME))
        known = sources >= 0
        rows, sources = rows[known], sources[known]
        if not len(rows):
            return None
        newest = np.full(len(view.index), -1)
        np.maximum.at(newest, rows, sources)
        present = sources == newest[rows]
        return Kept(rows[present], sources[present], sources[~present], newest[rows[~present]])

    def scores(self, scores: Floats, kept: Kept, view: Space) -> Floats:
        """(n,) log odds: rows of which something was kept gain, and more where what was kept is nearer to the question than they are; what has been
        replaced comes right after what replaced it, where both bear on the question."""
        p = self.parameters
        out = scores.copy()
        gain = np.full(len(kept.sources), p.kept, dtype=np.float32)
        if view.cosines is not None:
            nearer = np.nan_to_num(view.cosines[kept.rows] - view.cosines[kept.sources])
            gain += np.float32(p.nearer) * np.maximum(nearer, 0)
        most = np.zeros(len(out), dtype=np.float32)
        np.maximum.at(most, kept.sources, gain)
        out += most
        before, after = out[kept.replaced], out[kept.by]
        for at in np.flatnonzero(np.isfinite(before) & (after <= before) & (before <= after + p.replaced)).tolist():
            old, new = kept.replaced[at], kept.by[at]
            if out[new] <= out[old]:  # another pair may have set it right
                out[new], out[old] = out[old], out[old] - _AFTER
        return out

    # -- consolidation --
    def consolidate(self, work: Workbench) -> None:
        report = Report()
        policy = self.policy(work, report)
        for portion in work.portions(self.parameters.portion):
            Desk(work, portion, policy, self.parameters).work_through()
        for reason, count in report.refused.items():
            work.report(f"degraded: {reason}", count)
        if report.unsupported:
            work.report("rejected: not in its sources", report.unsupported)

    def policy(self, work: Workbench, report: Report) -> MemoryPolicy:
        """Who decides."""
        own: MemoryPolicy = LearntPolicy(compared=comparer()) if self.parameters.policy == "learnt" else RulesPolicy(comparer())
        return PromptedPolicy(work.chat, own, report) if work.chat is not None and self.parameters.ask else own


class Desk:
    """One portion: what is held of the space's views that bear on it, what the policy does with it, and how that is written."""

    def __init__(self, work: Workbench, portion: Portion, policy: MemoryPolicy, parameters: Parameters) -> None:
        self._work, self._portion, self._policy, self._parameters = work, portion, policy, parameters
        self._memory = Memory(parameters.limits)
        self._views: dict[str, Stored] = {}
        """By the id of the entry, or the text of the core's line."""
        self._sources: dict[UUID, Stored] = {}
        self._by: dict[str, str] = {}
        """Who wrote an entry, or a line, at this desk."""

    def work_through(self) -> None:
        self._load()
        for old in self._portion.stale:
            self._portion.retire(old, "a source has changed")
        before = dict(self._memory.entries)
        lines = self._memory.lines
        for chunk in self._chunks():
            self._decide(chunk)
        self._write(before, lines)

    # -- what there is --
    def _load(self) -> None:
        portion = self._portion
        with portion.look() as view:
            index = view.index
            fresh = {memory.id: memory for memory in portion.fresh}
            again = {link.id for old in portion.stale for link in old.content.derived_from} - fresh.keys()
            rows = sorted(row for id in again for row in index.rows_of(id) if view.allowed[row])
            self._sources = {**{m.id: m for m in _stored(view, rows)}, **fresh}
            self._threads = {id: int(index.thread.view()[memory.row]) for id, memory in self._sources.items()}
            own = view.made_by(NAME)
            own[[old.row for old in portion.stale]] = False
            held = _stored(view, self._bearing_on(view, own))
            cited = {link.id for one in held for link in one.content.derived_from} - self._sources.keys()
            rows = [row for id in cited for row in index.rows_of(id) if view.allowed[row]]
            self._cited = {memory.id: memory for memory in _stored(view, sorted(rows))}
        core = []
        for one in held:
            sources = tuple(link.id for link in one.content.derived_from)
            if one.content.type == CORE:
                core.append(Line(one.text, read_gist(one.text), sources))
                self._views[one.text] = one
            else:
                kind: Kind = "semantic" if one.content.type == "semantic" else "episodic"
                self._views[self._memory.hold(kind, one.text, one.content.event_at, sources).id] = one
        self._memory.hold_core(core)

    def _bearing_on(self, view: Space, own: NDArray[np.bool_]) -> list[int]:
        """Rows of the views that the policy is shown: the core, the newest, and those most like what has come in."""
        types, number = view.index.type.view(), view.index.types.number
        rows: set[int] = set(np.flatnonzero(own & (types == _number(number(CORE)))).tolist())
        lists = np.zeros(len(own), dtype=bool)
        for kind in LISTS:
            listed = np.flatnonzero(own & (types == _number(number(kind))))
            lists[listed] = True
            rows |= set(listed[max(len(listed) - RECENT, 0) :].tolist())
        if lists.any():
            for memory in self._sources.values():
                found = view.index.lexical.search(query_terms(memory.text[:2000]), lists).bm25
                best = np.argsort(-found, kind="stable")[: 2 * ALIKE]
                rows |= set(best[found[best] > 0].tolist())
        return sorted(rows)

    def _chunks(self) -> Iterable[Chunk]:
        """What has come in, in order: messages of one thread together, up to a number of them and of tokens."""
        waiting: list[Stored] = []
        tokens = 0
        for memory in sorted(self._sources.values(), key=lambda memory: memory.row):
            size = count_tokens(memory.text)
            apart = bool(waiting) and (
                self._threads[memory.id] != self._threads[waiting[-1].id] or self._threads[memory.id] < 0
                or len(waiting) >= self._parameters.turns or tokens + size > self._parameters.tokens
            )  # fmt: skip
            if apart:
                yield self._chunk(waiting)
                waiting, tokens = [], 0
            waiting.append(memory)
            tokens += size
        if waiting:
            yield self._chunk(waiting)

    def _chunk(self, memories: Sequence[Stored]) -> Chunk:
        said = [(memory.content, memory.id) for memory in memories]
        turns = tuple(Turn(c.text or "", c.author, c.event_at if c.event_at is not None else c.created_at, id) for c, id in said)
        candidates: list[Candidate] = []
        for turn in turns:
            candidates += telling(turn.text, turn.author, turn.at, turn.id, self._memory.read, self._parameters.statements)
        return Chunk(turns, tuple(candidates), sum(count_tokens(turn.text) for turn in turns))

    # -- what is done --
    def _decide(self, chunk: Chunk) -> None:
        memory = self._memory
        lines = set(memory.lines)
        memory.begin(chunk.at)
        for call in self._policy.decide(View(memory.fork(), chunk), chunk):
            outcome = memory.execute(call)
            if outcome.status is Status.FAILED:
                self._work.report(f"failed: {outcome.fault}")
            elif outcome.status is Status.OK and outcome.id in memory.entries:
                self._by[outcome.id] = self._policy.by
        for line in memory.lines:
            if line not in lines:
                self._by[line.text] = self._policy.by

    def _write(self, before: dict[str, Entry], lines: tuple[Line, ...]) -> None:
        portion, memory = self._portion, self._memory
        for id, old in before.items():
            now = memory.entries.get(id)
            if now is None:
                portion.retire(self._views[id], "deleted by the policy")
            elif (now.content, now.at) != (old.content, old.at):
                portion.revise(self._views[id], self._draft(now.kind, now.content, now.sources, now.at, id), _UPDATED)
        for id, entry in memory.entries.items():
            if id not in before:
                portion.add(self._draft(entry.kind, entry.content, entry.sources, entry.at, id))
        kept = {line.text for line in memory.lines}
        gone = [line for line in lines if line.text not in kept]
        for line in memory.lines:
            if line.text in self._views:
                continue
            before_it = next((one for one in gone if one.gist.key and one.gist.key == line.gist.key), None)
            if before_it is None:
                portion.add(self._draft(CORE, line.text, line.sources, None, line.text))
            else:
                gone.remove(before_it)
                draft = self._draft(CORE, line.text, (*line.sources, *before_it.sources), None, line.text)
                portion.revise(self._views[before_it.text], draft, _UPDATED)
        for line in gone:
            portion.retire(self._views[line.text], "the core no longer says it")

    def _draft(self, kind: Kind, text: str, sources: Iterable[object], at: int | None, written: str) -> Draft:
        known = {**self._cited, **self._sources}
        made_of = [known[id] for id in sources if isinstance(id, UUID) and id in known]
        return Draft(text, kind, made_of, event_at=at, by=self._by.get(written, self._policy.by))


def _number(known: int | None) -> int:
    """The number of a type; of one that the space has not, one that no row has."""
    return -2 if known is None else known


def _stored(view: Space, rows: Sequence[int]) -> list[Stored]:
    return [Stored(content, row) for content, row in zip(view.contents(rows), rows, strict=True)] if rows else []
