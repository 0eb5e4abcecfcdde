"""The tasks: the same from the same seed, within their length, with answers that another parser of the context finds, and evidence where it says."""

from __future__ import annotations

import hashlib
from collections import Counter
from random import Random

import pytest

from mnemos.base.errors import Invalid, NotFound
from mnemos.models.reference import language, tasks
from models.reference.solver import solve

LENGTHS = (64, 200, 512, 2048)


def sessions(name: str, count: int = 6) -> list[tasks.Session]:
    return [
        tasks.make(name, length, turns, seed)
        for length in LENGTHS
        for turns in sorted({1, min(5, tasks.most_turns(name, length)), tasks.most_turns(name, length)})
        for seed in range(count)
    ]


@pytest.mark.parametrize("name", tasks.NAMES)
def test_every_answer_is_what_an_independent_parser_finds(name: str) -> None:
    for session in sessions(name):
        context = language.text(session.context)
        for turn in session.turns:
            assert solve(context, " ".join(turn.question[1:-1])) == " ".join(turn.answer[:-1]), context


@pytest.mark.parametrize("name", tasks.NAMES)
def test_a_session_keeps_its_length_its_turns_and_its_marks(name: str) -> None:
    for length in LENGTHS:
        for turns in {1, tasks.most_turns(name, length)}:
            session = tasks.make(name, length, turns, seed=2)
            words = session.words()
            assert length * 0.7 - 30 < len(words) <= length
            assert len(session.turns) == turns
            assert words[0] == language.START
            assert Counter(words)[language.QUESTION] == Counter(words)[language.ANSWER] == Counter(words)[language.END] == turns
            marks = {(turn.question[0], turn.question[-1], turn.answer[-1]) for turn in session.turns}
            assert marks == {(language.QUESTION, language.ANSWER, language.END)}
            assert len({tuple(turn.question) for turn in session.turns}) == turns or name in {"list", "rule", "chain"}


@pytest.mark.parametrize("name", tasks.NAMES)
def test_an_answer_s_words_stand_in_its_evidence_and_nowhere_else_in_the_context(name: str) -> None:
    """Of recall tasks: with the evidence taken out, the answer cannot be read anywhere."""
    for session in sessions(name, 3):
        for turn in session.turns:
            assert turn.evidence
            assert all(0 < begin < end <= len(session.context) for begin, end in turn.evidence)
            if name in {"kv", "copy", "needle", "span", "code"}:
                ((begin, end),) = turn.evidence
                assert " ".join(turn.answer[:-1]) in " ".join(session.context[begin:end])
                assert " ".join(turn.question[2:4]) in " ".join(session.context[begin:end]) or name == "code"


def test_the_prompt_of_a_turn_holds_the_true_answers_before_it() -> None:
    session = tasks.make("kv", 256, 3, seed=1)
    assert session.prompt(0) == session.context + session.turns[0].question
    assert session.prompt(2) + session.turns[2].answer == session.words()


GOLDEN = {
    "kv": "6949e7ed3cd3ef57",
    "copy": "c453eab3551595be",
    "needle": "dd5cce36d4aa3bea",
    "span": "460fb833f5c23822",
    "chain": "f45e9ace7d166586",
    "list": "e0fdcf88a8bc689e",
    "rule": "dc53225dfb34c385",
    "world": "e9044ef307a36927",
    "code": "d9e24f765e45ae55",
    "run": "21bf4c5bacdf2dc6",
}
"""The first 64 bits of the SHA-256 of five sessions of each task."""


@pytest.mark.parametrize("name", tasks.NAMES)
def test_the_same_seed_gives_the_same_session_on_every_machine(name: str) -> None:
    words = [word for seed in range(5) for word in tasks.make(name, 256, tasks.most_turns(name, 256), seed).words()]
    assert hashlib.sha256(" ".join(words).encode()).hexdigest()[:16] == GOLDEN[name]
    assert tasks.make(name, 256, 1, 7) == tasks.make(name, 256, 1, 7)
    assert tasks.make(name, 256, 1, 7) != tasks.make(name, 256, 1, 8)


def test_prefixes_and_suffixes_have_decoys() -> None:
    context = tasks.make("span", 512, 3, seed=5).context
    strings = [context[at + 1 : at + 7] for at, word in enumerate(context) if word == "span"]
    assert max(Counter(tuple(string[:2]) for string in strings).values()) > 2
    assert max(Counter(tuple(string[4:]) for string in strings).values()) > 2
    assert max(Counter((*string[:2], *string[4:]) for string in strings).values()) == 1


def test_guessing_from_the_words_alone_does_not_answer_a_rule() -> None:
    """The asked case has one column that the context does not show: only the other decides, and labels are about even."""
    guessed = 0
    for seed in range(60):
        session = tasks.make("rule", 512, 1, seed)
        labels = Counter(session.context[at + 4] for at, word in enumerate(session.context) if word == "case")
        guessed += session.turns[0].answer[0] == labels.most_common(1)[0][0]
    assert guessed < 45


def test_operands_of_a_run_come_back_after_long_gaps() -> None:
    words = tasks.make("run", 1200, 1, seed=3).turns[0].answer
    made = {words[at + 1]: at for at, word in enumerate(words) if word == "="}
    gaps = [at - made[words[at + 1]] for at, word in enumerate(words) if word in "+-"]
    assert 400 <= len(words) <= 800
    assert sum(gap > 150 for gap in gaps) >= len(gaps) / 3


def test_real_text_can_be_the_filler() -> None:
    def filler(rng: Random, count: int) -> list[str]:
        return ["sea"] * count

    session = tasks.make("needle", 256, 1, 0, filler)
    assert Counter(session.context)["sea"] > 100


@pytest.mark.parametrize(
    ("name", "length", "turns", "error"),
    [("kv", 63, 1, Invalid), ("kv", 64, 0, Invalid), ("code", 64, 2, Invalid), ("run", 512, 2, Invalid), ("no", 64, 1, NotFound)],
)
def test_what_cannot_be_made_is_refused(name: str, length: int, turns: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        tasks.make(name, length, turns, 0)
