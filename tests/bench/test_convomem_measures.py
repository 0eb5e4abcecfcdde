"""ConvoMem's judges, readers, answerers and rows: what is right, what a limited reader loses, what each way reads, and what may be compared."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mnemos
from mnemos.base.errors import Invalid, NotFound
from mnemos.base.protocols import Message
from mnemos.bench.convomem import checks, judges, real_abstention
from mnemos.bench.convomem.answerers import (
    FRAME_TOKENS,
    Answerer,
    Blocks,
    Extracted,
    LongContext,
    MemorySystem,
    Policy,
    Retrieval,
    Usage,
    survivors_of,
)
from mnemos.bench.convomem.capacity import READER_ERRORS, CapacityReader, Curve, draw
from mnemos.bench.convomem.cases import items_of, standard_case
from mnemos.bench.convomem.chat_reader import ChatReader
from mnemos.bench.convomem.grammar import NO_INFORMATION
from mnemos.bench.convomem.measuring import POLICY, TOP_5, WHOLE, conversation_tokens, readers, trials
from mnemos.bench.convomem.personas import Persona, Settings, rubric
from mnemos.bench.convomem.ranking import Ranking
from mnemos.bench.convomem.reader import ExactReader
from mnemos.bench.convomem.real import UNANSWERABLE, locomo_cases, longmemeval_cases
from mnemos.bench.convomem.rows import Trial, accuracy, cost_of, crossing, crossover_report, difference, is_weak, rows_of
from mnemos.bench.convomem.schema import EvidenceItem
from mnemos.bench.datasets import data_folder
from mnemos.bench.locomo import CATEGORIES
from mnemos.text.reading_costs import Prices
from mnemos.text.reading_policy import ReadPolicy
from mnemos.text.refusal import RefusalGate
from mnemos.text.tokens import count_tokens

SETTINGS = Settings(0, 16, 24, fillers=60)


def item(category: str, answer: str) -> EvidenceItem:
    return EvidenceItem("q", answer, (), (), category)


# -- judges --
@pytest.mark.parametrize(
    ("category", "gold", "answer", "right"),
    [
        ("user_facts", "teal", "It is Teal.", True),
        ("user_facts", "teal", "It is tealish.", False),
        ("user_facts", "a tent; maps", "maps; a tent", True),
        ("user_facts", "a tent; maps", "You bought maps and a tent", True),
        ("user_facts", "a tent; maps", "maps", False),
        ("user_facts", "a tent; maps", "maps; a tent; chalk", False),  # one too many
        ("user_facts", "teal", "You never told me whether it is teal.", False),
        ("changing_facts", "now teal; before red", "now teal; before red", True),
        ("changing_facts", "now teal; before red", "now red; before teal", False),
        ("preferences", rubric(["quiet", "cheap"]), "A cheap and quiet one", True),
        ("preferences", rubric(["quiet", "cheap"]), "A quiet one", False),
        ("preferences", rubric(["quiet", "cheap"]), "A cheap, quiet, lively one", False),  # names the opposite, too
        ("implicit_connections", rubric(["without nuts"]), "Risotto without nuts", True),
        ("temporal", "12 March 2024", "On March 12, 2024", True),
        ("temporal", "12 March 2024", "2024-03-12", True),
        ("temporal", "12 March 2024", "the 12th of March 2024", True),
        ("temporal", "12 March 2024", "13 March 2024", False),
        ("temporal", "7 days", "a week", True),
        ("temporal", "7 days", "seven days", True),
        ("temporal", "14 days", "two weeks", True),
        ("temporal", "7 days", "8 days", False),
        ("temporal", "7 days", "I do not know", False),
        ("temporal", "a; b; c", "a; b; c", True),
        ("temporal", "a; b; c", "a; c; b", False),
        ("temporal", "a; b; c", "a; c", False),
        ("abstention", NO_INFORMATION, "You haven't mentioned that.", True),
        ("abstention", NO_INFORMATION, "There is no information about it", True),
        ("abstention", NO_INFORMATION, "I don't know.", True),
        ("abstention", NO_INFORMATION, "It is blue.", False),
    ],
)
def test_judges(category: str, gold: str, answer: str, right: bool) -> None:
    assert judges.right(item(category, gold), answer) is right


@given(st.sampled_from(["user_facts", "temporal", "preferences", "abstention"]), st.text(max_size=60), st.text(max_size=60))
def test_judges_take_anything(category: str, gold: str, answer: str) -> None:
    assert judges.right(item(category, gold), answer) in (True, False)


# -- the limited reader --
def test_the_curve_is_that_of_its_points() -> None:
    curve = Curve.of(READER_ERRORS, 400)
    assert curve.at(400) == pytest.approx(0.05)
    assert curve.at(1) == pytest.approx(0.05)
    assert curve.at(60_000) == pytest.approx(0.18)
    assert curve.at(600_000) > 0.18
    assert curve.at(1e30) <= 1
    with pytest.raises(Invalid):
        Curve.of(READER_ERRORS[:1], 400)


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_draw_depends_on_its_parts_alone(a: str, b: str) -> None:
    assert draw(a, b) == draw(a, b)
    assert 0 <= draw(a, b) < 1


def test_the_limited_reader_errs_as_calibrated_and_ever_more() -> None:
    """Over the questions of 8 personas: the share of wrong answers after one prompt of each size is the curve's, within its noise."""
    wrong = {size: [0, 0] for size in (1, 150)}
    for number in range(8):
        persona = Persona(number, Settings(0, 16, 24, fillers=10))
        reader, _ = readers(persona)
        tokens = conversation_tokens(persona)
        for one in items_of(persona):
            if one.category != "abstention":
                outcomes = []
                for size, counts in wrong.items():
                    pieces = reader.extract(one.question, list(enumerate(one.conversations)), int(size * tokens))
                    good = judges.right(one, reader.answer(one.question, pieces, int(size * tokens)).text)
                    counts[0] += not good
                    counts[1] += 1
                    outcomes.append(good)
                assert outcomes[0] >= outcomes[1]  # what is right in a long prompt is right in a short one
    shares = {size: bad / n for size, (bad, n) in wrong.items()}
    assert shares[1] == pytest.approx(0.05, abs=0.04)
    assert shares[150] == pytest.approx(0.18, abs=0.06)


