"""Draws docs/img/convomem.svg: right answers and cost by the number of conversations, for each way of reading. Needs matplotlib ([dev]).

    mnemos bench convomem --json > convomem.json && python docs/img/convomem_picture.py convomem.json docs/img/convomem.svg
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

matplotlib.rcParams["svg.hashsalt"] = "convomem"  # the same numbers give the same file
matplotlib.rcParams["svg.fonttype"] = "none"
matplotlib.rcParams["font.family"] = ["sans-serif"]
WAYS = {
    "long context": ("everything", "#66738a", "-"),
    "blocks": ("blocks of ten", "#a87239", "-"),
    "cut, 95 %": ("search, 95 % of the relevance", "#8893a5", "--"),
    "top 5": ("search, 5 hits", "#c9ced6", "-"),
    "policy": ("the policy", "#0f766e", "-"),
}


def rows(result: dict[str, Any], method: str) -> list[dict[str, Any]]:
    """The rows of all categories of a method, by size, without weak ones."""
    cell = method, "all", "all", False
    found = [row for row in result["details"]["rows"] if (row["method"], row["category"], row["evidence"], row["weak"]) == cell]
    return sorted(found, key=lambda row: row["context_size"])


def main() -> None:
    result = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    figure, (right, cost) = pyplot.subplots(1, 2, figsize=(9.6, 3.9))
    for method, (label, colour, line) in WAYS.items():
        found = rows(result, method)
        sizes = [row["context_size"] for row in found]
        width = 2.4 if method == "policy" else 1.5
        right.plot(sizes, [row["accuracy"] for row in found], line, color=colour, lw=width, label=label, zorder=3 if method == "policy" else 2)
        right.fill_between(sizes, [row["low"] for row in found], [row["high"] for row in found], color=colour, alpha=0.14, lw=0)
        cost.plot(sizes, [1000 * row["cost"] for row in found], line, color=colour, lw=width, zorder=3 if method == "policy" else 2)
    for axes, title in ((right, "answered rightly"), (cost, "dollars a thousand questions")):
        axes.set_xscale("log")
        axes.set_xticks([2, 5, 10, 30, 100, 300], ["2", "5", "10", "30", "100", "300"])
        axes.minorticks_off()
        axes.set_xlabel("conversations in the history")
        axes.set_title(title, fontsize=10, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#e5e7eb", lw=0.6)
        axes.set_axisbelow(True)
    right.set_ylim(0.4, 1.0)
    cost.set_yscale("log")
    cost.set_yticks([0.1, 0.3, 1, 3, 10, 30], ["0.1", "0.3", "1", "3", "10", "30"])
    cost.minorticks_off()
    figure.legend(loc="upper center", ncols=5, frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, 0, 1, 0.93))
    figure.savefig(sys.argv[2], metadata={"Date": None})


if __name__ == "__main__":
    main()
