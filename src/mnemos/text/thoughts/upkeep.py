"""One portion of consolidation: thoughts drawn from its memories, settled against those that are at hand, tallied, and written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from mnemos.index.vectors import VectorIndex
from mnemos.text.asking import Report
from mnemos.text.strategy import Floats, Memory, Portion, View, Workbench
from mnemos.text.thoughts import modelled
from mnemos.text.thoughts.extracting import BEFORE, Turn, extract
from mnemos.text.thoughts.hashing import HashedIndex
from mnemos.text.thoughts.quantities import concluded
from mnemos.text.thoughts.settling import End, Reading, settle
from mnemos.text.thoughts.thought import COUNT, State, Thought, about, ended, revived, thought_of

NAME = "thoughts"
_OF_ONE_KIND = 32
"""Thoughts of one head and relation that a new one meets, the newest."""
_NEAR = 24
_LEAST_NEAR = 0.35
"""Nearest thoughts that a new one meets, whatever their head, and the cosine from which they count."""
_TOGETHER = 8
"""Turns of one thread that a language model reads at once."""
_LISTED = 40
"""Thoughts of one head that a language model looks through at once, the newest."""


@dataclass
class Limits:
    """How much is drawn from one memory."""

    most: int = 6
    """Thoughts."""
    derive: bool = True
    """Whether tallies are kept."""


@dataclass
class _Held:
    """What was at hand when a portion was looked at."""

    turns: dict[UUID, Turn] = field(default_factory=dict)
    memories: dict[UUID, Memory] = field(default_factory=dict)
    """Sources, as they are now."""
    first: dict[UUID, int] = field(default_factory=dict)
    """The first row of each source: the order of writing."""


class Near:
    """The vectors of a space's thoughts, hashed, for what a new thought is to meet. Held beside the index, and caught up row by row."""

    def __init__(self) -> None:
        self._of: VectorIndex | None = None
        self._index: HashedIndex | None = None
        self._read = 0

    def caught_up(self, view: View, own: NDArray[np.bool_]) -> HashedIndex | None:
        """None without vectors. Those of another embedder are let go, and all are hashed anew."""
        if view.vectors is None:
            return None
        if self._index is None or self._of is not view.vectors:
            self._of, self._index, self._read = view.vectors, HashedIndex(view.vectors.dimensions), 0
        fresh = self._read + np.flatnonzero(own[self._read :])
        self._read = len(own)
        if len(fresh):
            self._index.add(fresh, view.vectors.vectors(fresh))
        return self._index


