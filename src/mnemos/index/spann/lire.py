"""Split, merge, reassign (SPFresh, arXiv 2410.14452, section 4: LIRE): small steps that keep every vector in the list of its nearest head."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mnemos.index.spann.closure import assign_among
from mnemos.index.spann.codes import Bytes, Floats
from mnemos.index.spann.kmeans import balanced_kmeans
from mnemos.index.spann.list_writer import ListWriter
from mnemos.index.spann.mending import Mender
from mnemos.index.spann.metric import exact_squares, middle
from mnemos.index.spann.parts import Numbers, Parts

_MARGIN = {"binary": 0.1, "int8": 0.01, "float16": 0.001, "float32": 0.0}
"""By how much a distance from codes may be wrong, as a share of it."""
_SAME = 1e-6
_DIVISIBLE = 4
"""A list is divided by what is at home there where that makes so many a part, and by all that is in it where it does not."""
_AT_ONCE = 4
"""Vectors that are written anew while the lock is held."""
_DRIFTED = 1.5
_FULL = 0.75
"""A list that was too long, and is longer than this share of what it may be, lets go of what does not belong there any more."""


class Lire:
    """The steps of upkeep of one index. Whoever calls holds `parts.upkeep`. Nothing waits for their thinking: `parts.lock` is held to look at what
    there is, and to change lists when it is known how."""

    def __init__(self, parts: Parts, mender: Mender, writer: ListWriter) -> None:
        self._parts, self._mender, self._writer = parts, mender, writer
        self.splits = self.followed = self.merges = self.reassigned = 0

    def split(self, number: int) -> None:
        """Make a list that is too long two, or what it takes; then move the vectors around that are nearer to another head now. Where it is long only
        by what is stale, or does not belong there any more, it lets go of that. Raises `Overtaken`."""
        parts = self._parts
        with self._writer.watching():
            with parts.lock:
                if number not in parts.heads:
                    return
                live, count = self._writer.held(number)
                short = len(live) <= _FULL * parts.limit
                if short and len(live) < count:
                    self._writer.rewrite(number, live)
            if short:
                if len(live) < count:
                    self._follow(number, live)
                return
            slots, stamps = parts.entries.slots(live).astype(np.int64), parts.entries.stamps(live)
            rotated = self._mender.vectors_beside(slots, stamps)
            with parts.lock:
                homes = np.where(parts.slots.counts(parts.entries.slots(live), stamps), parts.slots.homes.view()[slots].astype(np.int64), number)
            belongs = self._belonging(number, homes, rotated)
            if belongs.sum() <= _FULL * parts.limit or len(live) <= parts.limit:
                with parts.lock:
                    since = self._writer.since(np.array([number]), np.array([count]))
                    self._writer.rewrite(number, np.concatenate([live[belongs], *since.values()]))
                    self._writer.recount(slots[~belongs], np.full(int((~belongs).sum()), -1), stamps[~belongs])
                return
            self._divide(number, live, count, rotated, homes == number)

    def _divide(self, number: int, live: Bytes, count: int, rotated: Floats, at_home: NDArray[np.bool_]) -> None:
        """Make lists of the entries `live` of a list that had `count` of them, with their vectors (m, d), and which of these are `at_home` there."""
        parts, limit = self._parts, self._parts.limit
        slots, stamps = parts.entries.slots(live).astype(np.int64), parts.entries.stamps(live)
        old = parts.heads.vector(number)
        ways = max(2, -(-2 * len(live) // limit))
        rng = np.random.default_rng([parts.options.seed, number, len(live)])
        # Copies stand all around: heads chosen among them lie near each other in the middle, and tell vectors apart badly.
        among = at_home if int(at_home.sum()) >= _DIVISIBLE * ways else np.ones(len(slots), dtype=bool)
        clusters = balanced_kmeans(rotated[among], ways, rng=rng)
        heads = np.array([middle(rotated[among][clusters.assignment == part]) for part in np.unique(clusters.assignment)])
        nearest = np.array([exact_squares(head, rotated) for head in heads]).argmin(axis=0)
        if clusters.arbitrary or among.all():
            nearest[among] = np.unique(clusters.assignment, return_inverse=True)[1]
        same = np.flatnonzero(exact_squares(old, heads) <= _SAME)
        kept = int(same[0]) if len(same) else -1  # the old head serves on for this part
        written = []
        for part, head in enumerate(heads):
            inside = nearest == part
            again = parts.entries.write(slots[inside].astype(np.uint32), stamps[inside], rotated[inside], head)
            written.append(live[inside] if part == kept else again)
        with parts.lock:
            late, came = self._writer.late(np.array([number]), np.array([count]))
            new, made = np.full(len(heads), -1), []
            try:
                for part, entries in enumerate(written):
                    if part != kept:
                        new[part] = self._writer.put(heads[part], entries)
                        made.append(int(new[part]))
                if kept >= 0:
                    parts.lists.create(number, old, written[kept])
                    new[kept] = number
            except BaseException:
                for one in made:
                    self._writer.drop(one)
                raise
            parts.epoch += 1
            self.splits += 1
            moved = at_home & parts.slots.counts(parts.entries.slots(live), stamps)
            parts.slots.move(slots[moved], new[nearest[moved]])
            if kept < 0:
                self._writer.drop(number)
            else:
                self._writer.dead.pop(number, None)
            if len(late):
                self._writer.write_anew(late, came)
            for one in new.tolist():
                if int(parts.lists.counts()[one]) > limit:
                    parts.waiting[one] = "split"
        if not clusters.arbitrary:
            # Who is farther from the new head than from the old one may be nearer to another (condition 1).
            to_old = exact_squares(old, rotated[at_home])
            farther = to_old < exact_squares(rotated[at_home], heads[nearest[at_home]])
            self._reassign(slots[at_home][farther], stamps[at_home][farther], rotated[at_home][farther])
            self._draw(old, new)

    def _belonging(self, number: int, homes: Numbers, rotated: Floats) -> NDArray[np.bool_]:
        """Which of the vectors (m, d) at home in lists `homes` (m,) belong to a list that holds them: those at home there, and those that the rule
        would give it now. Heads that came since may stand between."""
        parts, options = self._parts, self._parts.options
        near = parts.heads.near(parts.heads.vector(number)[None], min(options.candidates, len(parts.heads)))
        rivals = np.union1d(np.append(near[near >= 0], number), homes)
        chosen = assign_among(
            rotated,
            parts.heads.vectors(rivals),
            candidates=options.candidates,
            epsilon=options.epsilon,
            rng_factor=parts.rng_factor,
            replicas=options.replicas,
        )
        return np.asarray((homes == number) | (chosen == np.searchsorted(rivals, number)).any(axis=1))

    def _draw(self, old: Floats, fresh: Numbers) -> None:
        """Move vectors of neighbouring lists that are nearer to one of the `fresh` heads than to their own (condition 2)."""
        parts = self._parts
        with parts.lock:
            near = parts.heads.nearest(old[None], min(parts.options.reassign_heads + len(fresh), len(parts.heads)))[0][0]
            near = near[(near >= 0) & ~np.isin(near, fresh)]
            heads, around = parts.heads.vectors(fresh), parts.heads.vectors(near)
        margin = 1 + _MARGIN[parts.options.code]
        drawn = [np.zeros((0, parts.entries.size), dtype=np.uint8)]
        for number, head, raw in zip(near.tolist(), around, self._mender.lists_beside(near.tolist()), strict=True):
            with parts.lock:
                here = (parts.slots.homes.view()[parts.entries.slots(raw)] == number) & parts.live(raw)
            raw = raw[here]
            if not len(raw):
                continue
            to_head = np.concatenate([exact_squares(head, heads), np.zeros(1, dtype=np.float32)])
            squares = parts.entries.estimate(np.concatenate([heads, head[None]]), raw, to_head[:, None])
            drawn.append(raw[squares[:-1].min(axis=0) < margin * squares[-1]])
        entries = np.concatenate(drawn)
        slots, first = np.unique(parts.entries.slots(entries).astype(np.int64), return_index=True)
        if not len(slots):
            return
        stamps = parts.entries.stamps(entries)[first]
        self._reassign(slots, stamps, self._mender.vectors_beside(slots, stamps), heads)

    def _reassign(self, slots: Numbers, stamps: NDArray[np.uint32], rotated: Floats, heads: Floats | None = None) -> None:
        """Write the vectors anew that are not at home with the nearest head, and, where `heads` are given, are nearer to one of these than to their
        home: to all lists that they belong to, under a new stamp. A few at a time: others go on in between, and what changed is left alone."""
        parts = self._parts
        if heads is not None:
            with parts.lock:
                there = parts.slots.counts(slots.astype(np.uint32), stamps)
                slots, stamps, rotated = slots[there], stamps[there], rotated[there]
                homes = parts.heads.vectors(parts.slots.homes.view()[slots].astype(np.int64))
            nearer = np.min([exact_squares(head, rotated) for head in heads], axis=0) < exact_squares(rotated, homes)
            slots, stamps, rotated = slots[nearer], stamps[nearer], rotated[nearer]
        for start in range(0, len(slots), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            with parts.lock:
                self._reassign_some(slots[part], stamps[part], rotated[part])

    def _reassign_some(self, slots: Numbers, stamps: NDArray[np.uint32], rotated: Floats) -> None:
        parts = self._parts
        there = parts.slots.counts(slots.astype(np.uint32), stamps)
        slots, rotated = slots[there], rotated[there]
        if not len(slots):
            return
        to_home = exact_squares(rotated, parts.heads.vectors(parts.slots.homes.view()[slots].astype(np.int64)))
        away = parts.heads.nearest(rotated, 1)[1][:, 0] < (1 - _SAME) * to_home - _SAME  # as near is no reason to move
        slots, rotated = slots[away], rotated[away]
        if not len(slots):
            return
        self._writer.write_anew(slots, rotated)
        self.reassigned += len(slots)

    def merge(self, number: int, whole: bool = False) -> None:
        """Write a list anew without what is stale; where little is left, or with `whole`, give that to the nearest list that has room. Raises
        `Overtaken`."""
        parts = self._parts
        with parts.lock:
            if number not in parts.heads:
                return
            live, count = self._writer.held(number)
            slots, stamps = parts.entries.slots(live).astype(np.int64), parts.entries.stamps(live)
            long = len(live) > parts.limit
            target = self._with_room(number, len(live)) if not long and (whole or len(live) < max(parts.options.merge_below, 1)) else -1
            if target >= 0:
                rotated = self._mender.vectors(slots)
                at_home = parts.slots.homes.view()[slots] == number
                self._give(number, target, slots, rotated, at_home)
            elif not long and len(live) < count:
                self._writer.rewrite(number, live)
        if long:
            self.split(number)
        elif target >= 0:
            self._reassign(slots[at_home], stamps[at_home], rotated[at_home])
        elif len(live) < count:
            self._follow(number, live)

    def _give(self, number: int, target: int, slots: Numbers, rotated: Floats, at_home: NDArray[np.bool_]) -> None:
        """Put the vectors in `slots` of a list into another one, where they are not there already, and take it away."""
        parts = self._parts
        there = self._mender.read(target)
        absent = ~np.isin(slots, parts.entries.slots(there[parts.live(there)]))
        if absent.any():
            self._writer.append_to(target, slots[absent], parts.slots.stamps.view()[slots[absent]], rotated[absent], parts.limit)
        copies = parts.slots.copies.view()[slots] - ~absent
        parts.slots.move(slots, np.where(at_home, target, parts.slots.homes.view()[slots]), copies)
        self._writer.drop(number)
        parts.epoch += 1
        self.merges += 1

    def _with_room(self, number: int, more: int) -> int:
        """The nearest other list that stays within the limit with so many more entries; -1 where none does."""
        parts = self._parts
        near = parts.heads.nearest(parts.heads.vector(number)[None], min(9, len(parts.heads)))[0][0]
        for other in near[(near >= 0) & (near != number)].tolist():
            if int(parts.lists.counts()[other]) + more <= parts.limit:
                return int(other)
        return -1

    def _follow(self, number: int, live: Bytes) -> None:
        """Where what is at home in a list has drifted away from its head, let the head follow."""
        parts = self._parts
        slots, stamps = parts.entries.slots(live).astype(np.int64), parts.entries.stamps(live)
        with parts.lock:
            here = (parts.slots.homes.view()[slots] == number) & parts.live(live)
        if here.sum() < 2:
            return
        rotated = self._mender.vectors_beside(slots[here], stamps[here])
        mean = rotated.mean(axis=0, dtype=np.float64).astype(np.float32)
        # A member stands about as far from the middle of the others as they do: a head that stands farther is none of them.
        if float(exact_squares(parts.heads.vector(number), mean[None])[0]) > _DRIFTED * float(exact_squares(mean, rotated).mean()):
            self.rehead(number)

    def rehead(self, number: int) -> None:
        """Give a list another head, from the middle of what is in it, and let the vectors around choose again. An empty list goes."""
        parts = self._parts
        with parts.lock:
            live, _ = self._writer.held(number)
            slots, stamps = parts.entries.slots(live).astype(np.int64), parts.entries.stamps(live)
            if not len(slots):
                self._writer.drop(number)
                parts.epoch += 1
                return
            rotated = self._mender.vectors(slots)
            at_home = parts.slots.homes.view()[slots] == number
            head = middle(rotated[at_home] if at_home.any() else rotated)
            old = parts.heads.vector(number)
            other = self._writer.create(head, slots, rotated)
            self.followed += 1
            parts.slots.move(slots[at_home], np.full(int(at_home.sum()), other))
            self._writer.drop(number)
            parts.epoch += 1
        farther = at_home & (exact_squares(old, rotated) < exact_squares(head, rotated))
        self._reassign(slots[farther], stamps[farther], rotated[farther])
        self._draw(head, np.array([other]))
