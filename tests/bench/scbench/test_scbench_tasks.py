"""Generators: what they make is stable, holds its evidence, and is solved by reading and by nothing less."""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path

import pytest

from mnemos.base.errors import Corrupt, Invalid, NotFound
from mnemos.bench.scbench import oracle
from mnemos.bench.scbench.baselines import bag_of_words, empty, guess
from mnemos.bench.scbench.draws import Draws
from mnemos.bench.scbench.functions import describe, drawn, facts_of, functions_in, source
from mnemos.bench.scbench.records import COMPACT, Record, Turn, read_records, record_from, write_records
from mnemos.bench.scbench.scoring import score
from mnemos.bench.scbench.tasks import TASKS, generate, new_tokens
from mnemos.bench.scbench.truncation import truncate_middle
from mnemos.models.reference import language
from mnemos.text.tokens import count_tokens

LENGTHS = (1200, 4096)
RETRIEVAL = ("kv", "prefix_suffix", "multi_hop", "repoqa", "qa_english", "qa_chinese", "choice", "needle")


def sessions(task: str, n: int = 6, length: int = 4096, turns: int = 5) -> list[Record]:
    return [generate(task, length, turns, seed) for seed in range(n)]


@pytest.mark.parametrize("task", TASKS)
def test_equal_arguments_give_equal_bytes_and_others_others(task: str) -> None:
    assert generate(task, 1200, 4, 3).as_line() == generate(task, 1200, 4, 3).as_line()
    assert generate(task, 1200, 4, 3).context != generate(task, 1200, 4, 4).context


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("task", TASKS)
def test_a_context_is_as_long_as_was_asked(task: str, length: int) -> None:
    record = generate(task, length, 5, 1)
    assert 0.8 * length <= count_tokens(record.context) <= length
    assert len(record.turns) == 5


@pytest.mark.parametrize("task", TASKS)
def test_the_oracle_is_always_right_from_the_context_alone(task: str) -> None:
    for length, turns in ((1300, 3), (4096, 5), (9000, 8)):
        for record in sessions(task, 4, length, turns):
            for turn in record.turns:
                said = oracle.solve(record.kind(turn), record.context, turn.input, turn.options)
                assert score(record, turn, said)["score"] == 1, (record.id, turn.input)


@pytest.mark.parametrize("task", [task for task in TASKS if task != "many_shot"])
def test_the_oracle_needs_the_evidence(task: str) -> None:
    """Without the sentences that are marked as evidence it fails, or answers otherwise, most of the time: the marks are the right ones."""
    right = total = 0
    for record in sessions(task, 4):
        for turn in record.turns:
            context = record.context
            for start, end in turn.evidence:
                context = context[:start] + " " * (end - start) + context[end:]
            total += 1
            try:
                said = oracle.solve(record.kind(turn), context, turn.input, turn.options)
            except (Invalid, ValueError):
                continue
            right += score(record, turn, said)["score"] == 1
    assert right <= 0.25 * total


@pytest.mark.parametrize("task", TASKS)
def test_saying_nothing_scores_nothing_and_guessing_no_more_than_chance(task: str) -> None:
    draws = Draws("guesses", task)
    found = [(record, turn) for record in sessions(task, 60, 2000) for turn in record.turns]
    assert all(score(record, turn, empty(record, turn))["score"] == 0 for record, turn in found)
    chance = [1 / len(turn.options) if turn.options else 0.0 for _, turn in found]
    scores = [score(record, turn, guess(record, turn, draws))["score"] for record, turn in found]
    mean, expected = sum(scores) / len(found), sum(chance) / len(found)
    spread = (expected * (1 - expected) / len(found)) ** 0.5
    assert mean <= expected + 0.02 + 2 * spread


