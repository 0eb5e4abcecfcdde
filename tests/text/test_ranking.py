"""Questions analysed, neighbours, ranking, and how much to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos.base.clock import to_micros
from mnemos.index.lexical import LexicalIndex
from mnemos.index.terms import pack_terms
from mnemos.text.question import analyse
from mnemos.text.ranking import GROUPS, Rows, author_codes, evidence, links, own_evidence, rank, top
from mnemos.text.reading import read
from mnemos.text.recipe import DEFAULT, WORDS_ONLY, Recipe
from mnemos.text.threads import Threads

AT = to_micros("2023-05-25T13:14:00")
assert AT is not None
DAY = 86_400_000_000
Turn = tuple[str, str | None, int]
CHAT: list[Turn] = [
    ("Hi Ann, how was your week?", "Ben", 0),
    ("Busy! I adopted a puppy yesterday.", "Ann", 0),
    ("What did you call him?", "Ben", 0),
    ("Biscuit, after my grandmother's cookies.", "Ann", 0),
    ("I adopted a new diet, ha.", "Ben", 1),
    ("In March 2021 I moved to Lisbon.", "Ann", 1),
    ("Lisbon is lovely in spring.", "Ben", 1),
    ("I pay 800 euros of rent there.", "Ann", 1),
]


def space(turns: Sequence[Turn], at: int = AT) -> tuple[Rows, LexicalIndex, list[str]]:
    lexical = LexicalIndex()
    lexical.append([pack_terms(text) for text, _, _ in turns])
    authors, names = author_codes([author for _, author, _ in turns])
    times = np.array([at + thread * 7 * DAY for *_, thread in turns], dtype=np.int64)
    readings = [read(text, author=author, event_at=int(t)) for (text, author, _), t in zip(turns, times, strict=True)]
    moments = [(row, *pair) for row, r in enumerate(readings) for pair in np.frombuffer(r.moments, "<i8").reshape(-1, 2).tolist()]
    rows = Rows(
        np.array([thread for *_, thread in turns], dtype=np.int32),
        authors,
        times,
        np.array([r.flags for r in readings], dtype=np.int64),
        np.array(moments, dtype=np.int64).reshape(-1, 3),
    )
    return rows, lexical, names


def best(question: str, turns: Sequence[Turn] = CHAT, now: int | None = None, **kwargs: object) -> str:
    rows, lexical, names = space(turns)
    ranking = rank(analyse(question, names, now), rows, lexical, **kwargs)  # type: ignore[arg-type]
    return turns[int(top(ranking.scores, 1)[0])][0]


# -- questions --
@pytest.mark.parametrize(
    ("text", "authors", "voiced", "words"),
    [
        ("What did Melanie's sister paint?", ["Melanie", "Bo"], "What did my sister paint?", ("sister", "paint")),
        ("what did melanie paint?", ["Melanie"], "what did I paint?", ("paint",)),
        ("Does Kirsty Williams agree?", ["Kirsty Williams AM", "Huw Morris"], "Does I agree?", ("agree",)),
        ("How is the user interface?", ["User Interface"], "How is the user interface?", ("user", "interface")),
        ("What did the user say?", ["user", "assistant"], "What did the user say?", ("user", "say")),
        ("Melanie?", ["Melanie"], "I?", ("melanie",)),
    ],
)
def test_authors_are_found_and_given_their_voice(text: str, authors: list[str], voiced: str, words: tuple[str, ...]) -> None:
    question = analyse(text, authors)
    assert question.voiced == voiced
    assert question.terms.words == words
    assert bool(question.named.any()) == (voiced != text)


@pytest.mark.parametrize(
    ("text", "authors", "about"),
    [
        ("Which instrument does Sofia play?", [], ("sofia",)),
        ("Which instrument does Sofia play?", ["Sofia"], ()),
        ("Which instrument does sofia play? Maybe two.", [], ()),
        ("Who wrote about New  Zealand?", [], ("new", "zealand")),
    ],
)
def test_names_inside_a_sentence_are_what_a_question_is_about(text: str, authors: list[str], about: tuple[str, ...]) -> None:
    assert analyse(text, authors).about.words == about


def test_rows_about_whom_the_question_names_gain_on_those_about_others() -> None:
    turns: list[Turn] = [("Ada plays the harp.", "Kim", 0), ("Bea plays the harp.", "Kim", 1), ("Sofia took up the banjo.", "Kim", 2)]
    rows, lexical, names = space(turns)
    asked = analyse("What does Sofia play?", names)
    plain, named = (rank(asked, rows, lexical, recipe=replace(WORDS_ONLY, about=about)).scores for about in (0.0, WORDS_ONLY.about))
    assert named[2] - named[0] > plain[2] - plain[0] + 0.5
    hidden = np.array([True, True, False])
    assert rank(asked, rows, lexical, allowed=hidden).scores[0] == rank(asked, *space(turns[:2])[:2]).scores[0]


def test_roles_and_cues() -> None:
    mine = analyse("When did I say that?", ["user", "assistant"])
    assert mine.users.tolist() == [1, 0, 0]
    assert mine.asks_when
    yours = analyse("What did you recommend to me?", ["user", "assistant"])
    assert (yours.users.tolist(), yours.assistants.tolist()) == ([0, 0, 0], [0, 1, 0])
    asked = analyse("Can you recommend a lens for my camera?", ["user", "assistant"])
    assert (asked.users.tolist(), asked.assistants.tolist()) == ([1, 0, 0], [0, 0, 0])
    assert analyse("How many books did we list in May 2023?").asks_amount
    assert analyse("What in May 2023?").intervals.tolist() == [[to_micros("2023-05-01"), to_micros("2023-06-01")]]
    assert len(analyse("What happened last week?").intervals) == 0
    assert len(analyse("What happened last week?", now=AT).intervals) == 1


@given(st.text(st.characters(codec=None)), st.lists(st.text(max_size=12), max_size=5, unique=True), st.none() | st.integers(-(2**63), 2**63 - 1))
def test_any_question_is_analysed(text: str, authors: list[str], now: int | None) -> None:
    question = analyse(text, authors, now)
    assert question.named.shape == (len(authors) + 1,)
    assert len(question.terms.hashes) == len(question.terms.words)


# -- threads --
@given(st.lists(st.integers(-1, 3), min_size=1, max_size=30), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_neighbours_are_those_of_the_thread(thread: list[int], reach: int, seed: int) -> None:
    values = np.random.default_rng(seed).random(len(thread)).astype(np.float32)
    threads = Threads(np.array(thread, dtype=np.int32))
    arranged = threads.arrange(values)
    results = [threads.restore(f(arranged, reach)) for f in (threads.before, threads.after, threads.mean, threads.peak)]
    for row, own in enumerate(thread):
        mates = [row] if own < 0 else [i for i, other in enumerate(thread) if other == own]
        at = mates.index(row)
        near = values[mates[max(0, at - reach) : at + reach + 1]]
        expected = [values[mates[at - reach]] if at >= reach else 0, values[mates[at + reach]] if at + reach < len(mates) else 0]
        assert [result[row] for result in results] == pytest.approx([*expected, near.mean(), near.max()], rel=1e-5)


# -- ranking --
@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What did Ann adopt?", CHAT[1][0]),
        ("What did Ben adopt?", CHAT[4][0]),
        ("When did Ann move to Lisbon?", CHAT[5][0]),
        ("How much rent does Ann pay?", CHAT[7][0]),
    ],
)
def test_words_neighbours_speaker_and_time_find_the_turn(question: str, answer: str) -> None:
    assert best(question) == answer


@pytest.mark.parametrize("question", ["What did Ann call him?", "What did Ann call her puppy?"])
def test_a_reply_that_shares_no_word_with_the_question_is_found_beside_what_it_answers(question: str) -> None:
    rows, lexical, names = space(CHAT)
    assert 3 in top(rank(analyse(question, names), rows, lexical).scores, 2).tolist()


def test_meaning_finds_what_words_do_not() -> None:
    dense = np.array([0.1, 0.1, 0.1, 0.1, 0.7, 0.1, np.nan, 0.1], dtype=np.float32)
    assert best("nutrition habits", dense=dense) == CHAT[4][0]


def test_a_time_in_the_question_prefers_what_was_said_then() -> None:
    turns: list[Turn] = [("We cooked soup.", "Ann", 0), ("We cooked soup.", "Ann", 1)]
    assert top(rank(analyse("soup on 25 May 2023?"), *space(turns)[:2]).scores, 1).tolist() == [0]
    assert top(rank(analyse("soup on 1 June 2023?"), *space(turns)[:2]).scores, 1).tolist() == [1]
    assert top(rank(analyse("soup last week?", now=AT + 7 * DAY), *space(turns)[:2]).scores, 1).tolist() == [0]


def test_signals_sum_to_the_score() -> None:
    rows, lexical, names = space(CHAT)
    ranking = rank(analyse("When did Ann adopt a puppy?", names), rows, lexical)
    signals = ranking.signals(np.arange(len(CHAT)))
    assert tuple(signals) == GROUPS
    assert np.sum(list(signals.values()), axis=0) == pytest.approx(ranking.scores, abs=1e-4)
    assert signals["speaker"][1] > 0


@settings(deadline=None)
@given(st.data())
def test_rows_that_are_not_allowed_do_not_bear_on_the_result(data: st.DataObject) -> None:
    words = st.sampled_from(["red", "blue", "dog", "cat?", "yesterday", "7", "Ann", "I", "the"])
    turn = st.tuples(st.lists(words, max_size=5).map(" ".join), st.sampled_from(["Ann", "Ben", None]), st.integers(-1, 2))
    turns = data.draw(st.lists(turn, min_size=1, max_size=12))
    allowed = np.array(data.draw(st.lists(st.booleans(), min_size=len(turns), max_size=len(turns))))
    cosines = st.sampled_from([-0.5, 0.0, 0.25, 1.0, np.nan])
    dense = np.array(data.draw(st.lists(cosines, min_size=len(turns), max_size=len(turns))), dtype=np.float32)
    question = analyse(data.draw(st.lists(words, max_size=4).map(" ".join)) + " when 24 May 2023", ["Ann", "Ben"])
    rows, lexical, _ = space(turns)
    chosen = np.flatnonzero(allowed)
    kept, other, _ = space([turns[i] for i in chosen])
    new = np.cumsum(allowed) - 1
    moments = rows.moments[allowed[rows.moments[:, 0]]]
    kept = Rows(rows.thread[chosen], rows.author[chosen], rows.event_at[chosen], rows.flags[chosen],
                np.column_stack([new[moments[:, 0]], moments[:, 1:]]))  # fmt: skip
    mine = rank(question, rows, lexical, dense, allowed)
    expected = rank(question, kept, other, dense[chosen])
    assert np.isneginf(mine.scores[~allowed]).all()
    assert mine.scores[chosen] == pytest.approx(expected.scores, abs=1e-3)
    assert set(top(mine.scores, len(turns)).tolist()) == set(chosen.tolist())


def test_a_large_space_is_weighed_where_it_matters_and_ranks_the_same_at_the_top() -> None:
    rng = np.random.default_rng(3)
    filler = [f"w{i}" for i in range(400)]
    turns: list[Turn] = [(" ".join(rng.choice(filler, 8)), ("Ann", "Ben")[i % 2], i // 20) for i in range(3000)]
    for at in (50, 1500, 2900):
        turns[at] = (f"my zebra {at} sleeps in the barn", "Ann", at // 20)
    rows, lexical, names = space(turns)
    dense = rng.normal(0, 0.1, len(turns)).astype(np.float32)
    question = analyse("Where does Ann's zebra sleep?", names)
    whole = rank(question, rows, lexical, dense, None, Recipe(weighed_rows=10**6))
    part = rank(question, rows, lexical, dense, None, Recipe(weighed_rows=100, seeds=20))
    assert set(top(part.scores, 3).tolist()) == {50, 1500, 2900}
    assert top(part.scores, 3).tolist() == top(whole.scores, 3).tolist()
    assert len(part.weighed) < 2200
    assert np.isfinite(part.scores).all()
    assert part.scores[part.weighed].min() >= np.delete(part.scores, part.weighed).max()
    assert part.signals(np.setdiff1d(np.arange(3000), part.weighed)[:1])["words"].tolist() == [0]


def test_nothing_to_rank() -> None:
    rows, lexical, _ = space([])
    assert rank(analyse("x"), rows, lexical).scores.shape == (0,)
    rows, lexical, _ = space(CHAT)
    none = rank(analyse("x"), rows, lexical, None, np.zeros(len(CHAT), dtype=bool))
    assert top(none.scores, 5).tolist() == []
    assert len(top(rank(analyse(""), rows, lexical).scores, 99)) == len(CHAT)


def test_every_weight_weighs_a_piece_of_evidence_and_every_piece_has_one() -> None:
    chat: list[Turn] = [("Rome\nThe city.", "user", 0), *CHAT, ("Here are 3 ideas for you.", "assistant", 1)]
    rows, lexical, names = space(chat)
    seen: set[str] = set()
    for text in ("When did Ann move in March 2021, and how many euros?", "Which city did I like? Rome?", "What did you tell me?"):
        question = analyse(text, names, AT)
        near = own_evidence(question, rows, lexical, np.linspace(0, 1, len(chat), dtype=np.float32), None, DEFAULT)
        seen |= {name for _, name, _ in evidence(question, rows, lexical, near, DEFAULT)}
        seen |= {name for name, _ in links(question, near.words, lexical, None, near, DEFAULT)}
    assert seen == {field.name for field in fields(Recipe) if field.type == "float"}


def test_rows_hold_a_question_together() -> None:
    rows, lexical, _ = space([("I saw a heron", "Ann", 0), ("in Lisbon", "Ben", 0), ("at dawn", "Ann", 0), ("a heron in Lisbon", "Ben", 1)])
    near = own_evidence(analyse("heron Lisbon dawn"), rows, lexical, None, None, DEFAULT)
    whole, pair = near.together(4), near.together(1)
    assert whole[:3].tolist() == pytest.approx([1, 1, 1])
    assert pair[1] == pytest.approx(1)
    assert pair[0] == pair[3] == near.together(0)[3] == near.coverage[3] < 1
    assert near.together(0).tolist() == pytest.approx(near.coverage.tolist())


def test_where_words_fail_meaning_decides() -> None:
    rows, lexical, names = space(CHAT)
    cosines = np.full(len(CHAT), 0.1, dtype=np.float32)
    cosines[3] = 0.6
    scores = rank(analyse("Quel est le nom du chien ?", names), rows, lexical, cosines).scores
    assert scores.argmax() == 3
    assert scores[3] - np.delete(scores, 3).max() > 1


@pytest.mark.parametrize(
    ("span", "started"),
    [
        (None, "2026-10-01"),  # nothing has a time
        (("2023-01-01", "2023-05-25"), "2023-04-01"),  # an old conversation: its last month
        (("2023-01-01", "2026-10-30"), "2026-10-01"),  # one that goes on: the month before this one
        (("2023-01-01", "2026-10-02"), "2026-10-01"),  # one at rest that the real last month still touches
    ],
)
def test_a_question_to_an_old_conversation_speaks_of_its_time(span: tuple[str, str] | None, started: str) -> None:
    now, ends = to_micros("2026-11-25"), None if span is None else (to_micros(span[0]) or 0, to_micros(span[1]) or 0)
    assert analyse("What did I read last month?", (), now, ends).intervals[0, 0] == to_micros(started)
    assert analyse("What did I read in March 2021?", (), now, ends).intervals[0, 0] == to_micros("2021-03-01")


def test_where_a_row_stands_is_where_its_memory_began() -> None:
    """A later version of a memory stands where the first one stood: in its thread, and among equals."""
    thread = np.array([0, 1, 0, 1, 0, 0], dtype=np.int32)
    first = np.array([0, 1, 2, 3, 4, 0])  # the last row is a later version of the first
    kept = np.array([1, 2, 3, 4, 5])
    threads = Threads(thread[kept], first[kept])
    assert threads.order is not None
    assert kept[threads.order].tolist() == [5, 2, 4, 1, 3]
    assert threads.restore(threads.arrange(np.arange(5, dtype=np.float32))).tolist() == list(range(5))
    values = threads.arrange(np.array([1, 2, 3, 4, 5], dtype=np.float32))
    assert threads.restore(threads.before(values, 1)).tolist() == [0, 5, 1, 2, 0]
    assert Threads(thread, np.arange(6)).order is not None
    assert Threads(thread, np.arange(6)).order.tolist() == Threads(thread).order.tolist()  # type: ignore[union-attr]
    scores = np.array([1, 3, 3, -np.inf, 3, 3], dtype=np.float32)
    assert top(scores, 3).tolist() == [1, 2, 4]
    assert top(scores, 3, first).tolist() == [5, 1, 2]
