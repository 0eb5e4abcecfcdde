"""How many of the vectors at home in each list have come or gone since its head was chosen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mnemos.index.spann.tables import Table

Numbers = NDArray[np.int64]


class Turnover:
    """A count for each list. It is kept with the checkpoints: a process that lives shortly would else never see a list become old."""

    def __init__(self, table: Table | None = None) -> None:
        self.table = table or Table(np.uint32)

    @property
    def nbytes(self) -> int:
        return self.table.nbytes

    def count(self, numbers: Numbers, more: Numbers) -> Numbers:
        """So many `more` came or went in the lists `numbers` (m,), all different; how many it has been by now."""
        self._reach(numbers)
        counted = self.table.view()[numbers].astype(np.int64) + more
        self.table.set(numbers, counted)
        return counted

    def forget(self, numbers: Numbers) -> None:
        """The lists have new heads, or are looked after now."""
        self._reach(numbers)
        self.table.set(numbers, np.zeros(len(numbers)))

    def _reach(self, numbers: Numbers) -> None:
        most = int(numbers.max(initial=-1)) + 1
        if most > len(self.table):
            self.table.resize(most)
