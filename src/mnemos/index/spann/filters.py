"""Which vectors a search may give, told of a few at a time, or of all."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Invalid
from mnemos.index.spann.attributes import Where, Wheres
from mnemos.index.spann.parts import Numbers, Parts
from mnemos.index.spann.slots import NOWHERE

Mask = NDArray[np.bool_]
Allowed = Mask | Callable[[Numbers], Mask]
"""Which ids a search may give: a mask by id (what lies beyond its end may not), or a function of ids."""

_SAMPLE = 1024
_REMEMBERED = 8
_LARGEST = 1 << 18
"""Choices of so many vectors are remembered, if of no more."""


@dataclass(frozen=True)
class Chosen:
    """The vectors that a filter lets through: their slots (m,), ascending, and ids."""

    slots: Numbers
    ids: Numbers
    version: int
    """`Slots.changes`, when it was so."""

    @property
    def nbytes(self) -> int:
        return self.slots.nbytes + self.ids.nbytes


class Filter:
    """What one search may give. A search sees the index change under it, so what it found is to be checked again with `inside`."""

    def __init__(self, parts: Parts, allowed: Allowed | None, wheres: Wheres, remembered: Remembered) -> None:
        self._parts, self._allowed, self._wheres, self._remembered = parts, allowed, wheres, remembered

    @property
    def known(self) -> bool:
        """Whether it is known already which vectors are let through."""
        return self._allowed is None and self._remembered.get(self._wheres) is not None

    @property
    def called(self) -> bool:
        """Whether a function of the caller decides."""
        return callable(self._allowed)

    def inside(self, slots: NDArray[Any], ids: Numbers) -> Mask:
        """Which of the vectors of `ids` (m,) in `slots` (m,) are let through."""
        mask = np.ones(len(ids), dtype=bool) if self._allowed is None else may(self._allowed, ids)
        if self._wheres:
            with self._parts.lock:
                mask &= self.marked(slots)
        return mask

    def marked(self, slots: NDArray[Any]) -> Mask:
        """Which of `slots` (m,) have the attributes that are asked for. Whoever calls holds the lock."""
        return self._parts.slots.attributes.passing(self._wheres, slots)

    @cached_property
    def share(self) -> float:
        """About which share of the vectors is let through."""
        slots = self._parts.slots
        if self.known:
            return len(self.chosen.slots) / max(len(slots), 1)
        n = len(slots.homes.view())
        sample = np.arange(n) if n <= _SAMPLE else np.random.default_rng(n).integers(0, n, _SAMPLE)
        sample = sample[slots.homes.view()[sample] != NOWHERE]
        return float(self.inside(sample, slots.ids.view()[sample]).mean()) if len(sample) else 0.0

    def mask(self) -> tuple[Mask, Numbers, int]:
        """Which slots hold what is let through (slots,), the ids of all slots, and `Slots.changes` when it was so."""
        slots = self._parts.slots
        with self._parts.lock:
            version = slots.changes
            ids, mask = slots.ids.view().copy(), slots.homes.view() != NOWHERE
            if self._wheres:
                mask &= self.marked(np.arange(len(mask)))
        if self._allowed is not None:
            if mask.all():
                mask = may(self._allowed, ids)
            else:
                held = np.flatnonzero(mask)
                mask[held] = may(self._allowed, ids[held])
        return mask, ids, version

    def useful(self, lists: Numbers) -> Mask | None:
        """Which of `lists` hold any at home that are let through, and so have to be read: each is at home in one. None where that is not known."""
        if "chosen" not in self.__dict__ and not self.known:
            return None
        counts = self.per_list
        if counts is None or self.chosen.version != self._parts.slots.changes or int(lists.max(initial=0)) >= len(counts):
            return None
        return np.asarray(counts[lists] > 0)

    @cached_property
    def per_list(self) -> Numbers | None:
        """How many of those `chosen` are at home in each list, by number: what tells, before a list is read, whether it can give anything. None where
        that has changed since they were chosen."""
        parts, chosen = self._parts, self.chosen
        with parts.lock:
            if chosen.version != parts.slots.changes:
                return None
            return np.bincount(parts.slots.homes.view()[chosen.slots], minlength=len(parts.lists.table))

    @cached_property
    def chosen(self) -> Chosen:
        """All that are let through, now."""
        if self._allowed is None and (known := self._remembered.get(self._wheres)) is not None:
            return known
        slots = self._parts.slots
        with self._parts.lock:
            version = slots.changes
            live = slots.live()
            if self._wheres:
                live = live[self.marked(live)]
            ids = slots.ids.view()[live]
        if self._allowed is not None:
            through = may(self._allowed, ids)
            live, ids = live[through], ids[through]
        chosen = Chosen(live, ids, version)
        if self._allowed is None:
            self._remembered.put(self._wheres, chosen)
        return chosen


class Remembered:
    """What the last filters by attributes let through, as long as nothing changes."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._version = -1
        self._chosen: OrderedDict[Wheres, Chosen] = OrderedDict()

    @property
    def nbytes(self) -> int:
        return sum(each.nbytes for each in list(self._chosen.values()))

    def get(self, wheres: Wheres) -> Chosen | None:
        with self._parts.lock:
            if self._version != self._parts.slots.changes:
                self._chosen.clear()
                return None
            return self._chosen.get(wheres)

    def put(self, wheres: Wheres, chosen: Chosen) -> None:
        if len(chosen.slots) > _LARGEST:
            return
        with self._parts.lock:
            if chosen.version != self._parts.slots.changes:
                return
            if self._version != chosen.version:
                self._version = chosen.version
                self._chosen.clear()
            self._chosen[wheres] = chosen
            while len(self._chosen) > _REMEMBERED or sum(len(each.slots) for each in self._chosen.values()) > _LARGEST:
                self._chosen.popitem(last=False)


def wheres_of(where: Where | tuple[Where, ...] | list[Where] | None) -> Wheres:
    """What a caller gave, as a tuple. Raises `Invalid`."""
    wheres = () if where is None else (where,) if isinstance(where, Where) else tuple(where) if isinstance(where, (tuple, list)) else (where,)
    if not all(isinstance(each, Where) for each in wheres):
        raise Invalid(f"search: where is {where!r}, must be a Where, or several in a tuple, of which all have to hold")
    return wheres


def may(allowed: Allowed, ids: Numbers) -> Mask:
    """Which of `ids` (m,) a search may give. Raises `Invalid` for what is no such mask or function."""
    if callable(allowed):
        told = np.asarray(allowed(ids))
        if told.shape != ids.shape or told.dtype != np.bool_:
            raise Invalid(f"search: `allowed` gave shape {told.shape} and type {told.dtype} for {len(ids)} ids, must give ({len(ids)},) of bool")
        return told
    if not isinstance(allowed, np.ndarray) or allowed.ndim != 1 or allowed.dtype != np.bool_:
        raise Invalid("search: `allowed` must be a mask by id, an array (n,) of bool, or a function that gives one for ids")
    if len(ids) and int(ids.min()) >= 0 and int(ids.max()) < len(allowed):
        return allowed.take(ids)
    inside = (ids >= 0) & (ids < len(allowed))
    return inside & allowed[np.where(inside, ids, 0)] if len(allowed) else inside
