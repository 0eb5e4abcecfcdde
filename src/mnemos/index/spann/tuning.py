"""How wide an index looks: chosen for a recall, and chosen anew when much has changed since."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mnemos.index.spann.calibration import calibrated
from mnemos.index.spann.codes import Floats
from mnemos.index.spann.mending import Mender
from mnemos.index.spann.parts import Parts
from mnemos.index.spann.tables import Table
from mnemos.index.spann.updating import Updater
from mnemos.index.spann.working import one_blas_thread

_CHANGED, _CALIBRATED = 0.2, 1000
"""Settings are chosen anew when so large a share of the vectors has changed, where there are so many."""


class Tuner:
    """Chooses `Parts.settings`, by `queries` where somebody gave some, else by vectors of the index."""

    def __init__(self, parts: Parts, mender: Mender, updater: Updater, queries: Table | None) -> None:
        self.queries = queries
        self._parts, self._mender, self._updater = parts, mender, updater

    @property
    def due(self) -> bool:
        """Whether so much has changed since settings were chosen that they should be chosen anew."""
        there = len(self._parts.slots)
        return there >= _CALIBRATED and self._updater.changed > _CHANGED * there

    def keep(self, asked: Floats) -> None:
        """Choose by these queries (q, d), as the measure asks, from now on."""
        self.queries = Table(np.float32, asked.shape[1])
        self.queries.resize(len(asked))
        self.queries.set(np.arange(len(asked)), asked)

    def choose(self) -> None:
        """For `options.recall`, whatever was reached before."""
        self._choose(None)
        chosen = self._parts.settings
        self._parts.settings = replace(chosen, floor=chosen.recall)

    def choose_again(self) -> None:
        """The same, and for no less than was reached when they were chosen first."""
        self._choose(self._parts.settings.floor)

    def _choose(self, floor: float | None) -> None:
        known = None if self.queries is None else self.queries.view()
        with one_blas_thread():
            self._parts.settings = calibrated(self._parts, self._mender, known, floor)
        self._updater.changed = 0
