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

REGION = 8
"""Lists that are renewed together: so many that clusters find their places, so few that a step is short."""
_LARGEST = 2 * REGION
"""A region is made of fewer lists where these would have more entries than so many lists may have."""
_ANEW = 0.25
"""A list around is written anew where so large a share of its entries does not count, or does not belong there any more."""


@dataclass(frozen=True, slots=True)
class _Around:
    """The entries that count of some lists `numbers` (l,), each slot once a list: `raw`, their `slots` (e,), and the `place` (e,) of the list."""

    numbers: Numbers
    raw: Bytes
    slots: Numbers
    place: Numbers


@dataclass(frozen=True, slots=True)
class _Plan:
    """What lists are to hold. Columns are the new `heads` (f, d), then the lists around."""

    heads: Floats
    slots: Numbers
    """(n,) the vectors that are looked at; the first `members` were at home in the region, others have to stay in what they are in."""
    members: int
    rotated: Floats
    home: Numbers
    """(n,) columns."""
    belongs: NDArray[np.bool_]
    """(n, f + l)"""


class Renewer:
    """Renews the lists of one index. Whoever calls holds `parts.lock`."""

    def __init__(self, parts: Parts, mender: Mender, writer: ListWriter) -> None:
        self._parts, self._mender, self._writer = parts, mender, writer
        self.renewed = 0
        """Lists that were replaced by others."""

    def renew(self, number: int) -> bool:
        """Replace a list and those next to it by lists of new heads, members of them, with all that belongs there, and let the lists around have what
        belongs to them now; whether that was done. Nothing changes where no vector is at home, or all are alike."""
        parts = self._parts
        if number not in parts.heads:
            return True
        region = self._region(number)
        parts.turnover.forget(region)
        old = self._entries(region)
        members = np.unique(old.slots[parts.slots.homes.view()[old.slots] == region[old.place]])
        if not len(members):
            return False
        rotated = self._mender.vectors(members)
        heads = self._heads(rotated, len(region), np.random.default_rng([parts.options.seed, number, len(members)]))
        if not len(heads):
            return False
        around = self._entries(self._next_to(region, old.slots))
        self._write(self._planned(heads, members, rotated, old, around), old, around)
        return True

    def _region(self, number: int) -> Numbers:
        """The list and those next to it."""
        parts = self._parts
        near = parts.heads.nearest(parts.heads.vector(number)[None], min(REGION, len(parts.heads)))[0][0]
        region = np.append(number, near[(near >= 0) & (near != number)])[:REGION]
        few = np.cumsum(parts.lists.counts_of(region)) <= _LARGEST * parts.options.list_limit
        return region[: max(1, int(few.sum()))]

    def _next_to(self, region: Numbers, held: Numbers) -> Numbers:
        """The lists whose heads are candidates for the vectors of a region, and those where the vectors `held` there are at home, without it."""
        parts = self._parts
        near = parts.heads.near(parts.heads.vectors(region), min(parts.options.candidates + len(region), len(parts.heads)))
        homes = parts.slots.homes.view()[held].astype(np.int64)
        return np.setdiff1d(np.append(near[near >= 0], homes), region)

    def _entries(self, numbers: Numbers) -> _Around:
        parts = self._parts
        pieces = [self._mender.read(number) for number in numbers.tolist()]
        raw = np.concatenate([*pieces, np.zeros((0, parts.entries.size), dtype=np.uint8)])
        place = np.repeat(np.arange(len(numbers)), [len(piece) for piece in pieces])
        live = np.flatnonzero(parts.live(raw))
        slots = parts.entries.slots(raw)[live].astype(np.int64)
        once = np.sort(np.unique(place[live] * len(parts.slots.homes.view()) + slots, return_index=True)[1])
        return _Around(numbers, raw[live[once]], slots[once], place[live[once]])

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
        slots, rotated = np.concatenate([members, guests]), np.concatenate([rotated, self._mender.vectors(guests)])
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
        return _Plan(heads, slots, len(members), rotated, chosen[:, 0], belongs)

    def _gathered(self, heads: Floats, own: Floats, around: _Around) -> Numbers:
        """The slots of the vectors at home in lists around, with heads `own`, that are nearest to each of `heads`, by their codes."""
        parts = self._parts
        here = np.flatnonzero(parts.slots.homes.view()[around.slots] == around.numbers[around.place])
        most = min(parts.options.list_limit, len(here))
        if not most:
            return here
        apart = np.array([exact_squares(head, own) for head in heads])[:, around.place[here]]
        squares = parts.entries.estimate(heads, around.raw[here], apart)
        return np.unique(around.slots[here[np.argpartition(squares, most - 1, axis=1)[:, :most]]])

    def _write(self, plan: _Plan, old: _Around, around: _Around) -> None:
        """New lists first, then what changes in those around. Until homes are moved, no vector loses the entry in the list that it is at home in."""
        parts, slots, new = self._parts, self._parts.slots, len(plan.heads)
        order = np.argsort(plan.slots)
        row = order[np.minimum(np.searchsorted(plan.slots, around.slots, sorter=order), len(order) - 1)]
        known = plan.slots[row] == around.slots
        at_home = slots.homes.view()[around.slots] == around.numbers[around.place]
        surplus = known & ~at_home & ~plan.belongs[row, new + around.place]
        missing = plan.belongs[: plan.members, new:].copy()
        inside = known & (row < plan.members)
        missing[row[inside], around.place[inside]] = False
        changed, by, made = [old.slots], [np.full(len(old.slots), -1)], list[int]()
        try:
            for column in range(new):
                rows = self._longest(plan, column)
                made.append(self._writer.create(plan.heads[column], plan.slots[rows], plan.rotated[rows]))
                changed.append(plan.slots[rows])
                by.append(np.ones(len(rows), dtype=np.int64))
            counts = parts.lists.counts_of(around.numbers)
            anew = counts - np.bincount(around.place[~surplus], minlength=len(counts)) > _ANEW * counts
            for place in np.flatnonzero(missing.any(axis=0) | anew).tolist():
                rows, number = np.flatnonzero(missing[:, place]), int(around.numbers[place])
                if anew[place]:
                    here = around.place == place
                    self._writer.rewrite(number, around.raw[here & ~surplus])
                    changed.append(around.slots[here & surplus])
                    by.append(np.full(len(changed[-1]), -1))
                if len(rows):
                    self._writer.append_to(number, plan.slots[rows], slots.stamps.view()[plan.slots[rows]], plan.rotated[rows])
                    changed.append(plan.slots[rows])
                    by.append(np.ones(len(rows), dtype=np.int64))
        except BaseException:
            for one in made:
                self._writer.drop(one)
            raise
        self._writer.recount(np.concatenate(changed), np.concatenate(by))
        moved = (np.arange(len(plan.slots)) < plan.members) | (plan.home < new)
        slots.move(plan.slots[moved], np.append(made, around.numbers)[plan.home[moved]])
        for one in old.numbers.tolist():
            self._writer.drop(one)
        parts.epoch += 1
        self.renewed += len(old.numbers)
        for one in made:
            if int(parts.lists.counts()[one]) > parts.limit:
                parts.waiting[one] = "split"

    def _longest(self, plan: _Plan, column: int) -> Numbers:
        """The rows for a new list: all that belongs there; of too many, those at home and the nearest others."""
        rows, limit = np.flatnonzero(plan.belongs[:, column]), self._parts.limit
        if len(rows) <= limit:
            return rows
        at_home = plan.home[rows] == column
        away = np.where(at_home, -1.0, exact_squares(plan.heads[column], plan.rotated[rows]))
        return np.sort(rows[np.argsort(away, kind="stable")[: max(limit, int(at_home.sum()))]])