@pytest.mark.parametrize("task", TASKS)
def test_a_bag_of_words_solves_no_generator(task: str) -> None:
    found: dict[str, list[float]] = {}
    for record in sessions(task, 30):
        for turn, said in zip(record.turns, bag_of_words(record), strict=True):
            found.setdefault(record.kind(turn), []).append(score(record, turn, said)["score"])
    for kind, scores in found.items():
        assert sum(scores) / len(scores) <= 0.4, kind


def test_the_bag_of_words_can_solve_what_words_give_away() -> None:
    turn = Turn("The heron eats what?", "frogs")
    record = Record("easy", "qa_english", "The heron eats frogs. The stork sleeps. The duck swims. The owl hunts mice.", (turn,))
    assert "frogs" in bag_of_words(record)[0]


@pytest.mark.parametrize("task", ["kv", "prefix_suffix", "repoqa", "qa_english", "choice", "repoqa_kv"])
def test_evidence_is_spread_over_all_depths(task: str) -> None:
    depths = [
        max(span[1] for span in turn.evidence) / len(record.context) for record in sessions(task, 12, 4096, 4) for turn in record.turns
    ]
    quarters = [sum(q / 4 <= depth < (q + 1) / 4 for depth in depths) for q in range(4)]
    assert min(quarters) >= len(depths) / 10


def test_every_letter_is_right_equally_often() -> None:
    letters = [str(turn.answer) for record in sessions("choice", 5, 4096, 8) for turn in record.turns]
    assert {letter: letters.count(letter) for letter in "ABCD"} == dict.fromkeys("ABCD", 10)


def test_the_answer_of_a_string_task_stands_in_its_evidence() -> None:
    for task in ("kv", "prefix_suffix", "repoqa", "repoqa_kv"):
        for record in sessions(task, 3):
            for turn in record.turns:
                ((start, end),) = turn.evidence
                assert str(turn.answer) in record.context[start:end]
                assert record.context.count(str(turn.answer)) == 1


def test_descriptions_share_no_word_with_the_code_and_tell_functions_apart() -> None:
    draws = Draws("functions")
    made = [(facts := drawn(draws), source(facts, draws)) for _ in range(300)]
    assert all(facts_of(code) == facts for facts, code in made)
    assert all(code == functions_in(f"x\n\n{code}\nTABLE = 1\n")[0] for _, code in made)
    for facts, code in made:
        named = {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)}
        assert not named.intersection(describe(facts).lower().replace(",", "").split())
    with pytest.raises(Invalid, match="no function of the kind"):
        facts_of("x = 1")


def test_records_are_the_same_on_every_platform() -> None:
    """Digests noted once: a change of a generator changes them, a platform must not."""
    lines = b"".join(generate(task, 1500, 4, 7).as_line() for task in TASKS)
    assert hashlib.sha256(lines).hexdigest() == "c6ce0de2d602de5e6d1eaf299f2180e6f651785d52e4c64a431ec47f97e751e0"


def test_a_session_is_saved_and_loaded(tmp_path: Path) -> None:
    made = [generate(task, 1500, 4) for task in TASKS]
    write_records(tmp_path / "sessions.jsonl", made)
    assert list(read_records(tmp_path / "sessions.jsonl")) == made


def test_published_records_load(tmp_path: Path) -> None:
    path = tmp_path / "scbench_choice_eng.jsonl"
    path.write_text(
        '{"id": 3, "context": "A tale.", "multi_turns": [{"input": "Who?", "options": ["Ann", "Bo"], "answer": "Bo"}]}\n\n'
        '{"id": 4, "context": "B.", "multi_turns": [{"input": "?", "answer": ["x", "y"], "task": "scbench_passkey"}]}\n'
    )
    first, second = read_records(path)
    assert (first.task, first.id, first.turns[0].evidence) == ("choice", "3", ())
    assert score(first, first.turns[0], "B")["score"] == 1
    assert second.kind(second.turns[0]) == "needle"
    assert score(second, second.turns[0], "it is y")["score"] == 1


