"""The bit, learnt from the requests themselves: labels by OPTgen, a small model, and nothing but an append on the hot path."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Invalid
from mnemos.cache.base import UNIT, Key, Meta
from mnemos.cache.described import WIDTH, described, says_something
from mnemos.cache.history import FEATURES, NEW, History
from mnemos.cache.learners import Learner, Logistic
from mnemos.cache.optgen import OptGen
from mnemos.cache.state import packed, unpacked
from mnemos.cache.trial import Trial

Rows = NDArray[np.float32]


@dataclass(frozen=True)
class Learning:
    """How the bit is learnt. Defaults are one setting for all traces; k is the number of pages that the cache holds."""

    window: float = 4.0
    """Requests after which a page that was not asked for again counts as one to discard, in multiples of k; above 0. The paper's sheet says 8."""
    sample: int = 512
    """Pages of a cache so large that it is simulated in full to find labels; of a larger one, a share of the pages is simulated; at least 1."""
    history: int = 16
    """Pages remembered for each page held, at about 150 bytes each; at least 1. Caches of many pages remember 250,000, or twice what they hold."""
    warm: float = 2.0
    """Labels before bits count, in multiples of the pages simulated; above 0."""
    better: float = 0.05
    """By how much the model must rank labels that it has not learnt from better than chance (0.5); 0 to 0.5. The sheet: 5 points.

    Once trusted, it stays so until it ranks worse than chance.
    """
    rate: float = 0.05
    """Rate of learning; above 0. The sheet's value."""
    batch: int = 128
    """Requests that are learnt from together, at most; fewer in caches of less than 8 times as many pages; at least 1."""


_OWN = ("trusted", "_rng", "_pending", "_said", "_offered", "_waiting", "_described", "_threshold", "_look")
_SAMPLES = 3  # of one page that wait for its label
_FROM_CANDIDATES = 12  # samples taken at each scoring
_OFTEN, _RARELY = 16, 256  # labels between two looks at how good the model is
_LEAST_BATCH = 16
_SMALL = 128  # pages held below which every scoring learns first
_GRADES = 100  # probabilities within a hundredth count as equal, and then the page goes that was served last: the paper evicts it right away
_MOST_REMEMBERED = 250_000
_REFIT = 1.25  # a change of k by which everything that depends on it begins anew


