"""The benchmarks of evaluation and governance, small, on the real product: they must measure what they say, and notice what goes wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from mnemos.base.errors import Invalid
from mnemos.base.meter import Seconds
from mnemos.base.stats import Interval, kendall_tau
from mnemos.bench import card as card_bench
from mnemos.bench import forgetting, registry, statistics
from mnemos.bench.evaluation import deletion, real
from mnemos.bench.evaluation.card import GATES, MINIMAL, Card, assert_gates, minimal, overall, suite_score
from mnemos.bench.evaluation.crossover import surface
from mnemos.bench.evaluation.items import Answer, Item
from mnemos.bench.evaluation.settings import Plan, Run, run_settings
from mnemos.bench.evaluation.systems import RETRIEVAL, Bm25System, MnemosSystem
from mnemos.bench.evaluation.timeline import Shape, make_history
from mnemos.bench.evaluation.trials import HARMS, Town
from mnemos.bench.evaluation.variants import guessing, inventing, withheld
from mnemos.bench.registry import Options
from mnemos.bench.result import Check, Result
from mnemos.kernel.changes import disclosure
from mnemos.kernel.changes.admission import STANDARD_GATES, judge
from mnemos.kernel.forgetting import Certificate
from mnemos.kernel.system import Mnemos
from support import EMBEDDER

TINY = card_bench.Size(2, (4, 12), (1, 2, 3, 8), (3, 6), (60, 600), 1, 10, planted=100)


@pytest.fixture(scope="module")
def tiny() -> Result:
    """The card benchmark, on very little."""
    stores = card_bench._Stores(EMBEDDER)
    try:
        return card_bench._run(registry.find("card"), Options(quick=True), TINY, None, stores, Seconds())
    finally:
        stores.close()


def test_the_card_is_complete_and_machine_readable(tiny: Result) -> None:
    whole = json.loads(tiny.as_json())
    card = whole["details"]["card"]
    assert set(card["minimal"]) == set(MINIMAL)
    assert disclosure.problems(card["disclosure"]) == []
    assert len(set(card["runs"].values())) == 1
    assert {"PO", "LC-off", "SR-off", "OR", "SR-on"} <= set(card["runs"])
    assert {row["layer"] for row in whole["details"]["rows"]} >= {"minimal", "contextual", "external", "episodic: horizon"}
    assert [gate["metric"] for gate in card["gates"]] == [metric for _, metric in GATES]
    names = [check["metric"] for check in whole["details"]["checks"]]
    assert names[0] == "recall@5"
    assert whole["details"]["checks"][0]["baseline"] is not None
    assert any("attributed" in name for name in names)
    by_name = {check["metric"]: check for check in whole["details"]["checks"]}
    assert by_name["planted facts attributed to the right memory"]["holds"]
    assert by_name["problems of the disclosure"]["measured"] == 0
    assert len(whole["details"]["tables"]["Twelve systems"]) == 12
    assert any("No data folder" in note for note in whole["details"]["notes"])


def interval(value: float) -> Interval:
    return Interval(value, value, value, 10, 2)


def a_card(value: float = 1.0, **more: Any) -> Card:
    layers: dict[str, dict[str, Interval]] = {}
    for layer, metric in GATES:
        layers.setdefault(layer, {})[metric] = interval(0.0 if metric.startswith("unsupported") else value)
    from_tiny = {"system": "x", "minimal": {name: interval(value) for name in MINIMAL}, "layers": layers, "cost": {}, "runs": {"OR": "a"}}
    return Card(**{**from_tiny, "disclosure": complete(), **more})


def complete() -> dict[str, Any]:
    made = {"date": "2024-01-01", "text": "x", "number": 1.0, "share": 0.1, "object": {}, "list of numbers": [1]}
    return {
        section: {field: None if kind.endswith("or none") else made[kind] for field, kind in fields.items()}
        for section, fields in disclosure.FIELDS.items()
    }


def test_a_card_without_its_disclosure_or_with_unequal_runs_is_refused() -> None:
    assert a_card().rows()[0]["system"] == "x"
    with pytest.raises(Invalid, match="seeds: is missing"):
        a_card(disclosure={name: part for name, part in complete().items() if name != "seeds"})
    with pytest.raises(Invalid, match="same items"):
        a_card(runs={"OR": "a", "PO": "b"})


def test_gates_fail_a_test_and_name_what_is_missed() -> None:
    assert_gates(a_card(0.9))
    with pytest.raises(AssertionError, match=r"misses 4 of 5 gates: .*recall@5 is 0\.500, bound ≥ 0\.85"):
        assert_gates(a_card(0.5))
    with pytest.raises(AssertionError):
        assert_gates(a_card(float("nan")))


def test_the_pytest_plugin_gates(pytestconfig: pytest.Config) -> None:
    from mnemos.bench.evaluation import pytest_plugin

    assert pytest_plugin.card_gate.__wrapped__() is assert_gates  # type: ignore[attr-defined]


def test_the_command_line_exits_with_1_on_a_missed_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    from mnemos.cli.main import run as mnemos

    def measured(value: float) -> Any:
        def run(self: Any, options: Options) -> Result:
            return Result.of("card", "p", "c", [Check("m", value, 0.5)], seconds=0, machine={}, details={})

        return run

    for value, arguments, code in [(0.9, ["--gate"], 0), (0.1, ["--gate"], 1), (0.1, [], 0)]:
        monkeypatch.setattr(registry.Benchmark, "run", measured(value))
        assert mnemos(["bench", "card", *arguments]) == code
        assert mnemos(["bench", "card", "--json", *arguments]) == code


def test_five_numbers_of_a_planted_run() -> None:
    def item(number: int, kind: str, answer: str | None, position: float) -> Item:
        return Item(f"i{number}", f"h{number % 4}", "?", answer, kind, position=position)

    items = [item(i, "updated" if i % 2 else "single", "yes", (0.0, 0.25, 0.5, 0.75, 1.0)[i % 5]) for i in range(40)]
    answers = [Answer("yes" if i % 4 else "no", 0.9 if i % 4 else 0.1, claims=(i % 10 != 0,)) for i in range(40)]
    got = minimal(Run(RETRIEVAL, "p", "a", tuple(items), tuple(answers)), np.random.default_rng(0), resamples=20)
    assert got["correctness"].value == 0.75
    assert got["faithfulness"].value == 0.9
    assert got["timeliness"].value == 1.0  # the odd ones are all right
    assert got["positional robustness"].value == pytest.approx(1.0)
    assert got["refusal"].value > 1 - 0.25  # the wrong ones are the unsure ones
    assert overall(got) == pytest.approx(np.mean([i.value for i in got.values()]))
    assert overall({"a": interval(float("nan")), "b": interval(1.0)}) == 0.5


def test_the_suite_turns_what_should_be_small() -> None:
    good = {"external": {"recall@5": interval(0.9), "unsupported claims (UCR)": interval(0.0), "KIR": interval(9.0)}}
    bad = {"external": {"recall@5": interval(0.9), "unsupported claims (UCR)": interval(0.8), "KIR": interval(9.0)}}
    assert suite_score(good) == pytest.approx(0.95)
    assert suite_score(bad) == pytest.approx(0.55)
    assert kendall_tau([suite_score(good), suite_score(bad)], [2, 1]) == 1


def test_worse_systems_are_worse(open_memory: Callable[..., Mnemos]) -> None:
    history = make_history("h", np.random.default_rng(1), Shape(sessions=5, facts=40))
    plan = Plan(history.items)

    def accuracy(system: Any) -> float:
        run = run_settings(system, [history], plan, [RETRIEVAL])[RETRIEVAL]
        return float(np.mean([a == t for a, t in zip(run.texts, run.truths, strict=True)]))

    base = accuracy(Bm25System())
    assert accuracy(Bm25System(reader=inventing)) < base
    assert accuracy(Bm25System(reader=guessing)) < base  # it answers what nobody knows
    assert accuracy(Bm25System(withheld=withheld([history], 1.0))) < base
    assert accuracy(Bm25System(k=1)) < base
    with pytest.raises(Invalid, match="at once"):
        Bm25System().rank(history.items[0], at_once=True)
    system = MnemosSystem(memory=open_memory(":memory:"), withheld=withheld([history], 1.0))
    run_settings(system, [history], plan, [RETRIEVAL])
    assert len(system.held("h")) == len(history.messages) - len(system.withheld) > 0


def test_retrieval_gains_where_the_history_is_large_and_loses_nothing_where_it_fits(open_memory: Callable[..., Mnemos]) -> None:
    points = surface(lambda: open_memory(":memory:"), [3, 10], [100, 1500], np.random.default_rng(0), histories=3)
    small = next(point for point in points if point.ratio < 1)
    large = max(points, key=lambda point: point.ratio)
    assert (small.reading, small.gain.value) == (1.0, 0.0)
    assert large.ratio > 4
    assert large.gain.low > 0


def test_gates_tell_real_updates_apart(open_memory: Callable[..., Mnemos]) -> None:
    town = Town(open_memory(":memory:").space("town"), 0)
    rng = np.random.default_rng(0)
    before_any = [hit.cube.id for hit in town.space.search("Where does Nora live now?")]
    for harm in (None, *HARMS):
        trial = town.trial(harm, rng)
        measure = town.measuring(trial, 60)
        before = measure()
        with trial.change.trial():
            after = measure()
        verdict = judge(STANDARD_GATES, before, after, rng)
        assert bool(verdict) is (harm is None), (harm, verdict.codes)
    assert [hit.cube.id for hit in town.space.search("Where does Nora live now?")] == before_any


def test_forgetting_is_accepted(open_memory: Callable[..., Mnemos], tmp_path: Path) -> None:
    memory = open_memory()
    history = make_history("people", np.random.default_rng(0), Shape(sessions=5, facts=40, unknown=0.0, chatter=0.5))
    system = MnemosSystem(memory=memory)
    system.add(history)
    chosen = deletion.targets(memory, history, 12)
    counted = deletion.Acceptance()
    deletion.probe(memory, history, chosen, counted)
    deletion.traces(memory, chosen, [], counted)
    assert counted.found["verbatim"] == counted.asked["verbatim"] >= 12  # everything is found while it is there
    assert counted.found["export"] == counted.found["files"] == 12
    assert counted.found["what is derived"] >= 2
    certificates = deletion.forget(memory, history, chosen)
    counted = deletion.Acceptance()
    deletion.probe(memory, history, chosen, counted)
    deletion.traces(memory, chosen, certificates, counted)
    memory.close()
    memory = open_memory()
    deletion.probe(memory, history, chosen, counted)
    deletion.traces(memory, chosen, certificates, counted)
    deletion.tell_again(memory, history, chosen, counted)
    assert counted.found == dict.fromkeys(counted.asked, 0)
    assert min(counted.asked.values()) >= 12


def test_one_changed_byte_of_a_certificate_is_noticed_or_says_the_same(open_memory: Callable[..., Mnemos]) -> None:
    memory = open_memory(":memory:")
    space = memory.space("alice")
    told = [[space.add(f"secret {i}-{j}").id for j in range(1 + i % 3)] for i in range(6)]
    certificates = [space.forget(ids, reason=None if i % 2 else "asked for") for i, ids in enumerate(told)]
    unnoticed, respelled = forgetting.tamper(memory, certificates, seed=0)
    assert unnoticed == 0
    assert respelled < 20
    for certificate in certificates[:2]:  # whatever still verifies says exactly what the certificate said
        file = orjson.dumps(certificate.as_json())
        for place in range(len(file)):
            altered = file[:place] + file[place : place + 1].swapcase() + file[place + 1 :]
            found = forgetting.accepted(memory, altered)
            assert found is None or found == certificate
    assert Certificate.from_json(certificates[0].as_json()) == certificates[0]


def test_simulated_sessions_have_their_correlation() -> None:
    rng = np.random.default_rng(0)
    right, names = statistics.sessions_of(rng, 3000, 0.7, 0.2, 10, 10)
    means = right.reshape(3000, 10).mean(1)
    assert right.mean() == pytest.approx(0.7, abs=0.02)
    between = (means.var(ddof=1) - 0.7 * 0.3 / 10) / (1 - 1 / 10)
    assert between / (0.7 * 0.3) == pytest.approx(0.2, abs=0.03)
    assert len(set(names.tolist())) == 3000


def test_real_sets_are_measured(data: Path, open_memory: Callable[..., Mnemos]) -> None:
    sets = real.memdaily(data, Options(quick=True))
    assert len(sets) == 50
    got = real.measure(open_memory(":memory:"), real.RealSet("MemDaily", sets), np.random.default_rng(0), lambda _: None)
    assert got["recall@5"].n == 50
    assert 0.25 < got["multiple choice"].value <= 1
    assert got["MRR"].value > 0.4


def test_a_choice_is_made_by_what_the_texts_say() -> None:
    choices = {"A": "广州", "B": "深圳", "C": "上海"}
    assert real.choice(choices, ["论坛的地点是上海。", "我住在广州。"]) == "C"
    assert real.choice(choices, []) == "A"


def test_the_judge_is_audited_on_real_answers(data: Path) -> None:
    from mnemos.bench.evaluation.judging import RuleJudge

    strict = real.judge_audit(data, np.random.default_rng(0), RuleJudge())
    assert strict.false_accepts.n > 1000
    assert strict.passed
    assert not real.judge_audit(data, np.random.default_rng(0), RuleJudge(share=0.3, extra=9)).passed
