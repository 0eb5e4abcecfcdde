"""What comes next: scenes (clusters of what is asked about), how one follows another, and what each of them uses.

The next-scene prediction of MemOS (arXiv 2505.22101, section 4) in its plainest form: transitions of first order between scenes, counted with
Laplace's correction, and how lately each was there.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Scene = Hashable
_ALPHA = 0.1
_RECENCY = 0.02  # weight of recency: enough to order what transitions do not tell apart, and no more
_MOST = 256  # scenes that are remembered; the one seen longest ago goes first
_OLDEST = 2000  # transitions that are remembered, so that a drift is followed


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
            if first in self._follows:
                self._follows[first][second] -= 1
        if self._path:
            self._follows.setdefault(self._path[-1], Counter())[scene] += 1
        self._path.append(scene)
        self._time += 1
        self._seen.pop(scene, None)
        self._seen[scene] = self._time
        while len(self._seen) > _MOST:
            gone = next(iter(self._seen))
            del self._seen[gone]
            self._follows.pop(gone, None)

    def predict(self, m: int) -> list[tuple[Scene, float]]:
        """The `m` scenes that are most likely next, with their scores: the probability of the transition, and a little for being recent."""
        follows = self._follows.get(self.current, Counter())
        total = sum(follows.values()) + self._alpha * len(self._seen)
        scores = {
            scene: (follows[scene] + self._alpha) / total + _RECENCY / (1 + self._time - seen) if total else 0.0
            for scene, seen in self._seen.items()
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


class SceneUse:
    """What each scene uses: keys with a heat that fades as the scene is visited again."""

    def __init__(self, tau: float = 20.0) -> None:
        """`tau`: visits of a scene in which the weight of a use in it falls to 1/e."""
        self._tau = tau
        self._visits: Counter[Scene] = Counter()
        self._heat: dict[Scene, dict[Hashable, tuple[float, int]]] = {}

    def visit(self, scene: Scene) -> None:
        self._visits[scene] += 1

    def note(self, scene: Scene, key: Hashable) -> None:
        """`key` was used in `scene`."""
        heat, now = self._heat.setdefault(scene, {}), self._visits[scene]
        value, then = heat.get(key, (0.0, now))
        heat[key] = (value * math.exp((then - now) / self._tau) + 1, now)

    def forget(self, key: Hashable) -> None:
        for heat in self._heat.values():
            heat.pop(key, None)

    def expected(self, scene: Scene) -> Mapping[Hashable, float]:
        """How many uses of each key the next visit of a scene is likely to bring, up to a constant."""
        now = self._visits[scene]
        return {key: value * math.exp((then - now) / self._tau) / self._tau for key, (value, then) in self._heat.get(scene, {}).items()}
