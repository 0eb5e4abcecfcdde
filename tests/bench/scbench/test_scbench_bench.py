"""The benchmark's parts: what they measure on small numbers, and that they notice what is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from mnemos.bench.registry import Options, find
from mnemos.bench.result import Check
from mnemos.bench.scbench import benchmark, findings, on_generators, on_models
from mnemos.bench.scbench.draws import Draws
from mnemos.bench.scbench.tasks import TASKS, generate
from mnemos.models.reference.model import config


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    monkeypatch.setattr(on_models, "LENGTH", 160)
    monkeypatch.setattr(on_models, "TURNS", 2)
    monkeypatch.setattr(on_models, "sessions", lambda task, n, seed, length=160, turns=2: SESSIONS(task, n, seed, length, turns))
    yield LlamaForCausalLM(config(hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1)).eval()
    torch.set_num_threads(threads)


SESSIONS = on_models.sessions


def quiet(_: str) -> None:
    pass


def test_generators_hold_what_is_claimed_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_generators, "QUICK_SESSIONS", 2)
    monkeypatch.setattr(on_generators, "QUICK_GUESSED", 20)
    checks, table = on_generators.measure(True, 0, quiet)
    assert set(TASKS) | {"needle"} == set(table)
    assert [check.holds for check in checks[:3]] == [True] * 3  # of so few sessions, guesses may be lucky
    assert len(checks) == 5


def test_a_generator_that_words_give_away_is_noticed() -> None:
    table = {"kv": {"oracle": 1.0, "empty": 0.1, "guess": 0.1, "chance": 0.0, "bag of words": 0.5}}
    found = {name: {"kv": [value]} for name, value in table["kv"].items()}
    checks = on_generators._checks(found, {"kv": [0.9]}, table, 1)
    assert [check.holds for check in checks] == [True, False, False, False, False]


def test_exactness_and_reuse_hold_for_the_full_cache(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [check.holds for check in on_models.exactness(small, 0)] == [True, True]
    monkeypatch.setattr(on_models, "LONG", 300)
    check, results = on_models.reuse(small, 0, quiet)
    assert check.n == 2
    assert len(results) == 2


def test_the_suite_is_all_tasks_modes_and_methods(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_models, "TASKS", ("kv", "summary"))
    check, results = on_models.suite(small, 1, 0, quiet)
    assert check.n == len(results) == 2 * 2 * 3
    assert {(result.task, result.mode, result.method) for result in results} == {
        (task, mode, method)
        for task in ("kv", "summary") for mode in ("multi-turn", "multi-request") for method in ("full cache", "window 1/8", "SnapKV 1/8")
    }  # fmt: skip
    held = {method: [row.bytes for result in results if result.method == method for row in result.rows] for method in ("full cache", "window 1/8")}
    assert max(held["window 1/8"]) < min(held["full cache"])
    assert all(row.rolled_back for result in results for row in result.rows)


def test_findings_are_measured_on_any_model(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "sessions", on_models.sessions)
    found = findings.findings(small, 2, 3, 0, np.random.default_rng(0), quiet)
    assert len(found.checks) == 10
    more = {name for name, results in found.results.items() if len(results) == 3}
    assert more == {"full", "two bits", "shots", "window shots"}
    assert all(len(results) == 2 for name, results in found.results.items() if name not in more)
    assert all(result.query_aware for name in ("snapkv known", "requests known") for result in found.results[name])


def test_what_the_full_cache_does_not_answer_does_not_count(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights answer nothing: no bound is judged, and the result says why."""
    monkeypatch.setattr(findings, "sessions", on_models.sessions)
    found = findings.findings(small, 1, 1, 0, np.random.default_rng(0), quiet)
    assert all(check.threshold is None and "does not count: the full cache answers" in check.metric for check in found.checks)
    assert sum("do not count" in note for note in found.notes) == 2
    assert findings.fronts(found.results["full"], np.random.default_rng(0)) == ({}, [])


