"""The fit of the refusal gate: it finds what made the data, and its swapped questions ask of something else."""

from __future__ import annotations

import numpy as np

import mnemos
from mnemos.bench.refusal_fitting import Case, Item, Swaps, asked, fit, left_out, report, scores

TRUTH = {"bias": -1.0, "sure": 0.8, "source": 2.0, "gap": -1.5}


def made(count: int, rng: np.random.Generator) -> list[Case]:
    out = []
    for number in range(count):
        told = {"bias": 1.0, "sure": rng.normal(), "source": rng.random(), "gap": float(rng.random() < 0.5)}
        right = bool(rng.random() < 1 / (1 + np.exp(-sum(TRUTH[name] * value for name, value in told.items()))))
        kind = "answerable" if right else "swapped"
        out.append(Case(Item(f"group {number % 4}", kind, "?", ("x",) if right else ()), told, right))
    return out


def test_the_weights_are_those_that_made_the_data() -> None:
    cases = made(6000, np.random.default_rng(0))
    found = fit(cases)
    assert all(abs(found[name] - weight) < 0.25 for name, weight in TRUTH.items())
    kept = left_out(cases, [])
    assert np.corrcoef(kept, scores(cases, found))[0, 1] > 0.99
    assert "swapped" in report(cases, kept)


def test_another_noun_of_the_same_form_is_put_in() -> None:
    swaps = Swaps(["How many violins did I buy?", "How many guitars did Anna play?", "Where is the lamp?"])
    rng = np.random.default_rng(0)
    found = {swaps.swapped("How many guitars did Anna play?", rng) for _ in range(20)}
    assert found <= {"How many violins did Anna play?", None}
    assert "How many violins did Anna play?" in found
    assert swaps.swapped("Who did it?", rng) is None


def test_items_are_asked_as_a_space_answers() -> None:
    with mnemos.open(":memory:", embedder="none") as memory:
        space = memory.space("s")
        space.add("I moved to Lisbon in May.", author="user")
        case = asked(space, Item("g", "answerable", "Where did I move in May?", ("Lisbon",)))
        assert case is not None
        assert case.right
        found = space.answer("Where did I move in May?")
        assert found.text == "Lisbon"
        vain = Item("g", "swapped", "Where did I move in May?")
        assert asked(space, vain) == Case(vain, case.evidence, False)
