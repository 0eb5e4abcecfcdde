"""Concepts without a model: grid puzzles are solved, what their solutions share becomes a concept, and a harder one comes within reach.

python examples/concepts.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import mnemos
from mnemos.kernel.concepts import Concepts
from mnemos.text.concepts.concept import Pair, Problem
from mnemos.text.concepts.domains.grid import grid_domain
from mnemos.text.concepts.solving import Settings
from mnemos.text.concepts.terms import INPUT, read_term

GRIDS = grid_domain(("flip_across", "flip_down", "turn", "crop", "paint", "frame", "scale", "tile", "fall"))


def puzzle(name: str, rule: str) -> Problem:
    """Three pairs that follow a rule, and an input that is to be answered. Who solves it sees the pairs alone."""
    rng = np.random.default_rng(len(name) + sum(map(ord, rule)))
    grids = [rng.choice([0, 1, 2, 3], tuple(rng.integers(3, 6, 2))).astype(np.int8) for _ in range(4)]
    pairs = [Pair(grid, GRIDS.library().run(read_term(rule), {INPUT: grid})) for grid in grids]
    return Problem(name, tuple(pairs[:3]), tuple(pairs[3:]))


CARDS = ((4, 5), (6, 8), (7, 9), (8, 4), (5, 6), (9, 7))
EASY = [puzzle(f"card {front} on {back}", f"frame(paint(x, Colour:{front}), Colour:{back})") for front, back in CARDS]
EASY += [puzzle("turned", "turn(x)"), puzzle("twice", "tile(x, Int:2)")]
HARD = puzzle("four cards", "tile(frame(paint(x, Colour:6), Colour:7), Int:2)")
BUDGET = 1500


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        with mnemos.open(Path(folder, "memory.db")) as mem:
            concepts = Concepts(mem.space("puzzles"), GRIDS, Settings(budget=3000, answers=1))
            print("before:", concepts.solve(HARD, budget=BUDGET).feedback)
            for told in concepts.run(EASY):
                print(f"{told[-1].problem.id}: {told[-1].feedback}")
            for one in concepts.memory().concepts():
                if one.program and "(" in one.program:
                    print(f"learnt: {one.name} = {one.program}, used in {len(one.used_in)} solutions")
        with mnemos.open(Path(folder, "memory.db")) as mem:
            concepts = Concepts(mem.space("puzzles"), GRIDS, Settings(budget=3000, answers=1))
            found = concepts.solve(HARD, budget=BUDGET)
            print("then:", found.feedback)
            print("right:", found.solved and np.array_equal(found.attempts[0].answers[0], HARD.test[0].output))


if __name__ == "__main__":
    main()
