"""Changing an index in place (SPFresh, arXiv 2410.14452, section 4: LIRE): an insert only appends; splits, merges and reassignments are small steps
of their own, so that every vector stays in the list of its nearest head.

An entry is written first and counts when its slot has its stamp: a step that fails in the middle leaves what was there before.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mnemos.index.spann.closure import assign
from mnemos.index.spann.codes import Bytes, Floats
from mnemos.index.spann.kmeans import balanced_kmeans
from mnemos.index.spann.lists import DamagedLists
from mnemos.index.spann.mending import Mender
from mnemos.index.spann.metric import exact_squares, middle
from mnemos.index.spann.parts import Numbers, Parts

_STALE = 0.3
"""A list of which more is thought to be stale is written anew."""
_MARGIN = {"binary": 0.1, "int8": 0.01, "float16": 0.001, "float32": 0.0}
"""By how much a distance from codes may be wrong, as a share of it."""
_SAME = 1e-6
_DRIFTED = 1.5
_BATCH = 1024


class Updater:
    """Changes of one index. Whoever calls holds `parts.lock`, or lets the method take it."""

    def __init__(self, parts: Parts, mender: Mender) -> None:
        self._parts, self._mender = parts, mender
        self._dead: dict[int, int] = {}  # per list, how many vectors at home there are gone since it was written anew
        self._cursor, self._rewritten, self._before = 0, 0, -1  # of a sweep: the next list; lists written anew, in all and before this round
        self.changed = 0
        """Vectors that came since `settings` were chosen."""
        self.splits = self.followed = self.merges = self.reassigned = 0

    # -- from outside --
    def add(self, ids: Numbers, vectors: Floats) -> None:
        """Put in `vectors` (m, dimensions), as the measure stores them, under `ids` (m,), all different; an id that has one gets the new one."""
        for start in range(0, len(ids), _BATCH):
            self._add(ids[start : start + _BATCH], vectors[start : start + _BATCH])

    def _add(self, ids: Numbers, vectors: Floats) -> None:
        parts = self._parts
        rotated = parts.rotate(vectors)
        with parts.lock:
            before = parts.slots.map.find(ids)
            slots = parts.slots.reserve(len(ids))
            try:
                parts.vectors.write(slots, vectors)
                if not len(parts.heads):
                    self._create(rotated[0], np.zeros(0, dtype=np.int64), rotated[:0])
                homes, copies = self._append(slots, parts.slots.stamps.view()[slots], rotated)
            except BaseException:
                parts.slots.give_back(slots)
                raise
            parts.slots.take(slots, ids, homes, copies)
            self.changed += len(ids)
            if (before >= 0).any():
                self._release(before[before >= 0])
                parts.epoch += 1

    def remove(self, ids: Numbers) -> int:
        """Let go of the vectors of `ids`; how many of them there were."""
        with self._parts.lock:
            slots = np.unique(self._parts.slots.map.find(ids))
            slots = slots[slots >= 0]
            self._release(slots)
            return len(slots)

    def tend(self, steps: int) -> int:
        """Do at most `steps` of the splits and merges that wait; how many were done. One that fails goes on waiting."""
        done = 0
        while done < steps:
            with self._parts.lock:
                done += 1
                if not self._parts.waiting and not self._swept():
                    if self._shrunk():
                        continue
                    return done - 1
                number, task = self._parts.waiting.popitem(last=False)
                try:
                    self._split(number) if task == "split" else self._merge(number)
                except BaseException:
                    self._parts.waiting.setdefault(number, task)
                    raise
        return done

    def _shrunk(self) -> bool:
        """Where places of more vectors have taken the room of heads: let the shortest list be merged."""
        parts = self._parts
        memory = parts.options.memory
        if memory is None or parts.nbytes <= memory or len(parts.heads) < 2:
            return False
        numbers = parts.lists.numbers()
        self._merge(int(numbers[np.argmin(parts.lists.counts()[numbers])]), whole=True)
        return len(parts.heads) < len(numbers)

    # -- entries --
    def _append(self, slots: Numbers, stamps: NDArray[np.uint32], rotated: Floats) -> tuple[Numbers, Numbers]:
        """Append entries of vectors to the lists that they belong to; the homes of the slots, and in how many lists they are. Nothing counts yet."""
        parts, options = self._parts, self._parts.options
        chosen = assign(
            rotated, parts.heads, candidates=options.candidates, epsilon=options.epsilon, rng_factor=parts.rng_factor, replicas=options.replicas
        )
        rows, places = np.nonzero(chosen >= 0)
        numbers = chosen[rows, places]
        order = np.argsort(numbers, kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1):
            if len(group):
                self._append_to(int(numbers[group[0]]), slots[rows[group]], stamps[rows[group]], rotated[rows[group]])
        return np.asarray(chosen[:, 0], dtype=np.int64), np.count_nonzero(chosen >= 0, axis=1)

    def _append_to(self, number: int, slots: Numbers, stamps: NDArray[np.uint32], rotated: Floats) -> None:
        parts = self._parts
        entries = parts.entries.write(slots.astype(np.uint32), stamps, rotated, parts.heads.vector(number))
        try:
            count = parts.lists.append(number, entries)
        except DamagedLists as damage:  # it outgrew its extent, and could not be read
            self._mender.mend(damage)
            count = parts.lists.append(number, entries)
        if count > parts.limit:
            parts.waiting[number] = "split"

    def _create(self, head: Floats, slots: Numbers, rotated: Floats) -> int:
        """A new list of vectors in `slots` that are in lists already, or none; its number."""
        parts = self._parts
        number = parts.heads.add(head)
        try:
            entries = parts.entries.write(slots.astype(np.uint32), parts.slots.stamps.view()[slots], rotated, head)
            parts.lists.create(number, head, entries)
        except BaseException:
            parts.heads.remove(number)
            raise
        return number

    def _drop(self, number: int) -> None:
        self._parts.lists.drop(number)
        self._parts.heads.remove(number)
        self._parts.waiting.pop(number, None)
        self._dead.pop(number, None)

    def _held(self, number: int) -> tuple[Bytes, int]:
        """The entries of a list that count, each slot once; and how many entries there are."""
        parts = self._parts
        raw = self._mender.read(number)
        live = raw[parts.live(raw)]
        first = np.unique(parts.entries.slots(live), return_index=True)[1]
        return live[np.sort(first)], len(raw)

    def _release(self, slots: Numbers) -> None:
        """The vectors in `slots` are gone; lists in which much is stale by now are to be written anew."""
        parts = self._parts
        homes, counts = np.unique(parts.slots.homes.view()[slots].astype(np.int64), return_counts=True)
        parts.slots.release(slots)
        for number, count in zip(homes.tolist(), counts.tolist(), strict=True):
            dead = self._dead[number] = self._dead.get(number, 0) + count
            # Copies of others die as often as the vectors at home do.
            if dead * parts.lists.total > _STALE * int(parts.lists.table.view()["count"][number]) * max(1, len(parts.slots)):
                parts.waiting.setdefault(number, "merge")

    @property
    def stale(self) -> bool:
        """Whether more of the lists is stale than should be."""
        return self._parts.lists.total - self._parts.slots.entries > _STALE * self._parts.lists.total

    def _swept(self) -> bool:
        """Where more is stale than should be, and nobody knows where: let the next list be written anew."""
        parts = self._parts
        if not self.stale:
            return False
        numbers = parts.lists.numbers()
        at = int(np.searchsorted(numbers, self._cursor))
        if at == len(numbers):  # a round is over
            if self._rewritten == self._before:  # nothing was stale: the count was wrong, as it is after failures
                parts.slots.entries = parts.lists.total
                return False
            at, self._before = 0, self._rewritten
        number = int(numbers[at])
        self._cursor = number + 1
        parts.waiting[number] = "merge"
        return True

    # -- LIRE --
    def _split(self, number: int) -> None:
        """Make a list that is too long two, or what it takes; then move the vectors around that are nearer to another head now."""
        parts = self._parts
        if number not in parts.heads:
            return
        live, count = self._held(number)
        limit = parts.limit
        if len(live) <= limit:
            if len(live) < count:
                self.rewrite(number, live)
                self._follow(number, live)
            return
        slots = parts.entries.slots(live).astype(np.int64)
        rotated = self._mender.vectors(slots)
        old = parts.heads.vector(number)
        ways = max(2, -(-2 * len(live) // limit))
        rng = np.random.default_rng([parts.options.seed, number, len(live)])
        clusters = balanced_kmeans(rotated, ways, rng=rng)
        filled = np.unique(clusters.assignment)
        same = exact_squares(old, clusters.centres[filled]) <= _SAME
        kept = int(filled[same][0]) if same.any() else -1  # the old head serves on for this part
        heads, new, made = clusters.centres.copy(), np.full(len(clusters.centres), -1), []
        try:
            for part in filled[filled != kept].tolist():
                members = clusters.assignment == part
                heads[part] = middle(rotated[members])
                new[part] = self._create(heads[part], slots[members], rotated[members])
                made.append(int(new[part]))
            if kept >= 0:
                parts.lists.create(number, old, live[clusters.assignment == kept])
                new[kept] = number
        except BaseException:
            for one in made:
                self._drop(one)
            raise
        parts.epoch += 1
        self.splits += 1
        at_home = parts.slots.homes.view()[slots] == number
        parts.slots.move(slots[at_home], new[clusters.assignment[at_home]])
        if kept < 0:
            self._drop(number)
        else:
            self._dead.pop(number, None)
        fresh = new[new >= 0]
        for one in fresh.tolist():
            if int(parts.lists.counts()[one]) > limit:
                parts.waiting[one] = "split"
        if not clusters.arbitrary:
            # Who is farther from the new head than from the old one may be nearer to another (condition 1).
            to_old = exact_squares(old, rotated[at_home])
            farther = to_old < exact_squares(rotated[at_home], heads[clusters.assignment[at_home]])
            self._reassign(slots[at_home][farther], rotated[at_home][farther])
            self._draw(old, fresh)

    def _draw(self, old: Floats, fresh: Numbers) -> None:
        """Move vectors of neighbouring lists that are nearer to one of the `fresh` heads than to their own (condition 2)."""
        parts = self._parts
        near = parts.heads.nearest(old[None], min(parts.options.reassign_heads + len(fresh), len(parts.heads)))[0][0]
        near = near[(near >= 0) & ~np.isin(near, fresh)]
        heads, around = parts.heads.vectors(fresh), parts.heads.vectors(near)
        margin = 1 + _MARGIN[parts.options.code]
        drawn = []
        for number, head in zip(near.tolist(), around, strict=True):
            raw = self._mender.read(number)
            here = (parts.slots.homes.view()[parts.entries.slots(raw)] == number) & parts.live(raw)
            raw = raw[here]
            if not len(raw):
                continue
            to_head = np.concatenate([exact_squares(head, heads), np.zeros(1, dtype=np.float32)])
            squares = parts.entries.estimate(np.concatenate([heads, head[None]]), raw, to_head[:, None])
            nearer = squares[:-1].min(axis=0) < margin * squares[-1]
            drawn.append(parts.entries.slots(raw)[nearer])
        slots = np.unique(np.concatenate(drawn)).astype(np.int64) if drawn else np.zeros(0, dtype=np.int64)
        if not len(slots):
            return
        rotated = self._mender.vectors(slots)
        to_home = exact_squares(rotated, parts.heads.vectors(parts.slots.homes.view()[slots].astype(np.int64)))
        nearer = np.min([exact_squares(head, rotated) for head in heads], axis=0) < to_home
        self._reassign(slots[nearer], rotated[nearer])

    def _reassign(self, slots: Numbers, rotated: Floats) -> None:
        """Write the vectors anew that are not at home with the nearest head: to all lists that they belong to, under a new stamp."""
        parts = self._parts
        if not len(slots):
            return
        to_home = exact_squares(rotated, parts.heads.vectors(parts.slots.homes.view()[slots].astype(np.int64)))
        away = parts.heads.nearest(rotated, 1)[1][:, 0] < (1 - _SAME) * to_home - _SAME  # as near is no reason to move
        slots, rotated = slots[away], rotated[away]
        if not len(slots):
            return
        self.write_anew(slots, rotated)
        self.reassigned += len(slots)

    def write_anew(self, slots: Numbers, rotated: Floats) -> None:
        """Put entries of the vectors in `slots` into all lists that they belong to, under a new stamp: no other entry of theirs counts any more."""
        parts = self._parts
        stamps = parts.slots.stamps.view()[slots] + np.uint32(1)
        homes, copies = self._append(slots, stamps, rotated)
        parts.slots.restamp(slots)
        parts.slots.move(slots, homes, copies)
        parts.epoch += 1

    def _merge(self, number: int, whole: bool = False) -> None:
        """Write a list anew without what is stale; where little is left, or with `whole`, give that to the nearest list that has room."""
        parts = self._parts
        if number not in parts.heads:
            return
        live, count = self._held(number)
        if len(live) > parts.limit:
            self._split(number)
            return
        target = self._with_room(number, len(live)) if whole or len(live) < max(parts.options.merge_below, 1) else -1
        if target < 0:
            if len(live) < count:
                self.rewrite(number, live)
                self._follow(number, live)
            return
        slots = parts.entries.slots(live).astype(np.int64)
        at_home = parts.slots.homes.view()[slots] == number
        there = self._mender.read(target)
        known = parts.entries.slots(there[parts.live(there)])
        absent = ~np.isin(slots, known)
        rotated = self._mender.vectors(slots)
        if absent.any():
            self._append_to(target, slots[absent], parts.slots.stamps.view()[slots[absent]], rotated[absent])
        copies = parts.slots.copies.view()[slots] - ~absent
        parts.slots.move(slots, np.where(at_home, target, parts.slots.homes.view()[slots]), copies)
        self._drop(number)
        parts.epoch += 1
        self.merges += 1
        self._reassign(slots[at_home], rotated[at_home])

    def _with_room(self, number: int, more: int) -> int:
        """The nearest other list that stays within the limit with so many more entries; -1 where none does."""
        parts = self._parts
        near = parts.heads.nearest(parts.heads.vector(number)[None], min(9, len(parts.heads)))[0][0]
        for other in near[(near >= 0) & (near != number)].tolist():
            if int(parts.lists.counts()[other]) + more <= parts.limit:
                return int(other)
        return -1

    def rewrite(self, number: int, live: Bytes) -> None:
        """Let a list have only the entries `live`."""
        self._parts.lists.create(number, self._parts.heads.vector(number), live)
        self._dead.pop(number, None)
        self._rewritten += 1

    def _follow(self, number: int, live: Bytes) -> None:
        """Where what is at home in a list has drifted away from its head, let the head follow."""
        parts = self._parts
        slots = parts.entries.slots(live).astype(np.int64)
        slots = slots[parts.slots.homes.view()[slots] == number]
        if len(slots) < 2:
            return
        rotated = self._mender.vectors(slots)
        mean = rotated.mean(axis=0, dtype=np.float64).astype(np.float32)
        # A member stands about as far from the middle of the others as they do: a head that stands farther is none of them.
        if float(exact_squares(parts.heads.vector(number), mean[None])[0]) > _DRIFTED * float(exact_squares(mean, rotated).mean()):
            self.rehead(number)

    def rehead(self, number: int) -> None:
        """Give a list another head, from the middle of what is in it, and let the vectors around choose again. An empty list goes."""
        parts = self._parts
        live, _ = self._held(number)
        slots = parts.entries.slots(live).astype(np.int64)
        if not len(slots):
            self._drop(number)
            parts.epoch += 1
            return
        rotated = self._mender.vectors(slots)
        at_home = parts.slots.homes.view()[slots] == number
        head = middle(rotated[at_home] if at_home.any() else rotated)
        old = parts.heads.vector(number)
        other = self._create(head, slots, rotated)
        self.followed += 1
        parts.slots.move(slots[at_home], np.full(int(at_home.sum()), other))
        self._drop(number)
        parts.epoch += 1
        farther = exact_squares(old, rotated) < exact_squares(head, rotated)
        self._reassign(slots[at_home & farther], rotated[at_home & farther])
        self._draw(head, np.array([other]))
