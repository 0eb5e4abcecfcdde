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
_DRIFTED = 1.5
_FULL = 0.75
"""A list that was too long, and is longer than this share of what it may be, lets go of what does not belong there any more."""


class Lire:
    """The steps of upkeep of one index. Whoever calls holds `parts.lock`."""

    def __init__(self, parts: Parts, mender: Mender, writer: ListWriter) -> None:
        self._parts, self._mender, self._writer = parts, mender, writer
        self.splits = self.followed = self.merges = self.reassigned = 0

    def split(self, number: int) -> None:
        """Make a list that is too long two, or what it takes; then move the vectors around that are nearer to another head now. Where it is long only
        by what is stale, or does not belong there any more, it lets go of that."""
        parts = self._parts
        if number not in parts.heads:
            return
        live, count = self._writer.held(number)
        limit = parts.limit
        if len(live) <= _FULL * limit:
            if len(live) < count:
                self._writer.rewrite(number, live)
                self._follow(number, live)
            return
        slots = parts.entries.slots(live).astype(np.int64)
        rotated = self._mender.vectors(slots)
        belongs = self._belonging(number, slots, rotated)
        if belongs.sum() <= _FULL * limit or len(live) <= limit:
            self._writer.rewrite(number, live[belongs])
            self._writer.recount(slots[~belongs], np.full(int((~belongs).sum()), -1))
            return
        old = parts.heads.vector(number)
        ways = max(2, -(-2 * len(live) // limit))
        rng = np.random.default_rng([parts.options.seed, number, len(live)])
        at_home = parts.slots.homes.view()[slots] == number
        # Copies stand all around: heads chosen among them lie near each other in the middle, and tell vectors apart badly.
        among = at_home if int(at_home.sum()) >= _DIVISIBLE * ways else np.ones(len(slots), dtype=bool)
        clusters = balanced_kmeans(rotated[among], ways, rng=rng)
        heads = np.array([middle(rotated[among][clusters.assignment == part]) for part in np.unique(clusters.assignment)])
        nearest = np.array([exact_squares(head, rotated) for head in heads]).argmin(axis=0)
        if clusters.arbitrary or among.all():
            nearest[among] = np.unique(clusters.assignment, return_inverse=True)[1]
        same = np.flatnonzero(exact_squares(old, heads) <= _SAME)
        kept = int(same[0]) if len(same) else -1  # the old head serves on for this part
        new, made = np.full(len(heads), -1), []
        try:
            for part in range(len(heads)):
                if part != kept:
                    members = nearest == part
                    new[part] = self._writer.create(heads[part], slots[members], rotated[members])
                    made.append(int(new[part]))
            if kept >= 0:
                parts.lists.create(number, old, live[nearest == kept])
                new[kept] = number
        except BaseException:
            for one in made:
                self._writer.drop(one)
            raise
        parts.epoch += 1
        self.splits += 1
        parts.slots.move(slots[at_home], new[nearest[at_home]])
        if kept < 0:
            self._writer.drop(number)
        else:
            self._writer.dead.pop(number, None)
        for one in new.tolist():
            if int(parts.lists.counts()[one]) > limit:
                parts.waiting[one] = "split"
        if not clusters.arbitrary:
            # Who is farther from the new head than from the old one may be nearer to another (condition 1).
            to_old = exact_squares(old, rotated[at_home])
            farther = to_old < exact_squares(rotated[at_home], heads[nearest[at_home]])
            self._reassign(slots[at_home][farther], rotated[at_home][farther])
            self._draw(old, new)

    def _belonging(self, number: int, slots: Numbers, rotated: Floats) -> NDArray[np.bool_]:
        """Which of the vectors (m, d) in `slots` (m,) belong to a list that holds them: those at home there, and those that the rule would give it
        now. Heads that came since may stand between."""
        parts, options = self._parts, self._parts.options
        homes = parts.slots.homes.view()[slots].astype(np.int64)
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
        self._writer.write_anew(slots, rotated)
        self.reassigned += len(slots)

    def merge(self, number: int, whole: bool = False) -> None:
        """Write a list anew without what is stale; where little is left, or with `whole`, give that to the nearest list that has room."""
        parts = self._parts
        if number not in parts.heads:
            return
        live, count = self._writer.held(number)
        if len(live) > parts.limit:
            self.split(number)
            return
        target = self._with_room(number, len(live)) if whole or len(live) < max(parts.options.merge_below, 1) else -1
        if target < 0:
            if len(live) < count:
                self._writer.rewrite(number, live)
                self._follow(number, live)
            return
        slots = parts.entries.slots(live).astype(np.int64)
        at_home = parts.slots.homes.view()[slots] == number
        there = self._mender.read(target)
        known = parts.entries.slots(there[parts.live(there)])
        absent = ~np.isin(slots, known)
        rotated = self._mender.vectors(slots)
        if absent.any():
            self._writer.append_to(target, slots[absent], parts.slots.stamps.view()[slots[absent]], rotated[absent])
        copies = parts.slots.copies.view()[slots] - ~absent
        parts.slots.move(slots, np.where(at_home, target, parts.slots.homes.view()[slots]), copies)
        self._writer.drop(number)
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
        live, _ = self._writer.held(number)
        slots = parts.entries.slots(live).astype(np.int64)
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
        farther = exact_squares(old, rotated) < exact_squares(head, rotated)
        self._reassign(slots[at_home & farther], rotated[at_home & farther])
        self._draw(head, np.array([other]))
