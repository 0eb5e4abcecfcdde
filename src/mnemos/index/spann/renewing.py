"""New heads for lists whose vectors have come since their heads were chosen: a region at a time, as a build would choose them.

LIRE (SPFresh, arXiv 2410.14452, section 4.2) splits and merges. Where vectors are replaced by as many others, no list grows: heads stay what they
were, vectors that are gone, at the rim of what is there now; and lists that came later lack the copies of vectors that were there before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnemos.index.spann.closure import assign_among
from mnemos.index.spann.codes import Bytes, Floats
from mnemos.index.spann.kmeans import balanced_kmeans
from mnemos.index.spann.list_writer import ListWriter
from mnemos.index.spann.mending import Mender
from mnemos.index.spann.metric import exact_squares, middle
from mnemos.index.spann.parts import Numbers, Parts

Stamps = NDArray[np.uint32]

REGION = 8
"""Lists that are renewed together: so many that clusters find their places, so few that a step is short."""
_LARGEST = 2 * REGION
"""A region is made of fewer lists where these would have more entries than so many lists may have."""
_ANEW = 0.25
"""A list around is written anew where so large a share of its entries does not count, or does not belong there any more."""


@dataclass(frozen=True, slots=True)
class _Around:
    """The entries that counted of some lists `numbers` (l,) when these had `counts` (l,) entries, each slot once a list: `raw`, their `slots` (e,),
    where those were at home (e,), and the `place` (e,) of the list."""

    numbers: Numbers
    counts: Numbers
    raw: Bytes
    slots: Numbers
    homes: Numbers
    place: Numbers

    @property
    def at_home(self) -> NDArray[np.bool_]:
        return np.asarray(self.homes == self.numbers[self.place])


@dataclass(frozen=True, slots=True)
class _Plan:
    """What lists are to hold. Columns are the new `heads` (f, d), then the lists around."""

    heads: Floats
    slots: Numbers
    """(n,) the vectors that are looked at; the first `members` were at home in the region, others have to stay in what they are in."""
    stamps: Stamps
    """(n,) theirs: one that has another by now is gone."""
    members: int
    rotated: Floats
    home: Numbers
    """(n,) columns."""
    belongs: NDArray[np.bool_]
    """(n, f + l)"""


@dataclass(frozen=True, slots=True)
class _Change:
    """What is to be done to lists: entries of the new ones; those of lists around `kept` in the place of what they had (by place), and `more` that
    come to them; and by how much of the slots `changed`, with their `stamps`, the copies change `by`."""

    new: list[Bytes]
    kept: dict[int, Bytes]
    more: dict[int, Bytes]
    changed: Numbers
    stamps: Stamps
    by: Numbers


class Renewer:
    """Renews the lists of one index. Whoever calls holds `parts.upkeep`. Nothing waits for its thinking: `parts.lock` is held to choose a region, and
    to change lists when it is known how."""

    def __init__(self, parts: Parts, mender: Mender, writer: ListWriter) -> None:
        self._parts, self._mender, self._writer = parts, mender, writer
        self.renewed = 0
        """Lists that were replaced by others."""

    def renew(self, number: int) -> bool:
        """Replace a list and those next to it by lists of new heads, members of them, with all that belongs there, and let the lists around have what
        belongs to them now; whether that was done. Nothing changes where no vector is at home, or all are alike. Raises `Overtaken`."""
        parts = self._parts
        with parts.lock:
            if number not in parts.heads:
                return True
            region = self._region(number)
            parts.turnover.forget(region)
        with self._writer.watching():
            return self._renew(number, region)

    def _renew(self, number: int, region: Numbers) -> bool:
        parts = self._parts
        old = self._entries(region)
        members, first = np.unique(old.slots[old.at_home], return_index=True)
        if not len(members):
            return False
        rotated = self._mender.vectors_beside(members, parts.entries.stamps(old.raw[old.at_home])[first])
        heads = self._heads(rotated, len(region), np.random.default_rng([parts.options.seed, number, len(members)]))
        if not len(heads):
            return False
        with parts.lock:
            next_to = self._next_to(region, old)
        around = self._entries(next_to)
        plan = self._planned(heads, members, rotated, old, around)
        change = self._change(plan, old, around)
        with parts.lock:
            self._switch(plan, change, old, around)
        return True

    def _region(self, number: int) -> Numbers:
        """The list and those next to it."""
        parts = self._parts
        near = parts.heads.nearest(parts.heads.vector(number)[None], min(REGION, len(parts.heads)))[0][0]
        region = np.append(number, near[(near >= 0) & (near != number)])[:REGION]
        few = np.cumsum(parts.lists.counts_of(region)) <= _LARGEST * parts.options.list_limit
        return region[: max(1, int(few.sum()))]

    def _next_to(self, region: Numbers, old: _Around) -> Numbers:
        """The lists whose heads are candidates for the vectors of a region, and those where the vectors held there are at home, without it."""
        parts = self._parts
        near = parts.heads.near(parts.heads.vectors(region), min(parts.options.candidates + len(region), len(parts.heads)))
        still = parts.live(old.raw)  # what went meanwhile is at home nowhere
        return np.setdiff1d(np.append(near[near >= 0], old.homes[still]), region)

    def _entries(self, numbers: Numbers) -> _Around:
        parts = self._parts
        pieces = self._mender.lists_beside(numbers.tolist())
        raw = np.concatenate([*pieces, np.zeros((0, parts.entries.size), dtype=np.uint8)])
        counts = np.array([len(piece) for piece in pieces], dtype=np.int64)
        place = np.repeat(np.arange(len(numbers)), counts)
        with parts.lock:
            live = np.flatnonzero(parts.live(raw))
            slots = parts.entries.slots(raw)[live].astype(np.int64)
            homes, every = parts.slots.homes.view()[slots].astype(np.int64), len(parts.slots.homes)
        once = np.sort(np.unique(place[live] * every + slots, return_index=True)[1])
        return _Around(numbers, counts, raw[live[once]], slots[once], homes[once], place[live[once]])

    def _heads(self, rotated: Floats, lists: int, rng: np.random.Generator) -> Floats:
        """As many heads as a build would choose of `rotated` (m, d), and memory has room for in the place of so many; none where all are alike."""
        parts = self._parts
        wanted = max(round(parts.options.head_ratio * len(rotated)), 1)
        if parts.options.memory is not None:
            wanted = min(wanted, lists + (parts.limit == parts.options.list_limit))
        clusters = balanced_kmeans(rotated, wanted, rng=rng)
        if clusters.arbitrary:
            return rotated[:0]
        return np.unique([middle(rotated[clusters.assignment == part]) for part in np.unique(clusters.assignment)], axis=0)

    def _planned(self, heads: Floats, members: Numbers, rotated: Floats, old: _Around, around: _Around) -> _Plan:
        parts, options = self._parts, self._parts.options
        own, new = parts.heads.vectors(around.numbers), len(heads)
        guests = np.setdiff1d(np.union1d(old.slots, self._gathered(heads, own, around)), members)
        slots, stamps = np.concatenate([members, guests]), self._stamps(old, around)
        stamped = stamps[1][np.searchsorted(stamps[0], slots)]
        rotated = np.concatenate([rotated, self._mender.vectors_beside(guests, stamped[len(members) :])])
        chosen = assign_among(
            rotated,
            np.concatenate([heads, own]),
            candidates=options.candidates,
            epsilon=options.epsilon,
            rng_factor=parts.rng_factor,
            replicas=options.replicas,
        )
        belongs = np.zeros((len(slots), new + len(own)), dtype=np.bool_)
        rows, ranks = np.nonzero(chosen >= 0)
        belongs[rows, chosen[rows, ranks]] = True
        return _Plan(heads, slots, stamped, len(members), rotated, chosen[:, 0], belongs)

    def _stamps(self, old: _Around, around: _Around) -> tuple[Numbers, Stamps]:
        """Of all slots, ascending, the stamps with which their entries counted when they were read, the first time."""
        slots, first = np.unique(np.concatenate([old.slots, around.slots]), return_index=True)
        return slots, self._parts.entries.stamps(np.concatenate([old.raw, around.raw]))[first]

    def _gathered(self, heads: Floats, own: Floats, around: _Around) -> Numbers:
        """The slots of the vectors at home in lists around, with heads `own`, that are nearest to each of `heads`, by their codes."""
        parts = self._parts
        here = np.flatnonzero(around.at_home)
        most = min(parts.options.list_limit, len(here))
        if not most:
            return here
        apart = np.array([exact_squares(head, own) for head in heads])[:, around.place[here]]
        squares = parts.entries.estimate(heads, around.raw[here], apart)
        return np.unique(around.slots[here[np.argpartition(squares, most - 1, axis=1)[:, :most]]])

    def _change(self, plan: _Plan, old: _Around, around: _Around) -> _Change:
        """What has to be written for a plan. Until homes are moved, no vector loses the entry in the list that it is at home in."""
        new = len(plan.heads)
        order = np.argsort(plan.slots)
        row = order[np.minimum(np.searchsorted(plan.slots, around.slots, sorter=order), len(order) - 1)]
        known = plan.slots[row] == around.slots
        surplus = known & ~around.at_home & ~plan.belongs[row, new + around.place]
        missing = plan.belongs[: plan.members, new:].copy()
        inside = known & (row < plan.members)
        missing[row[inside], around.place[inside]] = False
        fresh, kept, more = list[Bytes](), dict[int, Bytes](), dict[int, Bytes]()
        changed, by = [old.slots], [np.full(len(old.slots), -1)]
        for column, head in enumerate(plan.heads):
            rows = self._longest(plan, column)
            fresh.append(self._written(plan, rows, head))
            changed.append(plan.slots[rows])
            by.append(np.ones(len(rows), dtype=np.int64))
        anew = around.counts - np.bincount(around.place[~surplus], minlength=len(around.counts)) > _ANEW * around.counts
        own = self._parts.heads.vectors(around.numbers)
        for place in np.flatnonzero(missing.any(axis=0) | anew).tolist():
            rows = np.flatnonzero(missing[:, place])
            if anew[place]:
                here = around.place == place
                kept[place] = around.raw[here & ~surplus]
                changed.append(around.slots[here & surplus])
                by.append(np.full(len(changed[-1]), -1))
            if len(rows):
                more[place] = self._written(plan, rows, own[place])
                changed.append(plan.slots[rows])
                by.append(np.ones(len(rows), dtype=np.int64))
        slots, (every, stamps) = np.concatenate(changed), self._stamps(old, around)
        return _Change(fresh, kept, more, slots, stamps[np.searchsorted(every, slots)], np.concatenate(by))

    def _written(self, plan: _Plan, rows: Numbers, head: Floats) -> Bytes:
        return self._parts.entries.write(plan.slots[rows].astype(np.uint32), plan.stamps[rows], plan.rotated[rows], head)

    def _switch(self, plan: _Plan, change: _Change, old: _Around, around: _Around) -> None:
        """New lists first, then what changes in those around; then vectors are at home there, and the old lists go. Raises `Overtaken` where what was
        read is not what is there any more, but for vectors that went, and a few that came."""
        parts, slots = self._parts, self._parts.slots
        since = self._writer.since(around.numbers, around.counts)
        late, rotated = self._writer.late(old.numbers, old.counts)
        made, limit = list[int](), parts.limit
        try:
            made += [self._writer.put(head, entries) for head, entries in zip(plan.heads, change.new, strict=True)]
            for place in sorted(change.kept | change.more):
                number = int(around.numbers[place])
                if (kept := change.kept.get(place)) is not None:
                    self._writer.rewrite(number, np.concatenate([kept, since[place]]) if place in since else kept)
                if place in change.more:
                    self._writer.extend(number, change.more[place], limit)
        except BaseException:
            for one in made:
                self._writer.drop(one)
            raise
        self._writer.recount(change.changed, change.by, change.stamps)
        moved = (np.arange(len(plan.slots)) < plan.members) | (plan.home < len(plan.heads))
        moved &= slots.counts(plan.slots.astype(np.uint32), plan.stamps)
        slots.move(plan.slots[moved], np.append(made, around.numbers)[plan.home[moved]])
        for one in old.numbers.tolist():
            self._writer.drop(one)
        parts.epoch += 1
        self.renewed += len(old.numbers)
        if len(late):
            self._writer.write_anew(late, rotated)
        for one in made:
            if int(parts.lists.table.view()["count"][one]) > limit:
                parts.waiting[one] = "split"

    def _longest(self, plan: _Plan, column: int) -> Numbers:
        """The rows for a new list: all that belongs there; of too many, those at home and the nearest others."""
        rows, limit = np.flatnonzero(plan.belongs[:, column]), self._parts.limit
        if len(rows) <= limit:
            return rows
        at_home = plan.home[rows] == column
        away = np.where(at_home, -1.0, exact_squares(plan.heads[column], plan.rotated[rows]))
        return np.sort(rows[np.argsort(away, kind="stable")[: max(limit, int(at_home.sum()))]])