def test_inventions_quote_what_was_said_of_something_else_or_never() -> None:
    gate, quoted, fabricated = RefusalGate(), 0, 0
    for number in range(6):
        persona = Persona(number, SETTINGS)
        curve = Curve((1, 2), (1.0, 1.0))
        reader = CapacityReader(Curve((1, 2), (0.0, 0.0)), curve, persona.id)
        for count in range(1, 7):
            case = standard_case(persona.item("abstention", count, count), persona, 30)
            system = LongContext(reader)
            system.history = list(case.conversations)
            answer = system.answer(case.evidence_items[0].question)
            if not judges.abstained(answer.text):
                quoted += bool(answer.evidence_ids)
                fabricated += not answer.evidence_ids
                gated = LongContext(reader, gate)
                gated.history = list(case.conversations)
                assert judges.abstained(gated.answer(case.evidence_items[0].question).text)
    assert min(quoted, fabricated) >= 8


# -- answerers --
@pytest.fixture(scope="module")
def persona() -> Persona:
    return Persona(8, SETTINGS)


def asked_of(system: Answerer, case: object) -> object:
    system.reset()
    for conversation in case.conversations:  # type: ignore[attr-defined]
        system.add(conversation)
    return system.answer(case.evidence_items[0].question)  # type: ignore[attr-defined]


def test_every_way_answers_with_the_exact_reader_what_it_puts_before_it(persona: Persona) -> None:
    reader = ExactReader()
    with Ranking() as ranking:
        systems: list[Answerer] = [LongContext(reader), Blocks(reader), Extracted(reader), Retrieval(reader, ranking=ranking, k=None),
                                   Policy(reader, ranking=ranking)]  # fmt: skip
        for system in systems:
            assert isinstance(system, MemorySystem)
            for category in ("user_facts", "temporal", "abstention"):
                case = standard_case(persona.item(category, 1, 0), persona, 12)
                answer = asked_of(system, case)
                assert judges.right(case.evidence_items[0], answer.text), (system, category)  # type: ignore[attr-defined]
                if category != "abstention":
                    assert len(answer.evidence_ids) == 1  # type: ignore[attr-defined]
                    place = [int(part) for part in answer.evidence_ids[0].split(":")]  # type: ignore[attr-defined]
                    assert case.conversations[place[0]].messages[place[1]] == case.evidence_items[0].message_evidences[0]