def test_files_that_are_no_records_say_where(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with pytest.raises(NotFound, match="no file"):
        list(read_records(path))
    path.write_text("{}\n")
    with pytest.raises(Invalid, match=r"line 1: record: expected id"):
        list(read_records(path, "kv"))
    path.write_text("\n[\n")
    with pytest.raises(Corrupt, match="line 2 is not JSON"):
        list(read_records(path))
    row = {"id": 1, "context": "abc", "multi_turns": [{"input": "?", "answer": "b"}]}
    with pytest.raises(Invalid, match="says no task"):
        record_from(row)
    with pytest.raises(Invalid, match="outside the context"):
        record_from({**row, "evidence_spans": [[[2, 9]]]}, "kv")


def test_what_cannot_be_made_is_refused() -> None:
    with pytest.raises(NotFound, match="there are kv"):
        generate("nothing", 1000)
    with pytest.raises(Invalid, match="too few"):
        generate("kv", 100, 5)
    with pytest.raises(Invalid, match="rendering"):
        generate("kv", 1000, rendering="speech")
    with pytest.raises(Invalid, match="turns: expected"):
        generate("kv", 1000, 0)
    for task in TASKS:
        with pytest.raises(Invalid, match="too few"):
            generate(task, 20, 5)


@pytest.mark.parametrize("task", TASKS)
def test_middle_truncation_keeps_evidence_or_says_which_it_cut(task: str) -> None:
    record = generate(task, 4096, 5, 2)
    short = truncate_middle(record, 2600)
    assert count_tokens(short.context) <= 2600
    assert short.about["middle_truncated"]
    assert short.context.startswith(record.context[:60])
    assert short.context.endswith(record.context[-60:])
    cut = set(short.about.get("evidence_cut", ()))
    for i, (before, after) in enumerate(zip(record.turns, short.turns, strict=True)):
        texts = [record.context[a:b] for a, b in before.evidence]
        kept = [short.context[a:b] for a, b in after.evidence]
        assert (texts == kept) == (i not in cut)
        if i not in cut:
            said = oracle.solve(record.kind(after), short.context, after.input, after.options)
            assert score(short, after, said)["score"] == 1
    if task in RETRIEVAL:
        assert not cut


@pytest.mark.parametrize("task", TASKS)
def test_the_compact_rendering_loses_its_middle_in_its_own_words(task: str) -> None:
    """Cut to two thirds; the evidence of retrieval stays, and what is left is of the language."""
    record = generate(task, 900, 4, 3, COMPACT)
    short = truncate_middle(record, 600, lambda text: len(text.split()))
    words = short.context.split()
    assert len(words) <= 600
    language.encode(words)
    cut = set(short.about.get("evidence_cut", ()))
    assert not cut or task not in RETRIEVAL
    for i, (before, after) in enumerate(zip(record.turns, short.turns, strict=True)):
        kept = [short.context[a:b] for a, b in after.evidence]
        assert ([record.context[a:b] for a, b in before.evidence] == kept) == (i not in cut)


def test_truncation_leaves_short_records_and_cuts_evidence_only_where_it_must() -> None:
    record = generate("qa_english", 2000, 4)
    assert truncate_middle(record, 2000) is record
    tiny = truncate_middle(record, 40)
    assert count_tokens(tiny.context) <= 40
    assert tiny.about["evidence_cut"]
    with pytest.raises(Invalid, match="leaves nothing"):
        truncate_middle(record, 0)


def test_answers_have_the_published_limits() -> None:
    mixed = generate("repoqa_kv", 3000, 4)
    assert [new_tokens(mixed, turn) for turn in mixed.turns] == [1024, 80, 1024, 80]
    needles = generate("summary_needles", 3000, 4)
    assert [new_tokens(needles, turn) for turn in needles.turns] == [800, 15, 800, 15]
    kv = generate("kv", 1000, 1)
    assert new_tokens(kv, kv.turns[0]) == 150
