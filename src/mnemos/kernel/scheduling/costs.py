"""What it costs to hold a memory in a form, and what it saves: measured, not assumed (MemOS, arXiv 2507.03724, section 5.3 and table 6).

Three durations matter: `build`, making the form once; `without`, a use where it is not held; `within`, a use where it is. Each is fitted as
a + b × bytes + c × bytes² to what was measured (attention costs the square), so that objects of every size have a prediction.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Invalid, shown

PARTS = ("build", "without", "within")
_KEPT = 256  # measurements of each part; older ones tell of another machine load
_REFIT = 16  # measurements after which the line is fitted anew
_SUBSETS = ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2))
_OUTLIER = 4.0  # residuals beyond this many median absolute ones are the machine's, not the object's


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds and bytes of one object in one form."""

    build: float
    without: float
    within: float
    bytes: int

    @property
    def saved(self) -> float:
        """Seconds that each use saves where the form is held; negative where it costs more."""
        return self.without - self.within

    @property
    def extra(self) -> float:
        """Seconds that a use costs more in whose course the form is built: it has to be served either way. May be negative."""
        return self.build + self.within - self.without

    @property
    def break_even(self) -> int | None:
        """Uses from which on it pays to have built: ⌈build / saved⌉, at least 1; None where no number of uses pays."""
        return max(1, math.ceil(self.build / self.saved - 1e-9)) if self.saved > 0 else None


class _Curve:
    """a + b x + c x², none of them below 0, through the latest measurements; outliers left out."""

    def __init__(self) -> None:
        self.points: deque[tuple[float, float]] = deque(maxlen=_KEPT)
        self.terms = np.zeros(3)
        self._since = 0

    def add(self, x: float, y: float) -> None:
        self.points.append((x, y))
        self._since += 1
        if self._since >= _REFIT or len(self.points) <= _REFIT:
            self.fit()

    def fit(self) -> None:
        self._since = 0
        x, y = np.array(self.points).T
        kept = np.ones(len(x), dtype=bool)
        for _ in range(3):
            self.terms = _least_squares(x[kept], y[kept])
            residuals = np.abs(y / np.maximum(self._at(x), 1e-12) - 1)
            within = residuals <= _OUTLIER * float(np.median(residuals)) + 1e-9
            if (within == kept).all() or within.sum() < max(2, len(x) // 2):
                break
            kept = within

    def _at(self, x: Any) -> Any:
        return self.terms[0] + self.terms[1] * x + self.terms[2] * x * x

    def at(self, x: float) -> float:
        return float(self._at(x))


def _least_squares(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """The terms (a, b, c), none below 0, of the curve of least relative error; as few of them as there are different x."""
    scale = float(x.max()) or 1.0
    weight = 1 / np.maximum(y, 1e-9)
    columns = np.stack([np.ones_like(x), x / scale, (x / scale) ** 2], axis=1) * weight[:, None]
    most = min(3, len(np.unique(x)))
    best, least = np.array([float(np.median(y)), 0.0, 0.0]), math.inf
    for chosen in _SUBSETS:
        if len(chosen) > most:
            continue
        found, *_ = np.linalg.lstsq(columns[:, chosen], y * weight, rcond=None)
        error = float(np.sum((columns[:, chosen] @ found - y * weight) ** 2))
        if (found >= 0).all() and error < least * (1 - 1e-9):
            least, best = error, np.zeros(3)
            best[list(chosen)] = found
    terms: NDArray[np.float64] = best / np.array([1.0, scale, scale**2])
    return terms


class CostModel:
    """The measured costs of one form. Before all three parts were measured it predicts nothing."""

    def __init__(self) -> None:
        self._curves = {part: _Curve() for part in PARTS}

    def observe(self, part: str, size: int, seconds: float) -> None:
        """One measurement: `part` is "build", "without" or "within"; `size` in bytes. Raises `Invalid`."""
        if part not in self._curves:
            raise Invalid(f"cost: unknown part {shown(part)}; known are {', '.join(PARTS)}")
        if not seconds >= 0 or not math.isfinite(seconds) or size < 0:
            raise Invalid(f"cost: {shown(seconds)} seconds for {shown(size)} bytes is no measurement")
        self._curves[part].add(float(size), float(seconds))

    def measured(self, part: str) -> int:
        """How many measurements of a part are known."""
        return len(self._curves[part].points)

    def cost(self, size: int) -> Cost | None:
        """The predicted cost of an object of `size` bytes; None while a part was never measured."""
        if not all(curve.points for curve in self._curves.values()):
            return None
        build, without, within = (self._curves[part].at(size) for part in PARTS)
        return Cost(build, without, within, size)

    def as_json(self) -> dict[str, list[list[float]]]:
        """The measurements, as plain JSON."""
        return {part: [list(point) for point in curve.points] for part, curve in self._curves.items()}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> CostModel:
        """The model that `as_json` described, fitted anew."""
        model = cls()
        for part, points in record.items():
            curve = model._curves[part]
            curve.points.extend((float(x), float(y)) for x, y in points)
            if curve.points:
                curve.fit()
        return model