def test_usage_adds_up(persona: Persona) -> None:
    reader, case = ExactReader(), standard_case(persona.item("user_facts", 3, 2), persona, 25)
    question = count_tokens(case.evidence_items[0].question)
    whole = asked_of(LongContext(reader), case).usage  # type: ignore[attr-defined]
    assert (whole.reader_in, whole.helper_in, whole.calls, whole.cached) == (case.tokens + FRAME_TOKENS + question, 0, 1, case.tokens)
    blocks = asked_of(Blocks(reader), case).usage  # type: ignore[attr-defined]
    assert blocks.helper_in == case.tokens + 3 * (FRAME_TOKENS + question)
    assert blocks.calls == 4
    assert blocks.reader_in < whole.reader_in / 5
    assert blocks + Usage(reader_in=1) == replace(blocks, reader_in=blocks.reader_in + 1)
    assert blocks.read == blocks.reader_in + blocks.helper_in


def test_blocks_without_anything_abstain(persona: Persona) -> None:
    system = Blocks(ExactReader())
    system.history = list(persona.fillers[:20])
    answer = system.answer(persona.item("temporal", 2, 4).question)
    assert judges.abstained(answer.text)
    assert answer.usage.calls == 2  # two blocks, no synthesis


def test_the_policy_reads_everything_then_searches_and_never_exceeds_its_budget(persona: Persona) -> None:
    reader = ExactReader()
    fact, advice = persona.item("user_facts", 1, 0), persona.item("implicit_connections", 2, 1)
    with Ranking() as ranking:
        chosen = {(one.category, size): asked_of(Policy(reader, ranking=ranking), standard_case(one, persona, size)).policy  # type: ignore[attr-defined]
                  for one in (fact, advice) for size in (10, 60)}  # fmt: skip
        assert chosen["user_facts", 10] == chosen["implicit_connections", 10] == "exhaustive"
        assert (chosen["user_facts", 60], chosen["implicit_connections", 60]) == ("retrieve", "exhaustive")
        for budget in (300, 1_000, 5_000, 30_000):
            for one in (fact, advice, persona.item("user_facts", 6, 5)):
                policy = ReadPolicy(budget_tokens=budget, hit_tokens=25)
                usage = asked_of(Policy(reader, ranking=ranking, policy=policy), standard_case(one, persona, 60)).usage  # type: ignore[attr-defined]
                assert usage.read <= budget


def test_survivors_are_the_conversations_of_the_best_hits_as_far_as_they_fit(persona: Persona) -> None:
    one = persona.item("user_facts", 4, 3)
    case = standard_case(one, persona, 40)
    numbered = list(enumerate(case.conversations))
    with Ranking() as ranking:
        ranked = ranking.rank(one.question, case.conversations, 80)
    everything = survivors_of(ranked, numbered, 10**9)
    assert [number for number, _ in everything] == sorted(number for number, _ in everything)
    assert set(one.conversations) <= {conversation for _, conversation in everything}
    few = survivors_of(ranked, numbered, 2_000)
    assert 0 < sum(conversation.tokens for _, conversation in few) <= 2_000


class Quoter:
    """A model that quotes what says "bought" and answers with what its first quote says."""

    fingerprint = "quoter"

    def __init__(self) -> None:
        self.batches: list[int] = []

    def complete(
        self, conversations: Sequence[Sequence[Message]], *, schema: Mapping[str, Any] | None = None, max_tokens: int | None = None
    ) -> list[str]:
        self.batches.append(len(conversations))
        out = []
        for conversation in conversations:
            turns = [json.loads(line) for line in conversation[-1]["content"].splitlines() if line.startswith('{"')]
            quotes = [turn for turn in turns if "for the" in turn["text"] and "I bought" in turn["text"]]
            answer = {"known": bool(quotes), "answer": quotes[0]["text"] if quotes else "", "rests_on": [turn["id"] for turn in quotes[:1]]}
            told = {"quotes": [{"id": turn["id"], "text": turn["text"]} for turn in quotes]}
            out.append(json.dumps(answer if "The quotes:" in conversation[-1]["content"] else told))
        return out


def test_a_language_model_can_be_the_reader_and_the_helper(persona: Persona) -> None:
    chat = Quoter()
    system = Blocks(ChatReader(chat))
    system.history = list(persona.fillers[:25])
    answer = system.answer("What have I bought for the jazz fair? List everything.")
    assert "I bought" in answer.text
    assert chat.batches == [3, 1]  # three blocks at once, one synthesis
    number, at = map(int, answer.evidence_ids[0].split(":"))
    assert system.history[number].messages[at].text == answer.text


