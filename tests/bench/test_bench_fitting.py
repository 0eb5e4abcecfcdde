"""The fit of the weights: it finds what made the data, lifts recall, keeps what is held, and reads real questions as the product does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

import mnemos
from mnemos.bench.corpus import Corpus, Question
from mnemos.bench.fitting import HELD, NAMES, Choice, choices, fitted, for_recall, most_likely, scaled, weights_of, wordless
from mnemos.text.recipe import DEFAULT
from support import EMBEDDER

FREE = np.array([name not in HELD for name in NAMES])


def made(count: int, truth: np.ndarray, rng: np.random.Generator) -> list[Choice]:
    """Questions whose evidence was drawn with the log odds that `truth` gives."""
    out = []
    for number in range(count):
        x = rng.normal(size=(40, len(NAMES)))
        scores = x @ truth
        chance = np.exp(scores - scores.max())
        gold = np.zeros(40, dtype=bool)
        gold[rng.choice(40, p=chance / chance.sum())] = True
        out.append(Choice("made", str(number), x, gold, np.arange(40), 1))
    return out


def test_the_likeliest_weights_are_those_that_made_the_data() -> None:
    rng = np.random.default_rng(3)
    truth = np.where(FREE, rng.normal(size=len(NAMES)) * 0.5, 0)
    found = most_likely(made(1500, truth, rng), np.zeros(len(NAMES)), FREE)
    assert np.corrcoef(found, truth)[0, 1] > 0.97
    assert np.abs(found - truth).max() < 0.3
    assert (found[~FREE] == 0).all()


def test_steps_for_recall_do_not_lower_it_and_the_scale_makes_log_odds() -> None:
    rng = np.random.default_rng(4)
    truth = np.where(FREE, rng.normal(size=len(NAMES)) * 0.4, 0)
    questions = made(400, truth, rng)
    likely = most_likely(questions, np.zeros(len(NAMES)), FREE)
    lifted = for_recall(questions, likely, FREE)
    before, after = (np.mean([choice.recall(w) for choice in questions]) for w in (likely, lifted))
    assert after >= before - 0.005
    assert np.allclose(scaled(questions, 1.6 * truth), truth, rtol=0.35)
    assert np.allclose(scaled(questions, truth), truth, rtol=0.35)


def test_what_is_held_stays_and_parts_of_one_turn_count_once() -> None:
    rng = np.random.default_rng(5)
    questions = [replace(choice, weight=0.5) for choice in made(60, weights_of(DEFAULT) / 10, rng)]
    assert all(abs(getattr(fitted(questions, DEFAULT), name)) > 0 for name in HELD)
    x = np.zeros((13, len(NAMES)))
    x[:, 0] = np.arange(13, 0, -1)
    choice = Choice("one", "c", x, np.arange(13) == 12, np.array([7] * 4 + list(range(100, 109))), 1)
    w = np.zeros(len(NAMES))
    w[0] = 1.0
    assert choice.recall(w) == 1.0  # four parts of one turn take one place of ten
    assert replace(choice, unit=np.arange(13)).recall(w) == 0.0


def test_questions_are_read_as_a_search_reads_them() -> None:
    records = [{"text": f"{who} saw {what} {number}.", "author": who, "type": "turn", "source": str(number), "metadata": {"session": number // 4}}
               for number, (who, what) in enumerate([("Ann", "a heron"), ("Ben", "the tram"), ("Ann", "snow"), ("Ben", "a violin")] * 5)]
    asked = Question("q", "Which bird did Ann see, a heron?", frozenset({"4"}), "x", "c")
    (choice,) = choices("made", [Corpus("one", records, [asked])], EMBEDDER)
    with mnemos.open(":memory:", embedder=EMBEDDER) as memory:
        space = memory.space("one")
        space.add_many(records)
        hits = space.search(asked.text, k=20)
    assert np.allclose(np.sort(choice.x @ weights_of(DEFAULT))[::-1], [hit.score for hit in hits], atol=1e-3)
    at = [hit.cube.source for hit in hits].index("4")
    assert choice.gold[np.argsort(-(choice.x @ weights_of(DEFAULT)), kind="stable")[at]] or hits[at].score == hits[at - 1].score
    bare = wordless(choice)
    for name in ("words", "coverage", "linked", "words_peak"):
        assert not bare.x[:, NAMES.index(name)].any()
    assert np.array_equal(bare.x[:, NAMES.index("meaning_unworded")], choice.x[:, NAMES.index("meaning")])
