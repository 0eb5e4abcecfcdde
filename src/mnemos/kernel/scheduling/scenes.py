"""What comes next: scenes (clusters of what is asked about), how one follows another, and what each of them uses.

The next-scene prediction of MemOS (arXiv 2505.22101, section 4) in its plainest form: transitions of first order between scenes, counted with
Laplace's correction, and how lately each was there.
"""

from __future__ import annotations

import heapq
import math
import threading
from collections import Counter, deque
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Invalid

Scene = Hashable
_ALPHA = 0.1
_RECENCY = 0.02  # weight of recency: enough to order what transitions do not tell apart, and no more
_MOST = 256  # scenes that are remembered; the one seen longest ago goes first
_OLDEST = 2000  # transitions that are remembered, so that a drift is followed
_PACE = 0.2  # weight of the newest time between two turns
_USED = 256  # objects that are remembered of one scene; those used least in it go first


@dataclass(frozen=True, slots=True)
class Foresight:
    """How far a tier looks ahead. The paper names prediction and preloading (arXiv 2505.22101, section 4); the numbers are choices of ours."""

    scenes: int = 3
    """Scenes that are looked at, the likeliest first (1 or more)."""
    share: float = 0.5
    """Of the tier's budget, that may be filled with what is only foreseen, 0 … 1; 0: nothing is built ahead."""
    idle: float = 0.05
    """What a second of building in idle time costs, in seconds of somebody who waits, 0 … 1: with 0.05 it may be in vain nineteen times of twenty."""
    hits: int = 2
    """Uses of an object before it is built ahead, as before a text is kept at all (1 or more)."""
    pause: float = 0.0
    """Seconds after a turn before anything is built: how long the caller is likely to be busy with what was given."""

    def __post_init__(self) -> None:
        if not (self.scenes >= 1 and self.hits >= 1 and 0 <= self.share <= 1 and 0 <= self.idle <= 1 and self.pause >= 0):
            raise Invalid(f"{self}: scenes and hits are 1 or more, share and idle within 0 … 1, and pause is not below 0")


FORESIGHT = Foresight()


class SceneModel:
    """Counts which scene follows which, over the latest 2,000 transitions."""

    def __init__(self, alpha: float = _ALPHA) -> None:
        self._alpha = alpha
        self._follows: dict[Scene, Counter[Scene]] = {}
        self._path: deque[Scene] = deque(maxlen=_OLDEST)
        self._seen: dict[Scene, int] = {}
        self._time = 0

    @property
    def current(self) -> Scene | None:
        return self._path[-1] if self._path else None

    def observe(self, scene: Scene) -> None:
        """The conversation is at `scene` now."""
        if len(self._path) == self._path.maxlen:
            first, second = self._path[0], self._path[1]
            self._follows[first][second] -= 1
            self._follows[first] += Counter()  # without what is 0 now
            if not self._follows[first]:
                del self._follows[first]
        if self._path:
            self._follows.setdefault(self._path[-1], Counter())[scene] += 1
        self._path.append(scene)
        self._time += 1
        self._seen.pop(scene, None)
        self._seen[scene] = self._time
        while len(self._seen) > _MOST:
            del self._seen[next(iter(self._seen))]

    def predict(self, m: int) -> list[tuple[Scene, float]]:
        """The `m` scenes that are most likely next, with their scores: the probability of the transition, and a little for being recent."""
        follows = self._follows.get(self.current, Counter())
        total = sum(follows.values()) + self._alpha * len(self._seen)
        scores = {
            scene: (follows[scene] + self._alpha) / total + _RECENCY / (1 + self._time - seen) if total else 0.0 for scene, seen in self._seen.items()
        }
        ranked = sorted(scores.items(), key=lambda item: (-item[1], -self._seen[item[0]]))
        return ranked[:m]

    def as_json(self) -> list[Any]:
        """The path, from which everything else follows."""
        return list(self._path)

    @classmethod
    def from_json(cls, path: list[Any]) -> SceneModel:
        """The model that has seen `path`."""
        model = cls()
        for scene in path:
            model.observe(scene)
        return model


class Scenes:
    """Scenes found in vectors: a vector joins the scene whose centre is near enough, or begins one (leader clustering)."""

    def __init__(self, near: float = 0.5, most: int = 64) -> None:
        """`near`: cosine from which on a vector belongs to a scene; `most`: scenes, beyond which the nearest takes all."""
        self._near = near
        self._most = most
        self._centres: list[NDArray[np.float64]] = []
        self._counts: list[int] = []

    def __len__(self) -> int:
        return len(self._centres)

    def of(self, vector: NDArray[np.float32]) -> int:
        """The scene of a vector, shape (dimensions,); its centre moves towards it."""
        unit = np.asarray(vector, dtype=np.float64)
        length = float(np.linalg.norm(unit))
        unit = unit / length if length else unit
        if self._centres:
            cosines = [float(unit @ centre) / (float(np.linalg.norm(centre)) or 1.0) for centre in self._centres]
            best = int(np.argmax(cosines))
            if cosines[best] >= self._near or len(self._centres) >= self._most:
                self._counts[best] += 1
                self._centres[best] = self._centres[best] + (unit - self._centres[best]) / self._counts[best]
                return best
        self._centres.append(unit)
        self._counts.append(1)
        return len(self._centres) - 1

    def forget(self, scene: int) -> None:
        """The centre of a scene is to be known no more: the next vector that comes there is the first."""
        self._centres[scene] = np.zeros_like(self._centres[scene])
        self._counts[scene] = 0


