"""Three rules by which one of several shadow policies is followed: by all misses, by recent misses, and by chance with Hedge weights.

Misses count their cost. k is the number of pages that the cache holds.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from mnemos.base.errors import Invalid
from mnemos.cache.policy import Policy
from mnemos.cache.shadows import Shadows

_LARGE = 1e100


class Switching(Shadows):
    """Leave a leader whose misses since the start exceed (1 + eps) times those of the best other one by more than k.

    Deterministic. Between two experts at most (2 + eps) times the better one's misses, and k for the start and each switch (`bounds.two_experts`).
    """

    name = "switching"

    def __init__(self, experts: Sequence[Policy], leader: int = 0, eps: float = 0.05) -> None:
        super().__init__(experts, leader)
        if eps < 0:
            raise Invalid(f"switching: eps is {eps}; it is at least 0")
        self.eps = eps

    def _choose(self) -> int:
        best = self._best()
        borne = (1 + self.eps) * self.losses[best] + len(self.pages) * self.mean_cost
        return best if self.losses[self.leader] > borne else self.leader


class Tracking(Shadows):
    """Leave a leader whose recent misses exceed those of the best other one by more than a share of k.

    `half_life`, in multiples of k requests: how fast misses fade; `margin`, in multiples of k: how many more are borne before a change, which may
    cost up to k. Deterministic. It follows a change of regime; on every sequence the bound of `Shadows` holds.
    """

    name = "tracking"

    def __init__(self, experts: Sequence[Policy], leader: int = 0, half_life: float = 8.0, margin: float = 0.15) -> None:
        super().__init__(experts, leader)
        if half_life <= 0 or margin <= 0:
            raise Invalid(f"tracking: half_life {half_life} and margin {margin} have to be above 0")
        self.half_life = half_life
        self.margin = margin
        self._weighed = 0  # the request of the weight

    def _weigh(self) -> None:
        self.weight *= 2 ** ((self._requests - self._weighed) / (self.half_life * self.expected_pages()))
        self._weighed = self._requests
        if self.weight > _LARGE:
            self.losses = [loss / self.weight for loss in self.losses]
            self.weight = 1.0

    def _choose(self) -> int:
        more = self.losses[self.leader] - min(self.losses)
        if more <= 0 or more <= self.margin * self.expected_pages() * self.mean_cost * self.weight:
            return self.leader
        return self._best()


class Hedge(Shadows):
    """Follow an expert by chance, with weights exp(-rate * misses), and change no more often than these force (the shrinking dartboard).

    In expectation the leaders miss, while they lead, at most (rate * best expert's misses + ln n) ÷ (1 - exp(-rate)) times, for n experts and a
    sequence that does not depend on the draws (Geulen and others, COLT 2010); each change costs up to k more. `rate`: by default 1 ÷ 4k.
    """

    name = "hedge"

    def __init__(self, experts: Sequence[Policy], leader: int = 0, rate: float | None = None, rng: random.Random | None = None) -> None:
        super().__init__(experts, leader)
        if rate is not None and rate <= 0:
            raise Invalid(f"hedge: rate is {rate}; it has to be above 0")
        self.rate = rate
        self._rng = rng or random.Random(0)

    def _choose(self) -> int:
        rate = self.rate or 0.25 / max(1, len(self.pages))
        if self._rng.random() < math.exp(-rate):
            return self.leader
        least = min(self.losses)
        weights = [math.exp(-rate * (loss - least) / self.mean_cost) for loss in self.losses]
        return self._rng.choices(range(len(weights)), weights)[0]
