"""What a bit should have been, and how wrong a prediction was: the ground truth, defined once for policies, tests and benchmarks.

Source: Antoniadis and others, "Paging with Succinct Predictions" (ICML 2023), sections 2 and 3.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mnemos.base.errors import Invalid
from mnemos.cache.base import Key
from mnemos.cache.belady import next_requests

DONT_CARE = -1
"""The truth where either bit is right: the page is never asked for again, and the best policy had no need to evict it."""

Bits = NDArray[np.int8]


@dataclass(frozen=True)
class Errors:
    """`eta0`: bits that were 0 and should have been 1; `eta1`: the reverse."""

    eta0: int
    eta1: int


def discard_bits(requests: Sequence[Key], capacity: int) -> Bits:
    """For each request 1 if Belady's rule evicts the page before its next request, 0 if it keeps it, `DONT_CARE` at the end; shape (requests,)."""
    ahead = next_requests(requests)
    truth = np.zeros(len(requests), dtype=np.int8)
    held: dict[Key, int] = {}  # number of its last request
    farthest: list[tuple[int, int]] = []
    for number, key in enumerate(requests):
        if key not in held and len(held) >= capacity:
            while True:
                _, last = heapq.heappop(farthest)
                if held.get(requests[last]) == last:
                    break
            truth[last] = 1
            del held[requests[last]]
        held[key] = number
        heapq.heappush(farthest, (-ahead[number], number))
    for last in held.values():
        truth[last] = DONT_CARE
    return truth


def phases(requests: Sequence[Key], capacity: int) -> Iterator[range]:
    """The k-phases: each as many requests as hold at most `capacity` different pages, from the start, greedily."""
    start = 0
    pages: set[Key] = set()
    for number, key in enumerate(requests):
        if key not in pages and len(pages) == capacity:
            yield range(start, number)
            start, pages = number, set()
        pages.add(key)
    if start < len(requests):
        yield range(start, len(requests))


def phase_bits(requests: Sequence[Key], capacity: int) -> Bits:
    """For each request 1 if the page is not asked for in the next phase, else 0; `DONT_CARE` in the last phase; shape (requests,)."""
    truth = np.full(len(requests), DONT_CARE, dtype=np.int8)
    for phase, following in itertools.pairwise(phases(requests, capacity)):
        pages = {requests[number] for number in following}
        for number in phase:
            truth[number] = requests[number] not in pages
    return truth


def discard_errors(predicted: ArrayLike, truth: Bits) -> Errors:
    """Errors of discard bits, counted at every request. Raises `Invalid` where there is not one bit for each request."""
    bits = np.asarray(predicted)
    if bits.shape != truth.shape:
        raise Invalid(f"discard errors: {bits.shape} predicted bits for {truth.shape} requests; give one for each")
    return Errors(int(np.sum((bits == 0) & (truth == 1))), int(np.sum((bits == 1) & (truth == 0))))


def phase_errors(requests: Sequence[Key], capacity: int, predicted: ArrayLike) -> Errors:
    """Errors of phase bits, counted once for each page and phase, by the last bit that the page has in it. Raises as `discard_errors`."""
    bits = np.asarray(predicted)
    truth = phase_bits(requests, capacity)
    if bits.shape != truth.shape:
        raise Invalid(f"phase errors: {bits.shape} predicted bits for {truth.shape} requests; give one for each")
    last = [number for phase in phases(requests, capacity) for number in {requests[i]: i for i in phase}.values()]
    return discard_errors(bits[last], truth[last])
