"""How good predictions are that were made before their labels were known (prequential): errors of both kinds, ranking, and where to cut."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mnemos.cache.bounds import harmonic
from mnemos.cache.labels import Errors

Rows = NDArray[np.float32]


class Trial:
    """The latest `most` predictions with the labels that came later."""

    def __init__(self, most: int = 2048) -> None:
        self._predicted = np.zeros(most, dtype=np.float32)
        self._labels = np.zeros(most, dtype=np.float32)
        self.count = 0

    def add(self, predicted: Rows, labels: Rows) -> None:
        """Both of shape (predictions,)."""
        most = len(self._labels)
        places = np.arange(self.count, self.count + len(labels))[-most:] % most
        self._predicted[places] = predicted[-most:]
        self._labels[places] = labels[-most:]
        self.count += len(labels)

    def errors(self, threshold: float) -> Errors:
        """Of bits that are 1 above the threshold."""
        bits, labels = self._latest()[0] > threshold, self._latest()[1] > 0.5
        return Errors(int(np.sum(~bits & labels)), int(np.sum(bits & ~labels)))

    def ranking(self) -> float:
        """Probability that a page to discard has the higher prediction than one to keep (area under the curve); chance is 0.5.

        1 where no page was worth keeping, for then none can be ranked wrongly; 0.5 where all were.
        """
        predicted, labels = self._latest()
        ones = int(labels.sum())
        zeros = len(labels) - ones
        if not ones or not zeros:
            return 1.0 if ones else 0.5
        _, places, counts = np.unique(predicted, return_inverse=True, return_counts=True)
        ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
        return float((ranks[labels > 0.5].sum() - ones * (ones + 1) / 2) / (ones * zeros))

    def threshold(self, k: int) -> float:
        """Where to cut so that 2 H_k wrong 0s + wrong 1s is least: a wrong 0 is the dearer one ("Paging with Succinct Predictions")."""
        predicted, labels = self._latest()
        if not len(labels):
            return 0.5
        order = np.argsort(predicted, kind="stable")
        ones = np.concatenate(([0.0], np.cumsum(labels[order])))  # labels 1 among the i lowest predictions, which become bits 0
        zeros_above = (1 - labels).sum() - (np.arange(len(labels) + 1) - ones)
        cost = 2 * harmonic(k) * ones + zeros_above
        last = np.concatenate((predicted[order][1:] != predicted[order][:-1], [True]))  # a cut lies between different predictions
        allowed = np.concatenate(([True], last))
        best = int(np.argmin(np.where(allowed, cost, np.inf)))
        if best == 0:
            return -1.0
        below = float(predicted[order][best - 1])
        return (below + float(predicted[order][best])) / 2 if best < len(labels) else below

    def _latest(self) -> tuple[Rows, Rows]:
        n = min(self.count, len(self._labels))
        return self._predicted[:n], self._labels[:n]
