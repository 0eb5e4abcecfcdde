"""The reader's benchmark: its measures are what they say, its halves share nothing, its baselines answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mnemos.base.errors import NotFound
from mnemos.bench.datasets import data_folder
from mnemos.bench.reader import first_entity, longest_sentence
from mnemos.bench.reader_data import SETS, Case, exact, f1, load, normal, to_develop_on
from mnemos.bench.reader_fitting import calibrate, fit, gather, reached
from mnemos.text.answering.candidates import Source


def test_answers_are_compared_as_in_squad() -> None:
    assert normal("The  U.S. Army, a") == "us army"
    assert exact("the Beatles!", ["Rolling Stones", "Beatles"]) == 1.0
    assert f1("a red car", ["red", "big red car"]) == pytest.approx(2 * 2 / (2 + 3))
    assert f1("", ["red"]) == f1("blue", ["red"]) == 0.0


CASES = [
    Case(f"{number}", "made", "open", f"Who directed {film}?", (name,),
         [Source("1", f"{film}\n{film} is a film directed by {name}. It was shot in {place} in {1990 + number}.")])
    for number, (film, name, place) in enumerate(
        [(f"Night {a}", f"{b} {c}", d) for a, b, c, d in zip(
            "Owl Fox Hare Wolf Bear Lynx Crow Swan Deer Seal".split() * 3, "Anna Maria John Peter Susan Laura Mark Paul Carla Henry".split() * 3,  # noqa: SIM905
            "Ford Stone Miller Baker Smith Cole Frost Hale Webb Marsh Lane Rhodes Nash Page Shaw".split() * 2,  # noqa: SIM905
            "Rome Oslo Bergen Paris Lima Quito Cairo Tokyo Kyoto Delhi".split() * 3, strict=True)]  # noqa: SIM905
    )
]  # fmt: skip


def test_baselines() -> None:
    assert first_entity(CASES[0]) == "Anna Ford"
    assert longest_sentence(CASES[0]) == "Night Owl is a film directed by Anna Ford."
    assert first_entity(Case("x", "made", "open", "Who?", ("y",), [])) == longest_sentence(Case("x", "made", "open", "Who?", ("y",), [])) == ""


def test_weights_are_learnt_that_find_who_directed() -> None:
    gathered = gather(CASES, np.random.default_rng(0))
    weights = fit(gathered)
    exact_match, _ = reached(gathered, weights)["made"]
    assert exact_match > 0.9
    assert reached(gathered, {})["made"][0] < exact_match
    known = gather(CASES, np.random.default_rng(0), all_of_them=True)
    assert len(known) > len(gathered)
    assert calibrate(known)["share"] > 0, "the likelier a candidate, the more often it is right"


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    try:
        return load(data_folder())
    except NotFound as error:
        pytest.skip(str(error))


def test_the_halves_share_no_evidence(cases: list[Case]) -> None:
    assert {case.dataset for case in cases} == set(SETS)
    halves: tuple[set[str], set[str]] = set(), set()
    for case in cases:
        if case.dataset in ("nq-open", "locomo"):
            key = case.id.split("/")[0] if case.dataset == "locomo" else case.sources[0].text
            halves[to_develop_on(case)].add(key)
    assert not halves[0] & halves[1]
    assert all(case.sources for case in cases)
    assert all(case.answers for case in cases)


def test_every_source_has_words_and_a_place(cases: list[Case], tmp_path: Path) -> None:
    assert all(source.text for case in cases for source in case.sources)
    with pytest.raises(NotFound):
        load(tmp_path)
