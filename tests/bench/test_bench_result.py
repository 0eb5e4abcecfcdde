import io
import json

import pytest
from rich.console import Console

from mnemos.base.errors import NotFound
from mnemos.base.stats import Interval
from mnemos.bench import list_rows, registry
from mnemos.bench.result import Check, Result, render

CONTRACT = ["name", "paper", "claim", "metric", "measured", "baseline", "threshold", "holds", "n", "interval", "seconds", "machine", "details"]


def result(*checks: Check) -> Result:
    details = {"tables": {"All": {"mnemos": {"recall@10": 0.8, "n": 12345}, "bm25": {"recall@10": 0.6}}}, "notes": ["a note"]}
    return Result.of("name", "paper", "claim", checks, seconds=1.5, machine={"cpu": "chip", "cores": 2}, details=details)


def test_fields_are_those_of_the_contract() -> None:
    got = json.loads(result(Check("m", 0.8, 0.7)).as_json())
    assert list(got) == CONTRACT
    assert (got["metric"], got["measured"], got["threshold"], got["holds"]) == ("m", 0.8, 0.7, True)


def test_holds_asks_every_check() -> None:
    assert result(Check("a", 2, 1), Check("b", 5, 9, at_least=False)).holds is True
    assert result(Check("a", 2, 1), Check("b", 10, 9, at_least=False)).holds is False
    assert result(Check("a", 2)).holds is None
    assert result(Check("a", float("nan"), 1)).holds is False


def test_nan_becomes_null() -> None:
    got = json.loads(result(Check.of("a", Interval(0.5, float("nan"), float("nan"), 3, 1))).as_json())
    assert got["interval"] == [None, None]


def test_table_shows_numbers_bounds_and_verdicts() -> None:
    out = io.StringIO()
    checks = [Check("recall", 0.81, 0.75, interval=(0.7, 0.9), n=1200), Check("seconds", 3.0, 2.0, at_least=False)]
    Console(file=out, width=140).print(render(result(*checks)))
    text = out.getvalue()
    for part in ("0.810", "≥ 0.750", "0.700 – 0.900", "1,200", "≤ 2.000", "✓", "✗", "12,345", "a note", "chip"):
        assert part in text


def test_every_benchmark_is_listed_with_its_claim() -> None:
    rows = {row["name"]: row for row in list_rows()}
    assert {"locomo", "longmemeval", "multihop", "qmsum", "bfcl-memory", "nq-open", "store"} <= set(rows)
    assert all(row["paper"] and row["claim"] for row in rows.values())


def test_unknown_name_is_told_the_known_ones() -> None:
    with pytest.raises(NotFound, match="longmemeval"):
        registry.find("nothing")


def test_every_module_exists() -> None:
    import importlib

    for benchmark in registry.BENCHMARKS.values():
        assert callable(importlib.import_module(benchmark.module).run)
