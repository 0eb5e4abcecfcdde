"""An agent that learns from its own runs, without a model: what it did wrong once it does right afterwards, and what stops working is let go.

python examples/procedures.py
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import mnemos
from mnemos.kernel.procedures import Procedures, Settings
from mnemos.text.trajectories.importing import trajectory
from mnemos.text.trajectories.trajectory import Trajectory

TOOLS = ("find_order", "open_session", "refund", "notify")


class Shop:
    """The tools: a refund needs an open session, which nobody told the agent."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.session = False

    def call(self, tool: str, **arguments: Any) -> bool:
        self.session = self.session or tool == "open_session"
        worked = tool != "refund" or self.session
        result = "done" if worked else "Error: no open session"
        function = {"name": tool, "arguments": arguments}
        self.messages += [{"role": "assistant", "content": "", "function_call": function}, {"role": "function", "name": tool, "content": result}]
        return worked


def attempt(task: str, guidance: str) -> Trajectory:
    """The agent: it follows its plan, and calls before it what the guidance names and the plan lacks."""
    order = re.findall(r"[A-Z]\d+", task)[0]
    shop = Shop()
    shop.messages.append({"role": "user", "content": task})
    named = [tool for tool in re.findall(r"\b(\w+)\b", guidance) if tool in TOOLS]
    plan = list(dict.fromkeys([*(tool for tool in named if tool == "open_session"), "find_order", "refund"]))
    worked = [shop.call(tool, order=order) for tool in plan]
    return trajectory(shop.messages, all(worked), tools=TOOLS)


def main(folder: Path) -> None:
    with mnemos.open(folder / "memory.db", embedder="hashed") as mem:
        procedures = Procedures(mem.space("shop"), Settings(hold_out=0.0))
        rng = np.random.default_rng(0)
        for number in range(1, 4):
            task = f"Refund the order A{100 + number}, the customer is waiting"
            solved = procedures.solve(task, lambda guidance, task=task: attempt(task, guidance), tools=TOOLS, rng=rng)
            print(f"Task {number}: {len(solved.attempts)} attempts, {len(solved.learnt.added)} procedures learnt")
        print("\nWhat the agent is told at the next task:\n")
        given = procedures.guide("Refund the order B777, it never came", tools=TOOLS, rng=rng)
        print(given.text)
        procedures.report(given.run_id, 1.0)
        print("\nWhat its use has shown:")
        for id, procedure in procedures.entries().items():
            counts = procedures.counts(id)
            print(f"- {procedure.category}: used in {counts.f} runs, {counts.u} of them succeeded")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        main(Path(scratch))
