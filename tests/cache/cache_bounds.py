"""The claims of the paper as checks of one instance, for the suite and for torture."""

from __future__ import annotations

import random
from collections.abc import Iterator

from cache_support import flipped, misses, sequence

from mnemos.cache import bounds
from mnemos.cache.belady import Belady
from mnemos.cache.flush_when_all_0s import FlushWhenAll0s
from mnemos.cache.guard import Guard
from mnemos.cache.labels import discard_bits, discard_errors, phase_bits, phase_errors
from mnemos.cache.mark_0 import Mark0
from mnemos.cache.mark_and_predict import MarkAndPredict
from mnemos.cache.predictors import Recorded

SEEDS = 40


def instances(kind: str, n: int, first: int = 0) -> Iterator[tuple[list[int], int]]:
    """`n` sequences of the kind, each with a capacity of 2 to 8."""
    for number in range(first, first + n):
        rng = random.Random(f"{kind} {number}")
        k = rng.randint(2, 8)
        yield sequence(kind, rng, rng.randint(30, 150), rng.randint(k + 1, 3 * k)), k


def exact_with_true_bits(requests: list[int], k: int) -> None:
    """With true discard bits as few misses as possible, with true phase bits at most twice as many; bits where either is right are tried as both."""
    fewest = misses(Belady(k, requests), requests)
    truth = discard_bits(requests, k).tolist()
    for free in (0, 1):
        bits = [free if bit < 0 else bit for bit in truth]
        assert misses(FlushWhenAll0s(k, Recorded(bits)), requests) == fewest
        for seed in range(3):
            assert misses(Mark0(k, Recorded(bits), random.Random(seed)), requests) == fewest
            assert misses(Guard(k, Recorded(bits), random.Random(seed)), requests) == fewest
    in_phases = [max(bit, 0) for bit in phase_bits(requests, k).tolist()]
    for seed in range(3):
        assert misses(MarkAndPredict(k, Recorded(in_phases), random.Random(seed)), requests) <= 2 * fewest


def bounds_hold(requests: list[int], k: int, rng: random.Random) -> None:
    """With bits turned round at random, at several rates, and with all of them wrong."""
    fewest = misses(Belady(k, requests), requests)
    truth, phase_truth = discard_bits(requests, k), phase_bits(requests, k)
    for share in (0.02, 0.1, 0.3, 1.0):
        bits = flipped(truth.tolist(), share, rng)
        errors = discard_errors(bits, truth)
        assert misses(FlushWhenAll0s(k, Recorded(bits)), requests) <= bounds.flush_when_all_0s(fewest, errors, k)
        mark_0 = [misses(Mark0(k, Recorded(bits), random.Random(seed)), requests) for seed in range(SEEDS)]
        assert sum(mark_0) / SEEDS <= bounds.mark_0(fewest, errors, k)
        guarded = [misses(Guard(k, Recorded(bits), random.Random(seed)), requests) for seed in range(SEEDS)]
        assert sum(guarded) / SEEDS <= bounds.guard(fewest, k)
        in_phases = flipped(phase_truth.tolist(), share, rng)
        predicted = [misses(MarkAndPredict(k, Recorded(in_phases), random.Random(seed)), requests) for seed in range(SEEDS)]
        assert sum(predicted) / SEEDS <= bounds.mark_and_predict(fewest, phase_errors(requests, k, in_phases), k)