class LearnedBit:
    """Predicts whether the best offline policy would evict a page before its next request, from that page's past and from what callers say of it.

    `observe` only notes the request; a batch of them is learnt from at once. Labels are those of a simulated cache that is asked only for a
    random share of the pages, and has as much less room (as SHARDS does). A caller's bit (`Meta.bit`) goes before its own. `rng` draws the share
    and the samples; `learner` makes the model for a number of features.
    """

    def __init__(
        self, k: int, learning: Learning | None = None, rng: random.Random | None = None, learner: Callable[[int], Learner] | None = None
    ) -> None:
        self.learning = learning or Learning()
        _check(self.learning)
        self._rng = rng or random.Random(0)
        self._make = learner or (lambda width: Logistic(width, self.learning.rate))
        self.trusted = False
        self._threshold: float | None = None  # of the latest labels, once it is asked for
        self._pending: list[Key] = []
        self._said: dict[Key, tuple[float, ...]] = {}  # of pages, since the last batch
        self._offered = bytearray()  # by slot, whether the page is among those that the simulated cache is asked for
        self._waiting: dict[int, list[Rows]] = {}  # by slot, features whose label is not known yet
        self._described = np.zeros((0, WIDTH), dtype=np.float32)  # by slot; without rows while nobody has said anything of a page
        self._fit(max(1, k))

    def observe(self, key: Key, meta: Meta = UNIT) -> None:
        """See `Predictor`."""
        self._pending.append(key)
        if meta is not UNIT and says_something(meta):
            self._said[key] = described(meta)
        if len(self._pending) >= self._batch:
            self.settle()

    def bit(self, key: Key, meta: Meta = UNIT) -> float:
        """See `Predictor`. It learns from all requests first, one batch for each call; `scores` is what policies ask under pressure."""
        if meta.bit is not None:
            return float(meta.bit)
        self.settle()
        if not self.trusted:
            return 0.0
        if self._threshold is None:
            self._threshold = self._trial.threshold(self.k)
        slot = self._history.slots[key]
        return float(self._model.predict(self._rows(np.array([slot])))[0] > self._threshold)

    def scores(self, keys: Sequence[Key], held: int) -> NDArray[np.floating[Any]]:
        """See `Rescorer`. Pages asked for since the last batch score lowest, pages that are no longer remembered highest."""
        if not self.k / _REFIT <= held <= self.k * _REFIT:
            self._fit(held)
        if self.k < _SMALL:
            self.settle()
        known, just = self._history.slots, set(self._pending)
        slots = np.array([known.get(key, NEW) for key in keys], dtype=np.int64)
        rows = self._rows(slots)
        scores = np.floor(self._model.predict(rows) * _GRADES) + 1 / (1 + self._history.ages(slots))
        for place in np.flatnonzero(slots == NEW).tolist():
            if keys[place] not in just:
                scores[place] = _GRADES + 1
        if just:
            scores[np.isin(slots, [known[key] for key in just if key in known])] = -1
        self._wait(slots[:_FROM_CANDIDATES].tolist(), rows)
        return scores

    def settle(self) -> None:
        """Learn from all requests so far. Happens by itself; call it in idle time to keep it off the path of requests."""
        if not self._pending:
            return
        slots, made = self._history.rows_of(self._pending)
        self._pending = []
        self._begin(made)
        if self._said:
            self._note_said()
        self._history.record(slots)
        rows: list[Rows] = []
        bits: list[int] = []
        asked = [slot for slot in slots.tolist() if self._offered[slot]]
        for slot in asked:
            for page, bit in self._optgen.request(slot):
                self._history.label(page, bit)
                waiting = self._waiting.pop(page, ())
                rows += waiting
                bits += [bit] * len(waiting)
        if rows:
            self._learn(np.array(rows), np.array(bits, dtype=np.float32))
        if asked:
            draws = [self._optgen.drawn(self._rng.random(), 2 * self._optgen.capacity) for _ in asked]
            some = list(dict.fromkeys([*asked, *(slot for slot in draws if slot is not None)]))
            self._wait(some, self._rows(np.array(some)))

    def forget(self, key: Key) -> None:
        """See `Predictor`."""
        if key in self._pending:
            self._pending = [other for other in self._pending if other != key]
        self._said.pop(key, None)
        slot = self._history.forget(key)
        if slot is not None:
            self._begin([slot])

    def state_dict(self) -> dict[str, Any]:
        """All that was learnt, as JSON values; see `EvictionPolicy`."""
        parts = {name: packed(vars(part)) for name, part in self._state_parts().items()}
        own = {name: packed(getattr(self, name)) for name in _OWN}
        return {"k": self.k, "own": own, "model": packed(self._model.parameters()), **parts}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave. Raises `Invalid` where it is of another kind of model, or nothing of the sort."""
        try:
            self._fit(int(state["k"]))
            own = {name: unpacked(state["own"][name]) for name in _OWN}
            if len(own["_described"]):
                self._model = self._make(FEATURES + WIDTH)
            learnt, into = unpacked(state["model"]), self._model.parameters()
            if {name: values.shape for name, values in learnt.items()} != {name: values.shape for name, values in into.items()}:
                raise ValueError("it is of another kind of model")
            for name, part in self._state_parts().items():
                values = unpacked(state[name])
                if {key: type(value) for key, value in values.items()} != {key: type(value) for key, value in vars(part).items()}:
                    raise ValueError(f"{name} is of another kind")
                vars(part).update(values)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Invalid(f"cache state: no predictor of this kind wrote it ({error}); give what `state_dict` gave, unchanged") from None
        for name, values in learnt.items():
            into[name][...] = values
        vars(self).update(own)

    def _state_parts(self) -> dict[str, object]:
        return {"history": self._history, "optgen": self._optgen, "trial": self._trial}

    def _fit(self, k: int) -> None:
        """Begin anew for a cache of `k` pages."""
        learning = self.learning
        self.k = k
        self._share = min(1.0, learning.sample / k)
        simulated = max(1, round(k * self._share))
        self._batch = min(learning.batch, max(_LEAST_BATCH, k // 8))
        self._history = History(k, max(64, min(learning.history * k, max(2 * k, _MOST_REMEMBERED))))
        self._optgen: OptGen[int] = OptGen(simulated, max(1, round(learning.window * simulated)))
        self._trial = Trial()
        self._model = self._make(FEATURES)
        self._threshold = None
        self._look = 0  # number of labels at which the model is looked at again
        self.trusted = False
        self._pending, self._said, self._waiting = [], {}, {}
        self._offered = bytearray(1)
        self._described = self._described[:0]

    def _begin(self, slots: Sequence[int]) -> None:
        """These rows are other pages' from now on."""
        self._offered.extend(bytes(len(self._history) - len(self._offered)))
        for slot in slots:
            self._optgen.forget(slot)
            self._waiting.pop(slot, None)
            self._offered[slot] = self._rng.random() < self._share
        if len(self._described):
            self._describe_rows()
            self._described[slots] = 0

    def _note_said(self) -> None:
        if not len(self._described):  # the first time: there are more features from now on
            self._model = self._make(FEATURES + WIDTH)
            self._waiting.clear()
            self._trial = Trial()
            self.trusted = False
        self._describe_rows()
        for key, numbers in self._said.items():
            self._described[self._history.slots[key]] = numbers
        self._said = {}

    def _describe_rows(self) -> None:
        rows = len(self._history) - len(self._described)
        if rows > 0:
            more = np.zeros((max(rows, len(self._described)), WIDTH), dtype=np.float32)
            self._described = np.concatenate((self._described, more))

    def _rows(self, slots: NDArray[np.int64]) -> Rows:
        rows = self._history.features(slots)
        return np.hstack((rows, self._described[slots])) if len(self._described) else rows

    def _wait(self, slots: Sequence[int], rows: Rows) -> None:
        """Keep features of those pages whose last request has no label yet."""
        for slot, row in zip(slots, rows, strict=False):
            if self._optgen.waits(slot):
                waiting = self._waiting.setdefault(slot, [])
                if len(waiting) < _SAMPLES:
                    waiting.append(row.copy())  # a view would keep all rows

    def _learn(self, rows: Rows, labels: Rows) -> None:
        self._trial.add(self._model.predict(rows), labels)
        self._model.learn(rows, labels)
        count = self._trial.count
        if count >= self._look:
            self._look = count + min(_RARELY, max(_OFTEN, count // 4))
            ranking = self._trial.ranking()
            enough = count >= self.learning.warm * self._optgen.capacity
            self.trusted = enough and (ranking >= 0.5 + self.learning.better or (self.trusted and ranking >= 0.5))
            self._threshold = None


def _check(learning: Learning) -> None:
    for field, least in (("window", 0.0), ("sample", 1), ("history", 1), ("warm", 0.0), ("rate", 0.0), ("batch", 1)):
        value = getattr(learning, field)
        if not value >= least or value <= 0:
            raise Invalid(f"learning: {field} is {value}; it has to be above 0{'' if least == 0 else ', and at least 1'}")
    if not 0 <= learning.better < 0.5:
        raise Invalid(f"learning: better is {learning.better}; it lies from 0 to 0.5")