def test_a_language_model_reads_everything_in_one_prompt(persona: Persona) -> None:
    chat = Quoter()
    system = LongContext(ChatReader(chat))
    system.history = list(persona.fillers[:25])
    assert "I bought" in system.answer("What have I bought for the jazz fair? List everything.").text
    assert chat.batches == [1]


def test_a_language_model_that_knows_nothing_abstains(persona: Persona) -> None:
    reader = ChatReader(Quoter())
    assert not reader.answer("Where was I born?", [], 0).known
    assert judges.abstained(reader.answer("Where was I born?", [], 0).text)


# -- rows --
def made(number: int, right: bool, method: str = WHOLE, size: int = 10, history: int | None = None) -> Trial:
    whose = f"h{number % 25 if history is None else history}"
    usage = Usage(100 * size, 10, cached=90 * size)
    return Trial(f"i{number}", whose, "user_facts", 1 + number % 6, size, method, right, right, True, True, usage, 0.01, 100 * size)


def test_rows_say_what_they_rest_on() -> None:
    rng = np.random.default_rng(0)
    rows = rows_of([made(i, i % 5 > 0) for i in range(300)], Prices(), rng)
    (whole,) = [row for row in rows if (row.category, row.evidence) == ("all", "all")]
    assert (whole.n, whole.histories, whole.weak) == (300, 25, False)
    assert whole.accuracy == pytest.approx(0.8)
    assert whole.low < 0.8 < whole.high
    assert whole.cost == pytest.approx(cost_of(Usage(1000, 10), Prices()))
    assert next(row for row in rows if row.evidence == "1").weak  # 50 of them
    assert {row.evidence for row in rows} == {"1", "2", "3–6", "all"}
    assert whole.as_dict()["context_size"] == 10


