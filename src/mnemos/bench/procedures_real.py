"""Procedures on real tasks: which past web task is of the same kind (WebArena), and which tools the next turn of a conversation needs (BFCL v4)."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from mnemos.base.protocols import Embedder
from mnemos.bench.datasets import read_json, read_lines
from mnemos.kernel.procedures import Procedures, Settings
from mnemos.kernel.system import Mnemos
from mnemos.text.procedures.pool import Pool
from mnemos.text.procedures.procedure import Procedure
from mnemos.text.trajectories.slots import slotted
from mnemos.text.trajectories.trajectory import Trajectory, checked

WEBARENA, BFCL = Path("tool-trajectories", "webarena_tasks.jsonl.gz"), "bfcl"
TRAIN_SHARE = 0.25
"""Of the 200 multi-turn tasks of BFCL 50 are learnt from, and 150 asked, as in the paper."""
_DOCS = {
    "GorillaFileSystem": "gorilla_file_system", "VehicleControlAPI": "vehicle_control", "TradingBot": "trading_bot", "TravelAPI": "travel_booking",
    "MessageAPI": "message_api", "TwitterAPI": "posting_api", "TicketAPI": "ticket_api", "MathAPI": "math_api",
}  # fmt: skip


def same_kind(folder: Path, embedder: Embedder, key: str) -> tuple[list[bool], list[int]]:
    """For each WebArena task that has siblings: whether, found by `key`, the nearest of the other 811 is of the same template; and its template.
    Tasks that read the same count as one, or they would find each other whatever the key."""
    tasks = read_lines(folder / WEBARENA.parent, WEBARENA.name)
    first: dict[str, int] = {}
    for number, task in enumerate(tasks):
        first.setdefault(task["intent"], number)
    kept = [tasks[number] for number in first.values()]
    pool = Pool(embedder.embed, key)
    for number, task in enumerate(kept):
        pool.put(str(number), Procedure(slotted(task["intent"]).text, f"Task {number}", query=task["intent"]))
    templates = [task["intent_template_id"] for task in kept]
    hits, groups = [], []
    for number, task in enumerate(kept):
        if templates.count(templates[number]) < 2:
            continue
        asked = task["intent"] if key == "query" else slotted(task["intent"]).text
        found = [int(one.id) for one in pool.recall(asked, 2) if one.id != str(number)]
        hits.append(templates[found[0]] == templates[number])
        groups.append(templates[number])
    return hits, groups


@dataclass(frozen=True)
class Turn:
    """One turn of a conversation: what the user asks, the calls that are right, and the functions at hand."""

    task: str
    text: str
    calls: tuple[tuple[str, dict[str, Any]], ...]
    tools: tuple[str, ...]

    @property
    def wanted(self) -> frozenset[str]:
        return frozenset(name for name, _ in self.calls)

    def trajectory(self) -> Trajectory:
        messages: list[dict[str, Any]] = [{"role": "user", "content": self.text}]
        for number, (name, arguments) in enumerate(self.calls):
            call = {"id": f"c{number}", "type": "function", "function": {"name": name, "arguments": orjson.dumps(arguments).decode()}}
            messages += [{"role": "assistant", "content": "", "tool_calls": [call]}, {"role": "tool", "tool_call_id": f"c{number}", "content": "ok"}]
        return checked(self.text, messages, 1.0, None, self.tools)


def turns(folder: Path) -> tuple[list[Turn], dict[str, str]]:
    """The turns of BFCL's multi-turn tasks that call something, and what the documentation says of each function."""
    docs = read_json(folder / BFCL, "function_docs.json.gz")
    answers = {one["id"]: one["ground_truth"] for one in read_lines(folder / BFCL / "answers", "multi_turn_base.jsonl.gz")}
    described = {one["name"]: one["description"].rsplit("Tool description: ", 1)[-1] for names in docs.values() for one in names}
    out = []
    for task in read_lines(folder / BFCL, "multi_turn_base.jsonl.gz"):
        hidden = set(task.get("excluded_function", []))
        tools = tuple(one["name"] for name in task["involved_classes"] for one in docs[_DOCS[name]] if one["name"] not in hidden)
        for said, right in zip(task["question"], answers[task["id"]], strict=True):
            calls = tuple(_call(text) for text in right)
            text = " ".join(message["content"] for message in said if message["role"] == "user").strip()
            if calls and text:
                out.append(Turn(task["id"], text, calls, tools))
    return out, described


def _call(text: str) -> tuple[str, dict[str, Any]]:
    """The call that BFCL writes as a line of Python."""
    node = ast.parse(text.strip(), mode="eval").body
    assert isinstance(node, ast.Call)
    name = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
    given: Iterable[tuple[str, ast.expr]] = [(f"argument {n}", one) for n, one in enumerate(node.args, 1)]
    return name, {name_: _value(one) for name_, one in [*given, *((k.arg or "more", k.value) for k in node.keywords)]}


def _value(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)


@dataclass(frozen=True)
class Named:
    """How well the tools of held-out turns were named: the F1 of the set for each turn, and the task that it belongs to."""

    f1: dict[str, list[float]]
    tasks: list[str]
    learnt: int


def tools_of_turns(folder: Path, embedder: Embedder, rng: np.random.Generator, most: int | None = None) -> Named:
    """Which functions a turn needs, named by: the function whose description is nearest (no memory), the calls of the nearest past turn (whole runs,
    found by the words of the turn), and the best procedure by scenario or by the raw query. `most` cuts the held-out turns."""
    every, described = turns(folder)
    names = sorted({turn.task for turn in every})
    train = set(rng.permutation(names)[: round(TRAIN_SHARE * len(names))].tolist())
    past = [turn for turn in every if turn.task in train]
    asked = [turn for turn in every if turn.task not in train][:most]
    vectors = dict(zip(described, embedder.embed([f"{name}: {said}" for name, said in described.items()]), strict=True))
    whole = embedder.embed([turn.text for turn in past])
    f1: dict[str, list[float]] = {"no memory": [], "whole runs": [], "key: raw query": [], "procedures": []}
    with Mnemos(":memory:", embedder=embedder) as memory:
        found = {}
        for arm, key in (("procedures", "scenario"), ("key: raw query", "query")):
            found[arm] = Procedures(memory.space(arm.replace(": ", "-")), Settings(key=key, hold_out=0.0))
            found[arm].learn([turn.trajectory() for turn in past])
        for turn, vector in zip(asked, embedder.embed([turn.text for turn in asked]), strict=True):
            best = max(turn.tools, key=lambda name: float(vectors[name] @ vector))
            f1["no memory"].append(_f1({best}, turn.wanted))
            usable = [n for n, one in enumerate(past) if one.wanted <= set(turn.tools)]
            nearest = max(usable, key=lambda n: float(whole[n] @ vector), default=None)
            f1["whole runs"].append(_f1(past[nearest].wanted if nearest is not None else set(), turn.wanted))
            for arm, procedures in found.items():
                recalled = procedures.recall(turn.text, 1, tools=turn.tools)
                f1[arm].append(_f1(set(recalled[0].procedure.actions) if recalled else set(), turn.wanted))
        learnt = len(found["procedures"])
    return Named(f1, [turn.task for turn in asked], learnt)


def _f1(named: set[str] | frozenset[str], wanted: frozenset[str]) -> float:
    right = len(named & wanted)
    return 2 * right / (len(named) + len(wanted)) if right else 0.0