class Topics:
    """Scenes of memories, which go with them: a centre to which a memory contributed is forgotten with the memory. Safe to use from many threads."""

    def __init__(self) -> None:
        self._scenes = Scenes()
        self._of: dict[Hashable, set[int]] = {}
        self._lock = threading.Lock()

    def of(self, vector: NDArray[np.float32], memories: Iterable[Hashable]) -> int:
        """The scene of a vector, shape (dimensions,), that was made of the vectors of these memories."""
        with self._lock:
            scene = self._scenes.of(vector)
            for memory in memories:
                self._of.setdefault(memory, set()).add(scene)
            return scene

    def forget(self, memories: Iterable[Hashable]) -> None:
        """Nothing is to be known of these memories any more."""
        with self._lock:
            for scene in set().union(*(self._of.pop(memory, set()) for memory in memories)):
                self._scenes.forget(scene)


class SceneUse:
    """What each scene uses: keys with a heat that fades as the scene is visited again."""

    def __init__(self, tau: float = 20.0) -> None:
        """`tau`: visits of a scene in which the weight of a use in it falls to 1/e."""
        self._tau = tau
        self._visits: dict[Scene, int] = {}
        self._heat: dict[Scene, dict[Hashable, tuple[float, int]]] = {}

    def visit(self, scene: Scene) -> None:
        """The scene is visited once more; beyond 256 scenes the one that was visited longest ago is forgotten."""
        self._visits[scene] = self._visits.pop(scene, 0) + 1
        while len(self._visits) > _MOST:
            gone = next(iter(self._visits))
            del self._visits[gone]
            self._heat.pop(gone, None)

    def note(self, scene: Scene, key: Hashable) -> None:
        """`key` was used in `scene`."""
        heat, now = self._heat.setdefault(scene, {}), self._visits.get(scene, 0)
        heat[key] = (self._faded(heat.get(key, (0.0, now)), now) + 1, now)
        if len(heat) > 2 * _USED:
            kept = heapq.nlargest(_USED, heat.items(), key=lambda item: self._faded(item[1], now))
            self._heat[scene] = dict(kept)

    def forget(self, key: Hashable) -> None:
        """Nothing is to be known of this key any more."""
        for heat in self._heat.values():
            heat.pop(key, None)

    def expected(self, scene: Scene) -> Mapping[Hashable, float]:
        """How many uses of each key the next visit of a scene is likely to bring: those of its visits, each weighed by how long it is ago, on
        average, with one visit more that used nothing (so that one visit does not promise a second)."""
        now = self._visits.get(scene, 0)
        weight = (1 - math.exp(-now / self._tau)) / (1 - math.exp(-1 / self._tau)) + 1
        return {key: self._faded(use, now) / weight for key, use in self._heat.get(scene, {}).items()}

    def _faded(self, use: tuple[float, int], now: int) -> float:
        value, then = use
        return value * math.exp((then - now) / self._tau)


class Line:
    """One line of conversation: its way over scenes, what each of them uses, and its pace. What one has seen tells another nothing."""

    def __init__(self) -> None:
        self.path = SceneModel()
        self.uses = SceneUse()
        self._last: float | None = None
        self._gap: float | None = None

    def at(self, scene: Scene, now: float) -> None:
        """It is at `scene` at the time `now`, of any unit; a visit lasts while it stays there."""
        if scene != self.path.current:
            self.uses.visit(scene)
        self.path.observe(scene)
        if self._last is not None:
            gap = now - self._last
            self._gap = gap if self._gap is None else self._gap + _PACE * (gap - self._gap)
        self._last = now

    def gap(self, now: float) -> float:
        """The time between two turns of the line, as it went lately; the time since the last one where that is longer."""
        return max(self._gap or 0.0, now - (self._last or 0.0))

    def note(self, key: Hashable) -> None:
        """`key` was used where the line is now; nothing where it is nowhere."""
        if self.path.current is not None:
            self.uses.note(self.path.current, key)

    def expected(self, scenes: int) -> dict[Hashable, float]:
        """How many uses of each key the next scene is likely to bring, over the `scenes` likeliest."""
        out: dict[Hashable, float] = {}
        for scene, probability in self.path.predict(scenes):
            for key, uses in self.uses.expected(scene).items():
                out[key] = out.get(key, 0.0) + min(1.0, probability) * uses
        return out
