"""What a run is asked for on the command line: names are checked, each kind of model runs, and records of one's own load."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from chat_server import ChatServer
from mnemos.base.errors import Invalid, MnemosError, NotFound
from mnemos.bench.registry import Options, find
from mnemos.bench.run import own_options
from mnemos.bench.scbench.choosing import Way, value_of
from mnemos.bench.scbench.harness import read_results
from mnemos.bench.scbench.oracle import solve
from mnemos.bench.scbench.records import COMPACT, write_records
from mnemos.bench.scbench.tasks import generate
from mnemos.cli.main import run as command_line


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("MNEMOS_EMBEDDER", "hashed")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def result(**own: str) -> dict[str, Any]:
    measured = find("scbench").run(Options(own={name.replace("_", "-"): value for name, value in own.items()}))
    plain: dict[str, Any] = measured.as_dict()
    return plain


def scores(found: dict[str, Any]) -> dict[str, float]:
    return {check["metric"].removesuffix(": score over all turns"): check["measured"] for check in found["details"]["checks"]}


def test_options_of_a_benchmarks_own_are_read_and_checked() -> None:
    assert own_options("scbench", ["--tasks", "kv", "--mode=multi-turn", "--tasks", "needle"]) == {"tasks": "kv,needle", "mode": "multi-turn"}
    for wrong, said in ((["--taks", "kv"], "no such option: --taks; scbench takes --tasks"), (["kv"], "no such option: kv"),
                        (["--tasks"], "--tasks needs a value"), (["--tasks", "--mode"], "--tasks needs a value")):  # fmt: skip
        with pytest.raises(Invalid, match=said):
            own_options("scbench", wrong)
    with pytest.raises(Invalid, match="store takes no options of its own"):
        own_options("store", ["--tasks", "kv"])
    with pytest.raises(NotFound):
        own_options("nothing", [])


def test_methods_are_named_with_their_options() -> None:
    way = Way.of("snapkv:share=1/8:window=16:aware")
    assert (way.name, way.options, way.aware) == ("snapkv", {"share": 0.125, "window": 16}, True)
    assert way.label == "snapkv share=0.125 window=16"
    assert [value_of(text) for text in ("2", "-1", "0.5", "1e-3", "1/0", "true", "None", "a/b", "text")] == [
        2, -1, 0.5, 1e-3, "1/0", True, None, "a/b", "text"
    ]  # fmt: skip
    for wrong in (":share=1", "snapkv:share", ""):
        with pytest.raises(Invalid, match="method"):
            Way.of(wrong)


WRONG = (
    ({"tasks": "kv,knee"}, "no task 'knee'; there are kv, prefix_suffix"),
    ({"mode": "turns"}, "there are multi-turn, multi-request"),
    ({"methods": "full,snap"}, "no 'snap' on reference; there are full, memory, "),
    ({"methods": "snapkv:shar=1/8"}, "does not take these options"),
    ({"methods": "full:share=1/8"}, "takes no options"),
    ({"methods": ","}, "name one or more"),
    ({"methods": "memory:aware"}, "leave 'aware' out"),
    ({"methods": "memory:hops=2"}, "does not take"),
    ({"model": "memory", "methods": "full"}, "there are memory"),
    ({"model": "http://127.0.0.1:9", "methods": "snapkv"}, "there are full, memory"),
    ({"length": "many"}, "--length: expected a whole number"),
    ({"length": "99999"}, "tokens at most"),
    ({"turns": "0"}, "--turns"),
    ({"answers": "mine"}, "there are reference, own"),
    ({"records": "none.jsonl"}, "no file none.jsonl"),
    ({"records": "none.jsonl", "tasks": "kv,needle"}, "one task at most"),
    ({"model": "/no/such/folder"}, "/no/such/folder"),
)


@pytest.mark.parametrize(("own", "said"), WRONG)
def test_what_is_not_there_is_refused_with_what_there_is(own: dict[str, str], said: str) -> None:
    with pytest.raises(MnemosError, match=said):
        result(**own)


def test_caches_and_text_memory_stand_on_one_table(tmp_path: Path) -> None:
    found = result(tasks="kv,needle", methods="full,window:share=1/8,memory", length="256", turns="2", sessions="1", save=str(tmp_path / "s.jsonl"))
    names = ("full cache", "window share=0.125", "text memory, reads 32 tokens")
    assert set(scores(found)) == {f"{name}, {mode}" for name in names for mode in ("multi-turn", "multi-request")}
    assert found["holds"] is None
    assert scores(found)["full cache, multi-turn"] == 1
    assert scores(found)["window share=0.125, multi-turn"] < 0.5
    assert scores(found)["text memory, reads 32 tokens, multi-request"] >= 0.75
    tables = found["details"]["tables"]
    assert set(tables["multi-turn: front"]) == set(names)
    assert tables["multi-turn: costs"]["text KiB"]["text memory, reads 32 tokens"] > 0
    assert tables["multi-turn: costs"]["prompt reused"]["full cache"] > 0.9
    saved = read_results(tmp_path / "s.jsonl")
    assert len(saved) == 2 * 2 * 3
    assert {row.task for each in saved for row in each.rows} == {"kv", "needle"}


def test_needles_are_asked_for_by_themselves() -> None:
    for rendering, length in (("text", 2000), (COMPACT, 512)):
        record = generate("needle", length, 3, 1, rendering)
        assert record.task == "needle"
        assert [record.kind(turn) for turn in record.turns] == ["needle"] * 3
        assert all(str(turn.answer) in record.context for turn in record.turns)


def test_a_served_model_and_memory_that_it_reads() -> None:
    record = generate("kv", 1200, 2, 1000)

    def reply(messages: list[dict[str, str]]) -> str:
        context = messages[0]["content"].split("\n\nQuestion: ")[0]
        try:
            return solve("kv", context, messages[-1]["content"].split("Question: ")[-1], ())
        except Invalid:
            return "unknown"

    with ChatServer(reply=reply) as server:
        found = result(tasks="kv", model=server.url, model_name="m", methods="full,memory", length="1200", turns="2", sessions="1", mode="multi-turn")
        bodies = [body for _, body in server.requests]
    assert {body["model"] for body in bodies} == {"m"}
    assert record.context in bodies[0]["messages"][0]["content"]
    assert next(value for name, value in scores(found).items() if name.startswith("chat openai:m")) == 1
    assert any(name.startswith("memory plain, openai:m") for name in scores(found))


def test_records_of_ones_own_load_and_lose_their_middle(tmp_path: Path) -> None:
    path = tmp_path / "scbench_kv.jsonl"
    rows = [{key: value for key, value in generate("kv", 1500, 2, seed).as_json().items() if key in ("id", "context", "multi_turns")}
            for seed in range(2)]  # fmt: skip
    path.write_text("\n".join(json.dumps(row) for row in rows))
    found = result(model="memory", records=str(path), mode="multi-request")
    assert found["n"] == 4
    assert "2 sessions of kv on memory" in found["claim"]
    with pytest.raises(Invalid, match="is text, and the reference model"):
        result(records=str(path))
    compact = tmp_path / "own.jsonl"
    write_records(compact, [generate("kv", 300, 2, 5, COMPACT)])
    assert scores(result(records=str(compact), length="200", mode="multi-turn")) == {"full cache, multi-turn": 1}
    compact.write_text("\n")
    with pytest.raises(Invalid, match="holds no session"):
        result(records=str(compact))


def test_the_command_line_leads_there(capsys: pytest.CaptureFixture[str]) -> None:
    own = ["--tasks", "kv", "--mode", "multi-turn", "--methods", "full", "--length=256", "--sessions", "1"]
    assert command_line(["bench", "scbench", "--quick", "--json", *own]) == 0
    out = json.loads(capsys.readouterr().out)
    assert out["measured"] == 1
    assert out["details"]["asked"]["tasks"] == ["kv"]
    assert command_line(["bench", "scbench", "--taks", "kv"]) == 2
    assert "scbench takes --tasks" in " ".join(capsys.readouterr().err.split())
    assert command_line(["bench", "scbench", "--list", "--json"]) == 0
    assert "methods" in json.loads(capsys.readouterr().out)["options"]
