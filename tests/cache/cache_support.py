"""What the tests of the cache share: sequences, plain versions of the classical policies, and every policy there is."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from mnemos.cache.arc import ARC
from mnemos.cache.guard import Guard
from mnemos.cache.learned import LearnedBit, Learning
from mnemos.cache.lru import LRU
from mnemos.cache.lru_1bit import LRU1Bit
from mnemos.cache.policy import Policy
from mnemos.cache.registry import POLICIES
from mnemos.cache.s3fifo import S3FIFO
from mnemos.cache.switching import Tracking

Make = Callable[[int], Policy]

QUICK = Learning(window=2.0, warm=0.5, batch=4)
"""Learns so soon that short sequences reach it."""

EVERY: dict[str, Make] = {
    **POLICIES,
    "lru-1bit given": LRU1Bit,
    "guard given": Guard,
    "lru-1bit quick": lambda capacity: LRU1Bit(capacity, LearnedBit(capacity, QUICK, random.Random(1))),
    "tracking": lambda capacity: Tracking([LRU(capacity), S3FIFO(capacity)], half_life=1.0, margin=0.01),
    "following": lambda capacity: Tracking([S3FIFO(capacity), ARC(capacity)], margin=1e9),
}
"""Every policy of the registry, and variants with given bits, with bits learnt at once, and with a lead that changes often or never."""

DECIDE_LATE = {"auto", "lru-1bit", "greedy-dual-1bit", "lru-1bit quick", "switching", "hedge", "tracking"}
"""The request itself may change what they evict: they ask a predictor when room is needed, or follow another policy from then on."""


def sequence(kind: str, rng: random.Random, requests: int, pages: int) -> list[int]:
    """Requests of a kind: `uniform`, `cyclic` (a loop with slips), `bursty` (each page several times in a row), `skewed`, `drifting`."""
    if kind == "uniform":
        return [rng.randrange(pages) for _ in range(requests)]
    if kind == "cyclic":
        return [i % pages if rng.random() < 0.9 else rng.randrange(pages) for i in range(requests)]
    if kind == "bursty":
        return [page for _ in range(requests) for page in [rng.randrange(pages)] * rng.randint(1, 4)][:requests]
    if kind == "skewed":
        return [min(int(rng.paretovariate(1)), pages) for _ in range(requests)]
    if kind == "drifting":
        return [(i // 20 + rng.randrange(max(2, pages // 2))) % (2 * pages) for i in range(requests)]
    raise ValueError(kind)


KINDS = ("uniform", "cyclic", "bursty", "skewed", "drifting")


def misses(policy: Policy, requests: Sequence[int]) -> int:
    """Misses of the policy on the requests."""
    return sum(policy.request(key) is not None for key in requests)


def flipped(bits: Sequence[int], share: float, rng: random.Random) -> list[int]:
    """The bits, each turned round with this probability; where either is right (-1) it is 0 before."""
    return [(bit == 1) ^ (rng.random() < share) for bit in bits]