def test_the_benchmark_puts_its_parts_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the reference model and the smallest of everything: checks of all parts, and tables that say what counts."""
    check = Check("x", 1.0, 1.0)
    monkeypatch.setattr(on_generators, "measure", lambda quick, seed, say: ([check], {}))
    monkeypatch.setattr(on_generators, "speed", lambda say: (check, {}))
    monkeypatch.setattr(on_models, "memory", lambda n, seed, say: [])
    for module in (on_models, findings):
        monkeypatch.setattr(module, "sessions", lambda task, n, seed, length=160, turns=2: SESSIONS(task, n, seed, min(length, 300), turns))
    monkeypatch.setattr(on_models, "TASKS", ("kv", "math_find"))
    monkeypatch.setattr(benchmark, "QUICK_FINDING_SESSIONS", 1)
    monkeypatch.setattr(benchmark, "QUICK_FRONT_TASKS", ("kv",))
    monkeypatch.setattr(benchmark, "QUICK_SPARSE", (1, 1, 256))
    monkeypatch.setattr(benchmark, "QUICK_LEDGERS", (1, 160))
    monkeypatch.setattr("mnemos.models.reference.ledger.LENGTH", 160)
    result = benchmark.run(find("scbench"), Options(quick=True))
    metrics = [each["metric"] for each in result.details["checks"]]
    assert len(metrics) == len(set(metrics) - {"x"}) + 2
    for part in ("reused prefix", "12 tasks", "question known", "two bits", "many-shot", "area under the front", "deleted facts", "tenant",
                 "finding 3", "finding 4"):  # fmt: skip
        assert any(part in metric for metric in metrics), part
    tables = result.details["tables"]
    assert tables["Does the full cache answer it?"]["kv"] == {"answered": 1.0, "counts": "yes"}
    assert "math_find (does not count)" in tables["Suite, multi-turn: scores"]
    assert tables["Suite, multi-turn: scores"]["average"]["full cache"].startswith("1.000")
    assert len(tables["Front, turns 2 on, questions that the full cache answers"]) == 14
    assert set(tables["Facts corrected and deleted, tenants apart, KV"]) == {"full cache", "SnapKV 1/8", "loads 1/8", "text memory, reads 64 tokens"}


def test_the_example_of_the_page_gives_what_it_says() -> None:
    page = (Path(__file__).parents[3] / "docs" / "scbench.md").read_text("utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    said = []
    for line in block.splitlines():
        code, _, value = line.partition("# → ")
        if value:
            said.append(repr(eval(code, names)) == value)
        else:
            exec(code, names)
    assert said == [True] * 3


def test_it_is_registered() -> None:
    assert find("scbench").module == "mnemos.bench.scbench.benchmark"


def test_draws_are_the_same_everywhere() -> None:
    draws = Draws("a", 1)
    assert [draws.below(1000) for _ in range(5)] == [516, 249, 821, 711, 99]
    assert Draws("a", 1).identifier() == "9676d6a9-7efa-151c-0a1a-8fb9e602cc81"
    assert sorted(Draws("b").shuffled(range(50))) == list(range(50))
    strata = Draws("c").strata(100, 4)
    assert sorted(place // 25 for place in strata) == [0, 1, 2, 3]
    assert Draws("c").strata(1, 3) == [0, 0, 0]


@pytest.mark.torture
def test_records_of_128k_tokens_are_made_within_a_second_each() -> None:
    check, table = on_generators.speed(quiet)
    assert check.holds, table


@pytest.mark.torture
@pytest.mark.parametrize("task", TASKS)
def test_a_thousand_sessions_are_solved(task: str) -> None:
    scores: on_generators.Scores = {}
    for seed in range(1000):
        record = generate(task, 2000, 4, seed)
        on_generators._tell(scores, record, on_generators.answers(record))
    assert all(set(values) == {1.0} for values in scores.values())
