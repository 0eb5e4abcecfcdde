"""What surrounds the metrics: timelines with a planted truth, the three settings, attribution, the judge and its audit, TREC runs, leakage."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemos.base.errors import Invalid
from mnemos.bench.evaluation import episodic, external, scoring, trec
from mnemos.bench.evaluation.attribution import AttributionRule, Evidence, Memory, attribute
from mnemos.bench.evaluation.items import Message
from mnemos.bench.evaluation.judging import ChatJudge, RuleJudge, audit, blurred, wrong_answers
from mnemos.bench.evaluation.leakage import leakage, signatures
from mnemos.bench.evaluation.planting import Planted
from mnemos.bench.evaluation.settings import Plan, Run, check_comparable, differences, run_settings
from mnemos.bench.evaluation.systems import CLOSED_BOOK, LONG_CONTEXT, ORACLE, RETRIEVAL, SETTINGS, MnemosSystem, read
from mnemos.bench.evaluation.timeline import RELATIONS, Shape, asked_about, make_history, statement
from mnemos.kernel.system import Mnemos


def rng_() -> np.random.Generator:
    return np.random.default_rng(0)


# -- timelines --
def test_a_timeline_holds_what_its_items_say() -> None:
    history = make_history("h", rng_(), Shape(sessions=8, facts=80))
    by_source = {message.source: message for message in history.messages}
    assert [m.at for m in history.messages] == sorted(m.at for m in history.messages)
    assert {item.kind for item in history.items} == {"single", "updated", "contradicted", "unknown"}
    for item in history.items:
        about = [s for m in history.messages if (s := statement(m.text)) and (s.person, s.relation) == asked_about(item.question)]
        assert all(asked_about(other) == asked_about(item.question) for other in item.paraphrases)
        if item.kind == "unknown":
            assert (item.answer, about) == (None, [])
            continue
        assert [statement(by_source[source].text).value for source in item.evidence] == [item.answer]  # type: ignore[union-attr]
        assert 0 <= item.position <= 1
        assert item.elapsed == 7 - by_source[item.evidence[0]].session
        if item.kind == "updated":
            old, new = by_source[item.stale[0]], by_source[item.evidence[0]]
            assert statement(old.text).value == item.superseded[0] != item.answer  # type: ignore[union-attr]
            assert old.at < new.at
    assert make_history("h", rng_(), Shape(sessions=8, facts=80)) == history
    assert sum(map(len, history.events.values())) == sum(statement(m.text) is not None for m in history.messages)


def test_every_pattern_is_read_back() -> None:
    for relation in RELATIONS:
        for pattern in (*relation.said, *relation.changed):
            said = statement(pattern.format(p="Nora", v=relation.values[0]))
            assert said is not None
            assert (said.person, said.relation, said.value) == ("Nora", relation.name, relation.values[0])
        assert all(asked_about(pattern.format(p="Nora")) == ("Nora", relation.name) for pattern in relation.asked)
    assert statement("The weather was dull.") is None
    assert asked_about("How are you?") is None


def test_the_reader_prefers_the_user_and_then_the_latest() -> None:
    def said(source: str, author: str, city: str, day: int) -> Message:
        return Message(source, day, author, f"Nora lives in {city}.", f"2024-01-0{day}T00:00:00+00:00")

    pieces = [said("a", "user", "Porto", 1), said("b", "user", "Ghent", 2), said("c", "assistant", "Turin", 3)]
    got = read("Where does Nora live now?", pieces)
    assert (got.text, got.citations, got.claims) == ("Ghent", ("b",), (True,))
    assert got.confidence == pytest.approx(1 / 3)
    assert read("Where does Nora live now?", pieces[2:]).confidence == pytest.approx(0.4)
    assert read("Where does Nora live now?", []).refused
    assert read("What is the meaning of it?", pieces).refused


# -- the three settings --
def test_settings_ask_the_same_and_closed_book_is_no_better_than_the_oracle(open_memory: Callable[..., Mnemos]) -> None:
    histories = [make_history(f"h{i}", np.random.default_rng(i), Shape(sessions=6, facts=20)) for i in range(3)]
    plan = Plan(tuple(item for history in histories for item in history.items), seed=3)
    runs = run_settings(MnemosSystem(k=10, memory=open_memory(":memory:")), histories, plan, (*SETTINGS, ORACLE))
    assert len({(run.plan, run.asked) for run in runs.values()}) == 1
    assert [item.id for item in runs[RETRIEVAL].items] == [item.id for item in plan.order()] != [item.id for item in plan.items]
    accuracy = {setting: scoring.accuracy(run.truths, run.texts) for setting, run in runs.items()}
    assert accuracy[CLOSED_BOOK] <= accuracy[ORACLE] == 1.0
    assert accuracy[CLOSED_BOOK] < accuracy[RETRIEVAL] <= accuracy[LONG_CONTEXT]
    steps = differences(runs, rng_())
    assert len(steps) == 3
    assert steps["information availability (long context − closed book)"].value == pytest.approx(accuracy[LONG_CONTEXT] - accuracy[CLOSED_BOOK])


def test_runs_of_other_items_are_not_compared(open_memory: Callable[..., Mnemos]) -> None:
    history = make_history("h", rng_(), Shape(sessions=3, facts=10))
    system = MnemosSystem(memory=open_memory(":memory:"))
    plan = Plan(history.items)
    one = run_settings(system, [history], plan, [CLOSED_BOOK])[CLOSED_BOOK]
    for other in (Plan(history.items, seed=1), Plan(history.items[1:]), Plan(history.items, versions={"mnemos": "2"})):
        with pytest.raises(Invalid, match="same items"):
            check_comparable([one, run_settings(system, [history], other, [CLOSED_BOOK], add=False)[CLOSED_BOOK]])
    with pytest.raises(Invalid, match="none of the histories"):
        run_settings(system, [history], Plan(make_history("g", rng_()).items), [CLOSED_BOOK], add=False)


def test_a_lagging_index_shows_as_out_of_date_use(open_memory: Callable[..., Mnemos]) -> None:
    shape = Shape(sessions=10, facts=100, updated=1.0, contradicted=0.0, unknown=0.0, chatter=0.5)
    histories = [make_history(f"h{i}", np.random.default_rng(i), shape) for i in range(2)]
    items = [item for history in histories for item in history.items]
    lagging = {items[i].id for i in rng_().permutation(len(items))[: round(0.3 * len(items))]}
    withheld = frozenset(f"{item.history}/{source}" for item in items if item.id in lagging for source in item.evidence)
    plan = Plan(tuple(items))
    runs = {}
    for name, missing in (("fresh", frozenset()), ("lagging", withheld)):
        system = MnemosSystem(k=80, withheld=missing, memory=open_memory(":memory:"))
        runs[name] = run_settings(system, histories, plan, [RETRIEVAL])[RETRIEVAL]
    used = {name: external.out_of_date_use(run.texts, superseded=[item.superseded for item in run.items]) for name, run in runs.items()}
    assert used["lagging"] == pytest.approx(0.30, abs=0.03)
    assert used["fresh"] <= 0.03
    assert episodic.freshness_hit(runs["fresh"].truths, runs["fresh"].texts, updated=[True] * len(items)) >= 0.9


# -- attribution --
def test_400_planted_facts_are_attributed(open_memory: Callable[..., Mnemos]) -> None:
    planted = Planted(open_memory(":memory:", embedder="none"), rng_())
    found = attribute([planted.observe(fact) for fact in planted.facts])
    right = [memory is fact.home for memory, fact in zip(found, planted.facts, strict=True)]
    assert len(right) == 400
    assert np.mean(right) >= 0.95
    assert planted.losses[-1] < planted.losses[0] / 5


def test_the_rule_of_attribution() -> None:
    rule = AttributionRule()
    context = {"in_context": [True] * 3, "confidence": [0.9, 0.5, 0.9]}
    assert rule(Evidence([True, True, True, False])) is Memory.PARAMETRIC
    assert rule(Evidence([True, False, False, False], retrieved=True, cited=True)) is Memory.EXTERNAL  # not stable: luck
    assert rule(Evidence([False], retrieved=True, cited=False)) is Memory.NONE
    assert rule(Evidence([False], replayed=True, replay_used=True)) is Memory.EPISODIC
    assert rule(Evidence([False], **context)) is Memory.CONTEXTUAL  # type: ignore[arg-type]
    assert rule(Evidence([False], in_context=[True, False], confidence=[0.9, 0.9])) is Memory.CONTEXTUAL
    assert rule(Evidence([False], in_context=[True, True], confidence=[0.9, 0.9])) is Memory.NONE  # wherever the text stands: not read from it
    assert rule(Evidence([])) is Memory.NONE


# -- the judge --
GOLD = ["Lisbon", "seven dogs", "12 May 2023", "a red Volvo from 1987", "no, she did not go", "Dr. Élise Martin's clinic"]
QUESTIONS = ["Where?", "How many?", "When?", "What?", "Did she go?", "Whose?"]


def test_the_rule_judge_is_strict() -> None:
    judge = RuleJudge()
    right = ["It was in Lisbon.", "She has 7 dogs", "on 12 may 2023", "a Volvo, red, of 1987", "No, she didn't go.", "the clinic of dr elise martin"]
    assert judge.accepts(QUESTIONS, GOLD, right) == [True] * 6
    wrong = ["Porto", "eight dogs", "13 May 2023", "a blue Volvo from 1987", "yes, she did go", "Dr. Martin's garage"]
    assert judge.accepts(QUESTIONS, GOLD, wrong) == [False] * 6
    hedged = ["I don't know", "seven or eight dogs", "May 2023", "", "   ", "Lisbon"]
    assert judge.accepts(QUESTIONS, GOLD, hedged) == [False] * 6
    assert judge.accepts(["?"], ["There is no information about it."], ["That is not mentioned."]) == [True]
    assert judge.accepts(["?"], ["on it"], ["it"]) == [False]
    assert "share=1" in judge.fingerprint


@dataclass
class Lenient:
    """Accepts the truth, and half of everything else."""

    rng: np.random.Generator
    rate: float = 0.5
    fingerprint: str = "lenient"

    def accepts(self, questions: Sequence[str], gold: Sequence[str], answers: Sequence[str]) -> list[bool]:
        return [g == a or bool(self.rng.random() < self.rate) for g, a in zip(gold, answers, strict=True)]


def probes(n: int = 200) -> tuple[list[str], list[str], list[str]]:
    rng = rng_()
    things, places = ("lamps", "coins", "keys", "books"), ("Ghent", "Turin")
    gold = [f"{int(rng.integers(2, 90))} {thing} in {place}" for thing in things for place in places] * (n // 8)
    return [f"question {i}" for i in range(n)], gold, [str(blurred(answer, rng)) for answer in gold]


def test_a_lenient_judge_is_refused_and_a_strict_one_passes() -> None:
    questions, gold, wrong = probes()
    lenient = audit(Lenient(rng_()), questions, gold, wrong)
    assert not lenient.passed
    assert lenient.false_accepts.value == pytest.approx(0.5, abs=0.1)
    assert len(lenient.accepted) == round(lenient.false_accepts.value * 200)
    strict = audit(RuleJudge(), questions, gold, wrong, right=[f"There are {answer}." for answer in gold])
    assert strict.passed
    assert strict.false_accepts.high <= 0.05
    assert strict.false_rejects is not None
    assert strict.false_rejects.value == 0
    assert not audit(Lenient(rng_(), rate=0.05), questions, gold, wrong).passed  # at the gate, but the interval reaches beyond
    with pytest.raises(Invalid, match="73"):
        audit(RuleJudge(), questions[:20], gold[:20], wrong[:20])


def test_agreement_with_people_is_measured() -> None:
    questions, gold, wrong = probes()
    rated = [(q, g, a) for q, g, a in zip(questions[:20], gold[:20], gold[:10] + wrong[10:20], strict=True)]
    first = [True] * 10 + [False] * 10
    second: list[bool | None] = [True] * 9 + [None] + [False] * 10
    got = audit(RuleJudge(), questions, gold, wrong, ratings=[first, second], rated=rated)
    assert (got.kappa, got.alpha) == (1.0, 1.0)
    apart = audit(RuleJudge(), questions, gold, wrong, ratings=[[not x for x in first]] * 2, rated=rated)
    assert apart.kappa == -1
    for bad in ([first], [first, first[:3]], [first, [not x for x in first]]):
        with pytest.raises(Invalid):
            audit(RuleJudge(), questions, gold, wrong, ratings=bad, rated=rated)


def test_a_model_judges_by_a_fixed_prompt() -> None:
    class Parrot:
        fingerprint = "parrot"

        def complete(self, conversations: Sequence[Sequence[dict[str, str]]], **_: object) -> list[str]:
            self.asked = [c[0]["content"] for c in conversations]
            return [" yes.", "NO", "Yes, but"][: len(conversations)]

    model = Parrot()
    judge = ChatJudge(model)  # type: ignore[arg-type]
    assert judge.accepts(["q"] * 3, ["g"] * 3, ["a"] * 3) == [True, False, True]
    assert "Reference: g" in model.asked[0]
    assert judge.fingerprint.startswith("parrot prompt=")
    assert judge.fingerprint != replace(judge, prompt="{question}{gold}{answer}").fingerprint


def test_probes_are_wrong_and_on_topic() -> None:
    gold = ["Lisbon", "Porto", "Lisbon", "7", "8"]
    made = wrong_answers([f"q{i}" for i in range(5)], gold, ["a", "a", "a", "b", "c"], rng_(), lambda x, y: x == y)
    assert made == ["Porto", "Lisbon", "Porto", None, None]
    rng = rng_()
    assert all(blurred(text, rng) not in (text, None) for text in ("May 12", "red", "the 3 of 9") for _ in range(20))
    assert blurred("of the", rng) is None


# -- TREC --
names = st.text(min_size=1, max_size=12).filter(lambda text: text.strip() == text and text)


@given(st.dictionaries(names, st.lists(st.tuples(names, st.floats(-1e6, 1e6)), min_size=1, max_size=5, unique_by=lambda p: p[0]), max_size=4))
def test_a_run_is_read_back(run: dict[str, list[tuple[str, float]]]) -> None:
    ordered = {query: sorted(ranking, key=lambda pair: -pair[1]) for query, ranking in run.items()}
    assert trec.read_run(trec.write_run(ordered, "mnemos 1")) == ordered


def test_judgements_are_read_back_and_bad_lines_named() -> None:
    judgements = {"q 1": {"d/1": 2, "d 2": 0}, "q2": ["b", "a"]}
    assert trec.read_judgements(trec.write_judgements(judgements)) == {"q 1": {"d/1": 2, "d 2": 0}, "q2": {"a": 1, "b": 1}}
    assert trec.write_run({}, "t") == ""
    for text in ("q Q0 d 1 x tag", "q Q0 d 1 2.0"):
        with pytest.raises(Invalid, match="line 1"):
            trec.read_run(text)
    with pytest.raises(Invalid, match="line 2"):
        trec.read_judgements("q 0 d 1\nq 0 d high")
    with pytest.raises(Invalid, match="rise"):
        trec.write_run({"q": [("a", 1.0), ("b", 2.0)]}, "t")


# -- leakage --
def test_signatures_estimate_similarity() -> None:
    rng = rng_()
    words = [f"w{i}" for i in range(400)]
    text = [words[i] for i in rng.integers(0, 400, 300)]
    for kept in (1.0, 0.97, 0.9, 0.5):
        other = [word if rng.random() < kept else "changed" for word in text]
        shingles = [{tuple(t[i : i + 5]) for i in range(len(t) - 4)} for t in (text, other)]
        true = len(shingles[0] & shingles[1]) / len(shingles[0] | shingles[1])
        pair = signatures([" ".join(text), " ".join(other)])
        assert np.mean(pair[0] == pair[1]) == pytest.approx(true, abs=4 * math.sqrt(max(true * (1 - true), 1e-9) / 128) + 1e-9)


def test_copies_are_found_and_the_share_is_judged() -> None:
    rng = rng_()
    texts = [" ".join(f"w{i}" for i in rng.integers(0, 3000, 60)) for _ in range(300)]
    sources = [*(" ".join(f"w{i}" for i in rng.integers(0, 3000, 60)) for _ in range(300)), texts[4].upper(), f"{texts[9]} and a little more"]
    found = leakage(texts, sources)
    assert {pair[:2] for pair in found.pairs} == {(4, 300), (9, 301)}
    assert found.share == pytest.approx(2 / 300)
    assert found.passed
    assert not leakage(texts[:100], sources).passed
    assert leakage([], sources).passed
    assert leakage(["one", "two words"], ["ONE", "three"]).pairs == ((0, 0, 1.0),)


def test_a_run_gives_its_columns() -> None:
    run = Run("OR", "p", "a", (), ())
    assert (run.truths, run.texts, run.histories) == ([], [], [])
