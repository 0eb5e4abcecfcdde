"""Synthetic grid problems for the lifelong benchmark: compositions of up to three of twelve primitives that share sub-routines, from a seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mnemos.text.concepts.concept import Pair, Problem
from mnemos.text.concepts.domain import Domain
from mnemos.text.concepts.domains.grid import grid_domain
from mnemos.text.concepts.domains.grid_primitives import Grid
from mnemos.text.concepts.terms import INPUT, Failed, Library, Term, constant, variable

TWELVE = ("flip_across", "flip_down", "turn", "transpose", "crop", "fall", "paint", "keep", "drop", "ground", "frame", "scale")
TRAIN_PAIRS, TEST_PAIRS = 3, 1
SUB_ROUTINES = 8
COLOURS = 4
"""Colours of one problem's grids."""
MOST_TRIES = 2000


@dataclass(frozen=True)
class World:
    """A curriculum (single primitives, then pairs of them that are the shared sub-routines) and problems that compose these anew, none of which is
    the composition of another."""

    curriculum: tuple[Problem, ...]
    unseen: tuple[Problem, ...]
    truth: dict[str, Term]
    """The composition that made each problem."""


def domain() -> Domain:
    """Grids with the twelve primitives."""
    return grid_domain(TWELVE)


def world(seed: int, singles: int = 24, pairs: int = 40, unseen: int = 80) -> World:
    """A world of its own for each seed. Of the unseen problems one in four composes two primitives, the others a sub-routine and one more."""
    rng = np.random.default_rng(seed)
    library = domain().library()
    subs: list[tuple[str, str]] = []
    while len(subs) < SUB_ROUTINES:
        two = tuple(str(name) for name in rng.choice(TWELVE, 2, replace=False))
        if two not in subs:
            subs.append((two[0], two[1]))
    truth: dict[str, Term] = {}
    made: set[str] = set()

    def several(count: int, kind: str, chains: Iterator[tuple[str, ...]]) -> list[Problem]:
        out: list[Problem] = []
        for _ in range(MOST_TRIES):
            if len(out) == count:
                return out
            chain = next(chains)
            found = _problem(f"{kind} {len(out)}", chain, library, rng)
            if found is not None and (kind == "single" or str(found[1]) not in made):
                out.append(found[0])
                truth[found[0].id] = found[1]
                made.add(str(found[1]))
        raise AssertionError(f"no {count} problems of kind {kind} in {MOST_TRIES} tries")

    def singles_of() -> Iterator[tuple[str, ...]]:
        while True:
            for name in TWELVE:
                yield (name,)

    def pairs_of() -> Iterator[tuple[str, ...]]:
        while True:
            yield subs[int(rng.integers(len(subs)))]

    def unseen_of() -> Iterator[tuple[str, ...]]:
        while True:
            sub, one = subs[int(rng.integers(len(subs)))], str(rng.choice(TWELVE))
            if rng.random() < 0.25:
                two = tuple(str(name) for name in rng.choice(TWELVE, 2, replace=False))
                if two not in subs:
                    yield two
                continue
            yield (*sub, one) if rng.random() < 0.5 else (one, *sub)

    curriculum = [*several(singles, "single", singles_of()), *several(pairs, "pair", pairs_of())]
    return World(tuple(curriculum), tuple(several(unseen, "unseen", unseen_of())), truth)


def _problem(id: str, chain: Sequence[str], library: Library, rng: np.random.Generator) -> tuple[Problem, Term] | None:
    """A problem whose rule applies these primitives one after the other; None where the grids drawn leave a step without effect."""
    colours = [int(one) for one in rng.choice(np.arange(1, 10), COLOURS, replace=False)]
    term = variable(INPUT)
    for name in chain:
        args = [term]
        for type in library[name].types[1:]:
            value = int(rng.choice(colours)) if type.name == "Colour" else int(rng.integers(2, 4))
            args.append(constant(type.name, value))
        term = Term(name, tuple(args))
    pairs = []
    for _ in range(TRAIN_PAIRS + TEST_PAIRS):
        pair = _pair(term, library, colours, rng)
        if pair is None:
            return None
        pairs.append(pair)
    return Problem(id, tuple(pairs[:TRAIN_PAIRS]), tuple(pairs[TRAIN_PAIRS:])), term


def _pair(term: Term, library: Library, colours: Sequence[int], rng: np.random.Generator) -> Pair | None:
    for _ in range(20):
        grid = grid_of(colours, rng)
        try:
            steps = [grid, *(library.run(part, {INPUT: grid}) for part in term.subterms() if part.kind == "call")]
        except Failed:
            continue
        keys = [(one.shape, one.tobytes()) for one in steps]
        if len(set(keys)) == len(keys) and steps[1].any():
            return Pair(grid, steps[1])
    return None


def grid_of(colours: Sequence[int], rng: np.random.Generator) -> Grid:
    """A grid of 4 to 8 rows and columns with cells of all the colours in a part of it."""
    height, width = (int(one) for one in rng.integers(4, 9, 2))
    grid = np.zeros((height, width), dtype=np.int8)
    top, left = (int(one) for one in rng.integers(0, 2, 2))
    bottom, right = height - int(rng.integers(0, 2)), width - int(rng.integers(0, 2))
    part = rng.choice([0, 0, *colours], (bottom - top, right - left)).astype(np.int8)
    grid[top:bottom, left:right] = part
    return grid
