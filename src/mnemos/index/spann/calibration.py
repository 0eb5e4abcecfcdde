"""How wide a search has to look to reach a recall: measured on vectors of the index itself, each looked for without itself."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mnemos.index.spann.codes import Floats
from mnemos.index.spann.mending import Mender
from mnemos.index.spann.parts import UNLIMITED, Numbers, Parts, Settings
from mnemos.index.spann.pruning import best_distinct, kth_distinct, worth
from mnemos.index.spann.slots import NOWHERE
from mnemos.index.spann.vector_file import DamagedVectors

_QUERIES = 384
_K = 10
_FIRST = Settings().first
_LISTS = (4, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256)
_RESCORE = (32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
_SPREADS = (1.2, 1.4, 1.6, 1.8, 2.0, 2.3, 2.6, 3.0, 4.0)
_WIDER = (1, 1.5, 2)
_MARGIN = 0.015
"""So much more than asked for is wanted of the sample, and a standard error of it: it is small, and vectors of the index are found a little better
than queries like them (of a million, 0.955 was promised with a margin of 0.005, and 0.943 kept)."""
_SAME = 1e-6
"""A vector is a head where it is no farther from one, squared, as a share of its own square."""
_BLOCK = 4096
_PER_LIST, _PER_ENTRY, _PER_VECTOR, _DECIDING = 8.0, 0.06, 3.0, 150.0
"""Microseconds, about: what a choice costs, the last for reading some lists before it is decided which others are read."""


@dataclass(frozen=True, slots=True)
class _Probe:
    """What a search of one query would meet: of each entry of the nearest lists its slot, its estimate and the rank of its list."""

    truth: Numbers
    slots: NDArray[np.uint32]
    estimates: Floats
    ranks: NDArray[np.uint16]
    to_head: Floats
    kth: float
    """The estimated squared distance of the tenth nearest vector in the first lists."""

    counts: Numbers
    typical: float
    """Entries of these lists, and of a list on average."""

    def read(self, lists: int, spread: float) -> NDArray[np.bool_]:
        """Which of the lists (l,) are read."""
        chosen, near = np.zeros(len(self.to_head), dtype=np.bool_), self.to_head[:lists]
        if spread >= UNLIMITED:
            chosen[:lists] = True
        else:
            chosen[worth(near, self.counts[:lists], self.typical, self.kth, _FIRST, spread)] = True
        return chosen

    def depths(self, read: NDArray[np.bool_]) -> Numbers:
        """How many vectors have to be looked at to see each true one (10,); more than ever are where it is not read."""
        inside = read[self.ranks]
        slots = self.slots[inside]
        best = slots[best_distinct(slots, self.estimates[inside], _RESCORE[-1])]
        at, found = np.nonzero(self.truth[:, None] == best)
        depths = np.full(len(self.truth), _RESCORE[-1] + 1)
        depths[at] = found + 1
        return depths

    def cost(self, read: NDArray[np.bool_]) -> float:
        return _PER_LIST * int(read.sum()) + _PER_ENTRY * int(self.counts[read].sum())


class _Trial:
    """What the choices of lists, spread and vectors looked at come to on all `probes`."""

    def __init__(self, probes: list[_Probe], recall: float, floor: float) -> None:
        self._probes, self._wanted, self._floor = probes, recall, floor
        self._costs: dict[tuple[int, float], float] = {}
        self._depths: dict[tuple[int, float], Numbers] = {}

    def _hits(self, lists: int, spread: float, rescore: int) -> NDArray[np.float64]:
        """The recall of each probe (q,)."""
        if (lists, spread) not in self._depths:
            self._depths[lists, spread] = np.array([probe.depths(probe.read(lists, spread)) for probe in self._probes])
        return np.asarray((self._depths[lists, spread] <= rescore).mean(axis=1))

    def recall(self, lists: int, spread: float, rescore: int) -> float:
        return float(self._hits(lists, spread, rescore).mean())

    def cost(self, lists: int, spread: float, rescore: int) -> float:
        if (lists, spread) not in self._costs:
            self._costs[lists, spread] = float(np.mean([probe.cost(probe.read(lists, spread)) for probe in self._probes]))
        return self._costs[lists, spread] + _PER_VECTOR * rescore

    def enough(self, lists: int, spread: float, rescore: int) -> bool:
        """Whether it is what is wanted, sure enough."""
        hits = self._hits(lists, spread, rescore)
        error = float(hits.std()) / len(hits) ** 0.5
        return bool(hits.mean() >= max(min(self._wanted + _MARGIN + error, 1.0), self._floor))


def calibrated(parts: Parts, mender: Mender, queries: Floats | None = None, floor: float | None = None) -> Settings:
    """The cheapest settings that reach `options.recall` at ten on a sample of the vectors, or on `queries` (q, dimensions), as the measure asks them,
    and `floor` where that is more; the widest, with what they reach, where none does. What is damaged is mended on the way; raises `DamagedVectors`
    where it cannot be."""
    live = parts.slots.live()
    if len(live) <= 2 * _K or not len(parts.heads):
        return Settings(floor=floor)
    rng = np.random.default_rng(parts.options.seed)
    if queries is not None and len(queries):
        asked = queries if len(queries) <= _QUERIES else queries[np.sort(rng.choice(len(queries), _QUERIES, replace=False))]
        probes = _probes(parts, mender, np.full(len(asked), -1), parts.measure.sought(asked), live)
    else:
        sample = np.sort(rng.choice(live, min(_QUERIES, len(live)), replace=False))
        sample, vectors = _there(parts, mender, sample)
        sought = parts.measure.sought(vectors)
        strange = ~_headed(parts, sought)
        if 2 * strange.sum() > len(sample):
            sample, sought = sample[strange], sought[strange]
        probes = _probes(parts, mender, sample, sought, live)
    if not probes:
        return Settings(floor=floor)
    trial = _Trial(probes, parts.options.recall, floor or 0.0)
    least = {rescore: _least(partial(_enough, trial, rescore)) for rescore in _RESCORE}
    narrowest = [(lists, UNLIMITED, rescore) for rescore, lists in least.items() if lists]
    if not narrowest:
        widest = (_LISTS[-1], UNLIMITED, _RESCORE[-1])
        return Settings(*widest, trial.recall(*widest), _FIRST, floor=floor)
    plain = min(narrowest, key=lambda choice: trial.cost(*choice))
    # Easy queries need fewer lists than hard ones: let what the first lists hold decide, where that is cheaper at the same recall.
    pruned = [(int(plain[0] * wider), spread, plain[2]) for wider in _WIDER for spread in _SPREADS if plain[0] * wider <= _LISTS[-1]]
    pruned.sort(key=lambda choice: trial.cost(*choice))
    best = next((choice for choice in pruned if trial.cost(*choice) + _DECIDING < trial.cost(*plain) and trial.enough(*choice)), plain)
    return Settings(*best, trial.recall(*best), _FIRST, floor=floor)


def _enough(trial: _Trial, rescore: int, lists: int) -> bool:
    return trial.enough(lists, UNLIMITED, rescore)


def _least(enough: Callable[[int], bool]) -> int:
    """The least number of lists, of those that are tried, which is `enough`; 0 where none is. More lists find more."""
    at = bisect_left(_LISTS, True, key=enough)
    return _LISTS[at] if at < len(_LISTS) else 0


def _headed(parts: Parts, sought: Floats) -> NDArray[np.bool_]:
    """Which of `sought` (q, dimensions) are heads: what is near a head is found better than what is asked from outside."""
    rotated = parts.rotate(sought)
    squares = np.zeros(len(rotated), dtype=np.float32)
    for row in range(len(rotated)):
        with parts.lock:
            squares[row] = parts.heads.nearest(rotated[row : row + 1], 1)[1][0, 0]
    return np.asarray(squares <= _SAME * np.einsum("ij,ij->i", rotated, rotated))


def _probes(parts: Parts, mender: Mender, sample: Numbers, sought: Floats, live: Numbers) -> list[_Probe]:
    """What searches for `sought` (q, dimensions) meet, that of the slot in `sample` (q,) without the vector there; -1 for one that is in none."""
    truth = _nearest(parts, mender, sample, sought, live)
    rotated = parts.rotate(sought)
    out = []
    for row, slot in enumerate(sample.tolist()):
        with parts.lock:
            numbers, squares = parts.heads.nearest(rotated[row : row + 1], min(_LISTS[-1], len(parts.heads)))
        near, to_head = numbers[0][numbers[0] >= 0], squares[0][numbers[0] >= 0]
        pieces = [raw[parts.live(raw) & (parts.entries.slots(raw) != slot)] for raw in mender.lists_beside(near.tolist())]
        entries, lengths = np.concatenate(pieces), [len(piece) for piece in pieces]
        estimates = parts.entries.estimate(rotated[row : row + 1], entries, np.repeat(to_head, lengths))[0]
        slots, early = parts.entries.slots(entries).copy(), sum(lengths[:_FIRST])
        kth = kth_distinct(slots[:early], estimates[:early], _K)
        ranks, counts = np.repeat(np.arange(len(near), dtype=np.uint16), lengths), parts.lists.counts_of(near)
        out.append(_Probe(truth[row], slots, estimates, ranks, to_head, kth, counts, parts.typical))
    return out


def _nearest(parts: Parts, mender: Mender, sample: Numbers, sought: Floats, live: Numbers) -> Numbers:
    """The slots (q, 10) of the vectors nearest to what is sought for each of the sample (q,), itself left out, all looked at."""
    middle = sought.mean(axis=0)  # from which all is seen, so that no digits are lost far from the origin
    sought = sought - middle
    best = np.full((len(sample), 0), 0, dtype=np.int64)
    squares = np.full((len(sample), 0), np.inf, dtype=np.float32)
    for start in range(0, len(live), _BLOCK):
        slots = live[start : start + _BLOCK]
        slots, vectors = _there(parts, mender, slots)
        if not len(slots):
            continue
        vectors -= middle
        lengths = np.einsum("ij,ij->i", vectors, vectors)
        distances = lengths - 2 * (sought @ vectors.T)
        distances[sample[:, None] == slots] = np.inf
        squares = np.concatenate([squares, distances], axis=1)
        best = np.concatenate([best, np.broadcast_to(slots, (len(sample), len(slots)))], axis=1)
        kept = np.argpartition(squares, min(_K, squares.shape[1]) - 1, axis=1)[:, :_K]
        squares, best = np.take_along_axis(squares, kept, axis=1), np.take_along_axis(best, kept, axis=1)
    return best


def _there(parts: Parts, mender: Mender, slots: Numbers) -> tuple[Numbers, Floats]:
    """Those of `slots` that hold a vector, and their vectors, as the measure stores them. What goes meanwhile may be looked at still."""
    slots = slots[parts.slots.homes.view()[slots] != NOWHERE]
    try:
        return slots, parts.vectors.read(slots)
    except DamagedVectors:  # or being written meanwhile
        with parts.lock:
            slots = slots[parts.slots.homes.view()[slots] != NOWHERE]
            return slots, mender.exact(slots)