class Upkeep:
    """What a strategy does with one portion."""

    def __init__(self, work: Workbench, portion: Portion, limits: Limits, reading: Reading, report: Report) -> None:
        self.work, self.portion, self.limits, self.reading, self.report = work, portion, limits, reading, report
        self.held = _Held()
        self.pool: list[Thought] = []
        self.written: dict[int, UUID] = {}
        """Place in the pool → the cube that holds it, or will."""
        self.views: dict[UUID, Memory] = {}
        self.changed: set[int] = set()
        """Places of thoughts to be written, though nothing ends them."""
        self.fresh: list[int] = []
        self.gone: set[UUID] = set()
        self.pairs: set[tuple[int, int]] = set()
        self.vectors: dict[int, NDArray[np.float32]] = {}
        self.lost: set[str] = set()
        """Heads and relations (`about`) that lost a thought: what it had ended may hold again."""

    def run(self) -> None:
        """Everything; nothing is written before the strategy goes on to the next portion."""
        stale_sources = {link.id for view in self.portion.stale for link in view.content.derived_from}
        with self.portion.look() as view:
            self._gather(view, [memory.id for memory in self.portion.fresh] + sorted(stale_sources), turns=True)
        touched = [id for id in self.held.turns if id in self.held.memories]
        known = self.portion.views_of(touched)
        for old in self.portion.stale:
            if not any(link.id in self.held.memories for link in old.content.derived_from):
                self._retire(old, "its source is no more")
        drawn = self._drawn([self.held.memories[id] for id in touched])
        keys = self._matched(drawn, {view.id: view for views in known.values() for view in views})
        new = [at for at in self.fresh if self.pool[at].id is None]
        embedded = self.portion.embed([self.pool[at].sentence for at in new]) if new else None
        if embedded is not None:
            self.vectors = {at: embedded[i] for i, at in enumerate(new)}
        with self.portion.look() as view:
            self._meet(view, keys)
        if self.limits.derive:
            self._tally()
        ends = self._settle()
        self._write(ends)

    # -- what there is --
    def _gather(self, view: View, ids: Iterable[UUID], turns: bool = False) -> None:
        """Read sources as they are now; with `turns`, also what stands before each in its thread."""
        index, thread = view.index, view.index.thread.view()
        for id in dict.fromkeys(ids):
            if id in self.held.memories and not turns:
                continue
            rows = [row for row in index.rows_of(id) if view.allowed[row]]
            if not rows:
                continue
            row = rows[-1]
            self.held.first[id] = index.rows_of(id)[0]
            content = view.contents([row])[0]
            self.held.memories[id] = Memory(content, row)
            if turns:
                number, start = int(thread[row]), max(0, row - 400)
                before = start + np.flatnonzero(view.allowed[start:row] & (thread[start:row] == number)) if number >= 0 else np.zeros(0, np.int64)
                self.held.turns[id] = Turn(content, view.contents(before[-BEFORE:].tolist()) if len(before) else ())

    def _drawn(self, memories: Sequence[Memory]) -> dict[UUID, list[Thought]]:
        """The thoughts of each memory: a language model's where there is one, else by rules."""
        chat = self.work.chat
        if chat is None:
            return {memory.id: extract(self.held.turns[memory.id], self.limits.most) for memory in memories}
        out: dict[UUID, list[Thought]] = {}
        for start in range(0, len(memories), _TOGETHER):
            some = memories[start : start + _TOGETHER]
            found = modelled.extracted(chat, some, self.limits.most * len(some), self.report, self.work.report)
            if found is None:
                out |= {memory.id: extract(self.held.turns[memory.id], self.limits.most) for memory in some}
                continue
            out |= {memory.id: [] for memory in some}
            for thought in found:
                out[thought.sources[0]].append(thought)
        return out

    def _matched(self, drawn: Mapping[UUID, list[Thought]], known: Mapping[UUID, Memory]) -> set[str]:
        """Take in what was drawn: what is known already keeps its cube, what a source says no more and what is no thought is retired. Gives the
        tags to look under."""
        held: dict[UUID, tuple[Memory, Thought]] = {}
        for id, view in known.items():
            read = thought_of(view)
            if read is None:
                self._retire(view, "it holds no thought that can be read")
            else:
                held[id] = (view, read)
        keys: set[str] = set()
        same: dict[tuple[tuple[UUID, ...], str], list[UUID]] = {}
        for id, (view, old) in held.items():
            keys |= set(old.tags)
            if old.derived:
                self._known(view, replace(old, order=self._order(old)))
                if view.stale:
                    self.changed.add(len(self.pool) - 1)
            elif not old.merges:
                same.setdefault((old.sources, old.quote), []).append(id)
        kept: set[UUID] = set()
        for thoughts in drawn.values():
            for thought in thoughts:
                matching = same.get((thought.sources, thought.quote), [])
                keys |= set(thought.tags)
                if not matching:
                    self.fresh.append(self._add(replace(thought, order=self._order(thought))))
                    continue
                view, old = held[matching.pop(0)]
                kept.add(view.id)
                place = self._known(view, replace(thought, id=view.id, state=old.state, ended_by=old.ended_by, order=self._order(thought)))
                if view.stale:
                    self.changed.add(place)
                self.fresh.append(place)
        for id, (view, old) in held.items():
            if id not in kept and not old.derived and (not old.merges or view.stale):
                self._retire(view, "its source says something else now")
                self.lost.add(about(old.head, old.relation))
        return keys

    def _known(self, view: Memory, thought: Thought) -> int:
        self.views[view.id] = view
        place = self._add(thought)
        self.written[place] = view.id
        return place

    def _add(self, thought: Thought) -> int:
        self.pool.append(thought)
        return len(self.pool) - 1

    def _order(self, thought: Thought) -> int:
        return max((self.held.first.get(source, 0) for source in thought.sources), default=0)

    def _retire(self, view: Memory, reason: str) -> None:
        if view.id not in self.gone:
            self.gone.add(view.id)
            self.portion.retire(view, reason)

    # -- what it meets --
    def _meet(self, view: View, keys: set[str]) -> None:
        """Bring in the thoughts that the fresh ones are to be settled with: of the same head and relation, of the same tally, and the nearest."""
        own = view.made_by(NAME)
        index = view.index
        near = index.attached(NAME, Near).caught_up(view, own)
        wanted: dict[int, None] = {}
        for tag in sorted(keys):
            rows = np.flatnonzero(own & index.with_tags([tag])).tolist()
            wanted.update(dict.fromkeys(rows if tag.startswith(COUNT) else rows[-_OF_ONE_KIND:]))
        nearest: dict[int, list[int]] = {}
        for at, vector in self.vectors.items():
            nearest[at] = near.search(vector, _NEAR, own, _LEAST_NEAR).ids.tolist() if near is not None else []
            wanted.update(dict.fromkeys(nearest[at]))
        rows = [row for row in wanted if index.id_at(row) not in self.gone]
        place_of = {self.views[id].row: place for place, id in self.written.items()}
        views = [Memory(content, row) for content, row in zip(view.contents(rows), rows, strict=True)]
        self._gather(view, [link.id for one in views for link in one.content.derived_from])
        for one in views:
            if one.row in place_of:
                continue
            old = thought_of(one)
            if old is not None:
                place_of[one.row] = self._known(one, replace(old, order=self._order(old)))
        if view.vectors is not None:
            found: Floats = view.vectors.vectors(np.array(list(place_of), dtype=np.int64))
            self.vectors |= {place: found[i] for i, place in enumerate(place_of.values()) if found[i].any()}
        self._pair(nearest, place_of)
        enders = {thought.ended_by for thought in self.pool if thought.ended_by is not None}
        self._revive({id for id in enders - self.gone if any(own[row] for row in index.rows_of(id))})

    def _pair(self, nearest: Mapping[int, Sequence[int]], place_of: Mapping[int, int]) -> None:
        groups: dict[str, list[int]] = {}
        for at in range(len(self.pool)):
            groups.setdefault(about(self.pool[at].head, self.pool[at].relation), []).append(at)
        for at in self.fresh:
            for other in groups[about(self.pool[at].head, self.pool[at].relation)][-2 * _OF_ONE_KIND :]:
                self.pairs.add((at, other))
            for row in nearest.get(at, ()):
                if row in place_of:
                    self.pairs.add((at, place_of[row]))
        new = [at for at in self.fresh if at in self.vectors]
        if len(new) > 1:
            among = np.stack([self.vectors[at] for at in new])
            for one, other in np.argwhere(np.triu(among @ among.T, 1) >= _LEAST_NEAR).tolist():
                self.pairs.add((new[one], new[other]))
        for key in self.lost:
            members = groups.get(key, [])[-_OF_ONE_KIND:]
            self.pairs |= {(one, other) for one in members for other in members if one < other}

    def _revive(self, alive: set[UUID]) -> None:
        """What has ended by a thought that is no more holds again."""
        for at, thought in enumerate(self.pool):
            by = thought.ended_by
            if thought.state is not State.ACTIVE and by not in alive:
                self.pool[at] = revived(thought)
                self.changed.add(at)

    # -- what becomes of it --
    def _tally(self) -> None:
        """Draw the conclusion of each tally that something was added to, or renew the one that is there."""
        tallies: dict[tuple[int, str], list[int]] = {}
        for at, thought in enumerate(self.pool):
            if thought.count is not None:
                tallies.setdefault(thought.count, []).append(at)
        for places in tallies.values():
            entries = [self.pool[at] for at in places if not self.pool[at].derived and self.pool[at].state not in (State.MERGED, State.SUPERSEDED)]
            old = next((at for at in places if self.pool[at].derived), None)
            made = concluded(entries)
            if made is None:
                if old is not None:
                    self._retire(self.views[self.written[old]], "nothing follows any more")
                    self.pool[old] = replace(self.pool[old], state=State.FORGOTTEN)
                    self.changed.discard(old)
                continue
            made = replace(made, order=self._order(made), place=1 << 30)
            if old is None:
                place = self._add(made)
                self.changed.add(place)
            else:
                place, before = old, self.pool[old]
                made = replace(made, id=before.id, state=before.state, ended_by=before.ended_by)
                if made.sentence != before.sentence or made.sources != before.sources or made.derived != before.derived:
                    self.changed.add(place)
                self.pool[place] = made
            self.pairs |= {(place, at) for at in range(len(self.pool)) if at != place and self.pool[at].head == made.head}

    def _settle(self) -> dict[int, End]:
        """Ends among the pool. Where a merged thought ends, what it was merged from is settled by itself."""
        ends: dict[int, End] = {}
        usable = [at for at in range(len(self.pool)) if self.pool[at].id not in self.gone or self.pool[at].id is None]
        known = set(usable)
        pairs = {pair for pair in self.pairs if pair[0] in known and pair[1] in known}
        meant = self._meant(pairs)
        for _ in range(3):
            settled = settle(self.pool, pairs, self.reading, meant)
            for made in settled.made:
                self.changed.add(self._add(made))
            ends |= settled.ends
            for at, end in settled.ends.items():
                self.pool[at] = replace(self.pool[at], state=end.state)
            again = self._unmerged(settled.ends)
            if not again:
                break
            pairs = {(at, other) for at in again for pair in pairs for other in pair if other != at}
        if self.work.chat is not None:
            self._modelled(ends)
        return ends

    def _meant(self, pairs: Iterable[tuple[int, int]]) -> dict[int, NDArray[np.float32]]:
        """Vectors of the texts that are compared, where meaning can tell: where the later one of a pair says that something changed. What was drawn
        of them has the names of its speakers in it, which make any two thoughts of one person alike."""
        wanted: dict[int, None] = {}
        for pair in sorted(pairs):
            earlier, later = sorted(pair, key=lambda at: (self.pool[at].moment, at))
            if self.reading.changes(self.pool[later]) and self.pool[earlier].state is State.ACTIVE:
                wanted |= {earlier: None, later: None}
        texts = list(dict.fromkeys(self.pool[at].compared[0] for at in wanted))
        made = self.portion.embed(texts) if texts else None
        if made is None:
            return {}
        place = {text: i for i, text in enumerate(texts)}
        return {at: made[place[self.pool[at].compared[0]]] for at in wanted}

    def _unmerged(self, ends: Mapping[int, End]) -> list[int]:
        """What was merged into a thought that ends otherwise than by being merged again: it holds again until it is settled itself."""
        over = {self.written[at] for at, end in ends.items() if end.state is not State.MERGED and at in self.written}
        out = []
        for at, thought in enumerate(self.pool):
            if thought.state is State.MERGED and thought.ended_by in over and at not in ends:
                self.pool[at] = revived(thought)
                self.changed.add(at)
                out.append(at)
        return out

    def _modelled(self, ends: dict[int, End]) -> None:
        """Let a language model look through the thoughts of each head that something was added to."""
        chat = self.work.chat
        assert chat is not None
        for head in dict.fromkeys(self.pool[at].head for at in self.fresh):
            places = [at for at, one in enumerate(self.pool) if one.head == head and one.state is State.ACTIVE and not one.derived and at not in ends]
            places = [at for at in places if self.pool[at].id not in self.gone][-_LISTED:]
            if len(places) < 2:
                continue
            found = modelled.forgotten(chat, self.pool, places, self.report, self.work.report)
            ends |= found
            places = [at for at in places if at not in found]
            if len(places) < 2:
                continue
            for made, taken in modelled.merged(chat, self.pool, places, self.report, self.work.report):
                place = self._add(replace(made, order=self._order(made)))
                self.changed.add(place)
                ends |= {at: End(State.MERGED, place) for at in taken}

    # -- writing --
    def _write(self, ends: Mapping[int, End]) -> None:
        done: set[int] = set()

        def write(at: int) -> UUID | None:
            if at in done:
                return self.written.get(at)
            done.add(at)
            thought, end = self.pool[at], ends.get(at)
            by = None
            if end is not None:
                by = write(end.by)
                thought = ended(replace(thought, state=State.ACTIVE), end.state, replace(self.pool[end.by], id=by))
            if at not in self.written:
                self.written[at] = self.portion.add(thought.draft(self._sources(thought)))
            elif end is not None or at in self.changed:
                reason = thought.state.value if end is not None else "renewed"
                self.portion.revise(self.views[self.written[at]], thought.draft(self._sources(thought)), reason)
            return self.written[at]

        for at in [*self.fresh, *sorted(self.changed), *ends]:
            if self.pool[at].id is None or self.pool[at].id not in self.gone:
                write(at)
        for end in ends.values():
            self.work.report(end.state.value)

    def _sources(self, thought: Thought) -> list[Memory]:
        return [self.held.memories[source] for source in thought.sources if source in self.held.memories]