def test_intervals_cluster_by_history() -> None:
    """The same answers from fewer histories say less."""
    rng = np.random.default_rng(0)
    spread = [made(i, i % 10 < 8) for i in range(300)]
    alike = [made(i, i // 12 % 5 > 0, history=i // 12) for i in range(300)]  # whole histories right or wrong
    wide, narrow = (accuracy(trials, rng) for trials in (alike, spread))
    assert wide.value == narrow.value
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


@pytest.mark.parametrize(("n", "histories", "weak"), [(246, 20, False), (245, 20, True), (246, 19, True), (5000, 3, True)])
def test_weak_cells(n: int, histories: int, weak: bool) -> None:
    assert is_weak(n, histories) is weak


def test_weak_cells_and_unlike_ones_are_not_compared() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = ([made(i, i % 4 > 0, method) for i in range(300)] for method in (WHOLE, TOP_5))
    assert difference(ours, theirs, rng).value == 0
    with pytest.raises(Invalid, match="too weak"):
        difference(ours[:100], theirs[:100], rng)
    with pytest.raises(Invalid, match="same items"):
        difference(ours, theirs[:-1], rng)


def test_a_cache_is_paid_as_a_cache() -> None:
    prices = Prices(read=1, cached=0.1, write=0, helper_read=0.5, helper_write=0)
    assert cost_of(Usage(1000, 0, cached=800), prices, 1.0) * 1e6 == pytest.approx(200 + 80)
    assert cost_of(Usage(100, 0, helper_in=1000, cached=1000), prices) * 1e6 == pytest.approx(600)


def test_curves_cross_where_they_do() -> None:
    sizes = [1.0, 10.0, 100.0]
    assert crossing(sizes, sizes, [1, 2, 12], [2, 4, 4]).conversations == pytest.approx(10 + 90 * 2 / 10)
    assert crossing(sizes, sizes, [3, 4, 5], [2, 2, 2]).conversations == 1
    assert math.isnan(crossing(sizes, sizes, [1, 1, 1], [2, 2, 2]).conversations)
    alike = [made(i, True, method, size) for i in range(260) for size in (10, 30) for method in (WHOLE, TOP_5)]
    rows = rows_of(alike, Prices(), np.random.default_rng(0))
    report = crossover_report(rows, WHOLE, [TOP_5])[TOP_5]
    assert math.isnan(report["dearer from"])  # equally dear everywhere
    assert math.isnan(report["fewer right from"])


# -- the run, in small --
def test_a_small_run_shows_what_the_paper_shows() -> None:
    found = list(trials(Settings(0, 16, 24, fillers=150), [0], [6, 150], lambda _: None))
    by = {method: [trial for trial in found if trial.method == method] for method in (WHOLE, TOP_5, POLICY)}
    assert len(by[WHOLE]) == 41 * 2
    several = {method: np.mean([trial.right for trial in part if trial.evidence >= 3]) for method, part in by.items()}
    assert several[WHOLE] - several[TOP_5] >= 0.2
    large = {method: [trial for trial in part if trial.size == 150] for method, part in by.items()}
    assert np.mean([trial.right_gated for trial in large[POLICY]]) >= np.mean([trial.right_gated for trial in large[WHOLE]]) - 0.05
    assert sum(trial.usage.read for trial in large[POLICY]) < 0.6 * sum(trial.usage.read for trial in large[WHOLE])
    assert not any(trial.claimed_gated for trial in large[WHOLE] if trial.category == "abstention")


@pytest.mark.parametrize("check", [lambda: checks.invariants(SETTINGS, [2]), lambda: checks.labels(SETTINGS, 12, lambda _: None)])
def test_the_checks_hold_in_small(check: object) -> None:
    for found in check():  # type: ignore[operator]
        assert found.holds, found


# -- real conversations --
@pytest.fixture(scope="module")
def folder() -> object:
    try:
        return data_folder()
    except NotFound:
        pytest.skip("the evaluation data is not here")


def test_locomo_is_named_by_what_is_in_its_data(folder: object) -> None:
    """1 is multi-hop and 4 single-hop, however the paper's adapter names them: most of 1 rests on several turns, most of 4 on one."""
    cases = list(locomo_cases(folder))  # type: ignore[arg-type]
    assert CATEGORIES == {1: "multi-hop", 2: "temporal", 3: "open-domain", 4: "single-hop", 5: "adversarial"}
    several = {name: np.mean([case.evidence_items[0].evidence_count > 1 for case in cases if case.evidence_items[0].category == name])
               for name in CATEGORIES.values()}  # fmt: skip
    assert several["multi-hop"] > 0.8 > 0.1 > several["single-hop"]
    temporal = [case.evidence_items[0].question for case in cases if case.evidence_items[0].category == "temporal"]
    assert np.mean([question.lower().startswith(("when", "how long", "what date", "which")) for question in temporal]) > 0.7
    for case in cases[::97]:
        one = case.evidence_items[0]
        said = {id(message) for conversation in one.conversations for message in conversation.messages}
        assert all(id(message) in said for message in one.message_evidences)
        assert set(one.conversations) <= set(case.conversations)
        assert len(case.conversations) == case.context_size > 5


def test_longmemeval_is_read_in_order_of_time(folder: object) -> None:
    cases = list(longmemeval_cases(folder))  # type: ignore[arg-type]
    assert sum(case.evidence_items[0].category in UNANSWERABLE for case in cases) == 16
    assert len(cases) == 251
    full = next(longmemeval_cases(folder, full=True))  # type: ignore[arg-type]
    assert full.context_size == len(full.conversations) > 30
    assert set(full.evidence_items[0].conversations) < set(full.conversations)


def test_a_stricter_gate_answers_less_of_real_conversations(folder: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real_abstention, "ANSWERABLE", 12)
    monkeypatch.setattr(real_abstention, "LIKELY", (0.9,))
    monkeypatch.setattr(real_abstention.longmemeval, "SESSIONS", 3)
    found, table = real_abstention.measure(folder, np.random.default_rng(0), lambda _: None)  # type: ignore[arg-type]
    for column in ("unanswerable answered", "with another noun answered", "answerable answered", "answered rightly"):
        shares = [table[name][column] for name in ("open", "default", "0.9")]
        assert shares == sorted(shares, reverse=True)
    assert table["open"]["unanswerable answered"] > 0.6 > table["default"]["unanswerable answered"]
    assert table["0.9"]["unanswerable answered"] == 0
    assert [check.threshold for check in found] == [0.10, None, 0.05]


def test_the_bar_that_an_answer_passes_is_where_the_gate_refuses_it() -> None:
    with mnemos.open(":memory:", embedder="none") as memory:
        space = memory.space("s")
        space.add_many([{"text": "I moved to Lisbon in May.", "author": "user"}, {"text": "The hall clock is red.", "author": "user"}])
        text, likely = real_abstention.unrefused(space, "Where did I move in May?")
        assert (text, space.answer("Where did I move in May?", gate=RefusalGate(likely=likely)).text) == ("Lisbon", "Lisbon")
        assert not space.answer("Where did I move in May?", gate=RefusalGate(likely=likely + 0.001))
        assert real_abstention.unrefused(space, "What should I cook?") in (("", -1.0), (space.answer("What should I cook?").text, 1.0))
