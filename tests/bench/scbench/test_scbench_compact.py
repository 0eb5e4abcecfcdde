"""The compact rendering: words of the reference model's language, evidence that is needed, an oracle that is always right."""

from __future__ import annotations

import hashlib

import pytest

from mnemos.base.errors import Invalid
from mnemos.bench.scbench import compact_oracle
from mnemos.bench.scbench.baselines import bag_of_words, guess
from mnemos.bench.scbench.draws import Draws
from mnemos.bench.scbench.oracle import answers
from mnemos.bench.scbench.records import COMPACT, record_from
from mnemos.bench.scbench.scoring import score
from mnemos.bench.scbench.tasks import TASKS, generate, new_tokens
from mnemos.models.reference import language

SIZES = ((256, 3), (512, 4), (1024, 5), (4096, 8))


@pytest.mark.parametrize("task", TASKS)
def test_every_word_is_of_the_language_and_the_oracle_is_right(task: str) -> None:
    for length, turns in SIZES:
        for seed in range(4):
            record = generate(task, length, turns, seed, COMPACT)
            words = record.context.split(" ")
            assert 0.9 * length <= len(words) <= length
            assert words[0] == language.START
            assert language.text(words) == record.context
            language.encode(words)
            for turn, said in zip(record.turns, answers(record), strict=True):
                language.encode(turn.input.split(" "))
                assert len(language.encode(turn.reference.split(" "))) < new_tokens(record, turn)
                assert turn.input.split(" ")[0] == language.QUESTION
                assert turn.input.split(" ")[-1] == language.ANSWER
                assert score(record, turn, said)["score"] == 1, turn
                assert score(record, turn, "")["score"] == 0


@pytest.mark.parametrize("task", [task for task in TASKS if task != "math_find"])
def test_evidence_is_whole_words_and_nothing_is_known_without_it(task: str) -> None:
    right = total = 0
    for seed in range(6):
        record = generate(task, 512, 4, seed, COMPACT)
        for turn in record.turns:
            context = record.context
            for start, end in turn.evidence:
                assert context[start - 1] == " "
                assert context[end : end + 1] in ("", " ")
                context = context[:start] + " ".join("_" * len(word) for word in context[start:end].split(" ")) + context[end:]
            total += 1
            try:
                said = compact_oracle.solve(context, turn.input)
            except Invalid:
                continue
            right += score(record, turn, said)["score"] == 1
    assert right <= 0.25 * total


def test_the_places_of_numbers_are_those_of_the_numbers() -> None:
    for seed in range(10):
        record = generate("math_find", 400, 5, seed, COMPACT)
        for turn in record.turns:
            said = [record.context[start:end] for start, end in turn.evidence]
            if "count" in turn.input:
                number = turn.input.split(" ")[2]
                assert said == [number] * int(turn.reference) or (turn.reference == "0" and len(said) == 1)
            else:
                assert said == [turn.reference]


@pytest.mark.parametrize("task", TASKS)
def test_guessing_is_no_better_than_chance(task: str) -> None:
    draws = Draws("compact guesses", task)
    found = [(record, turn) for seed in range(100) for record in [generate(task, 512, 4, seed, COMPACT)] for turn in record.turns]
    chance = [0.0 if record.kind(turn) == "choice" or not turn.options else 1 / len(turn.options) for record, turn in found]
    scores = [score(record, turn, guess(record, turn, draws))["score"] for record, turn in found]
    assert sum(scores) / len(found) <= sum(chance) / len(found) + 0.02 + 2 * (0.25 / len(found)) ** 0.5


@pytest.mark.parametrize("task", TASKS)
def test_a_bag_of_words_solves_no_generator(task: str) -> None:
    """At most 40 %; of labels, of which there are two to four, no more than a little above chance."""
    found: dict[str, list[float]] = {}
    chance = []
    for seed in range(20):
        record = generate(task, 512, 4, seed, COMPACT)
        for turn, said in zip(record.turns, bag_of_words(record), strict=True):
            found.setdefault(record.kind(turn), []).append(score(record, turn, said)["score"])
            chance.append(1 / len(turn.options) if turn.options else 0.0)
    most = sum(chance) / len(chance) + 0.1 if task == "many_shot" else 0.4
    for kind, scores in found.items():
        assert sum(scores) / len(scores) <= most, kind


def test_depths_are_stratified() -> None:
    for task in ("kv", "prefix_suffix", "repoqa", "summary"):
        depths = sorted(turn.evidence[0][0] / len(record.context) for record in [generate(task, 1024, 4, 5, COMPACT)] for turn in record.turns)
        assert all(q / 4 - 0.05 <= depth <= (q + 1) / 4 + 0.05 for q, depth in enumerate(depths)), task


def test_compact_records_are_the_same_on_every_platform() -> None:
    lines = b"".join(generate(task, 512, 4, 7, COMPACT).as_line() for task in TASKS)
    assert hashlib.sha256(lines).hexdigest() == "16af08639e6b14045035437ac223a9cd95aac2d65e3ce5a0edee0c6d30085a37"


def test_it_goes_through_its_file_form_and_refuses_what_does_not_fit() -> None:
    record = generate("repoqa_kv", 512, 4, 0, COMPACT)
    assert record_from(record.as_json()) == record
    for task in TASKS:
        with pytest.raises(Invalid):
            generate(task, 12, 8, 0, COMPACT)
    with pytest.raises(Invalid, match="does not answer"):
        compact_oracle.solve("<s> bado", "<q> key bado bado <a>")
