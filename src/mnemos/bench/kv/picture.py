"""The picture of `mnemos bench kv`: answers of later turns against bytes, and turn by turn. Needs matplotlib, of the [dev] extra.

`mnemos bench kv --json > RESULT.json`, then `python -m mnemos.bench.kv.picture TASK RESULT.json OUT.svg`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from mnemos.base.errors import Invalid, ModelUnavailable, NotFound

KINDS = {"full": "#1f2933", "window": "#8ecae6", "SnapKV": "#66738a", "H2O": "#f4a261", "TOVA": "#b5838d", "KNorm": "#84a59d", "KeyDiff": "#6d6875",
         "Expected": "#457b9d", "R-KV": "#bc6c25",
         "KIVI": "#e76f51", "ThinK": "#d4a373", "ShadowKV": "#0f766e", "UNComp": "#9b5de5"}  # fmt: skip
"""Colours of the policies, by the first word of an arm's name."""

Rows = Mapping[str, Mapping[str, Any]]


def rows_of(result: Mapping[str, Any], task: str) -> Rows:
    """The arms of a task. Raises `Invalid` where the result has none."""
    tables = result.get("details", {}).get("tables", {})
    found = tables.get(f"{task}: score by turn")
    if not found or len(found) < 2:
        tasks = [title.partition(":")[0] for title, rows in tables.items() if len(rows) > 1]
        raise Invalid(f"picture: the result has no arms for {task!r}; it has {', '.join(tasks) or 'none'}")
    rows: Rows = found
    return rows


def turns_of(row: Mapping[str, Any]) -> list[float]:
    """Scores in the order of the turns."""
    return [float(value) for name, value in row.items() if name.startswith("turn ")]


def draw(rows: Rows, task: str, out: Path) -> None:
    """Two panels: the mean of turns 2 and on against bytes near the compute, and the score of each turn. Raises `ModelUnavailable` without
    matplotlib."""
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise ModelUnavailable("plots need matplotlib: pip install 'mnemos[dev]'") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "kv"  # the same numbers give the same file
    figure, (by_bytes, by_turn) = pyplot.subplots(1, 2, figsize=(10.4, 4.6), dpi=160)
    lines: dict[str, list[tuple[float, float]]] = {}
    for name, row in rows.items():
        turns = turns_of(row)
        kind = name.split(",")[0].split(" ")[0]
        lines.setdefault(kind, []).append((float(row["near ÷ full"]), sum(turns[1:]) / max(1, len(turns) - 1)))
    for kind, points in lines.items():
        points.sort()
        by_bytes.plot(*zip(*points, strict=True), marker="o", markersize=5, color=KINDS.get(kind, "#999999"), label=kind)
    shown: dict[str, str] = {}
    for name in rows:  # of each policy the arm with the fewest bytes
        kind = name.split(",")[0].split(" ")[0]
        if kind not in shown or rows[name]["near ÷ full"] < rows[shown[kind]]["near ÷ full"]:
            shown[kind] = name
    for kind, name in shown.items():
        turns = turns_of(rows[name])
        by_turn.plot(range(1, len(turns) + 1), turns, marker="o", markersize=4, color=KINDS.get(kind, "#999999"))
    by_bytes.axvline(1 / 8, color="#cccccc", linewidth=1, zorder=0)
    by_bytes.set_xscale("log", base=2)
    ticks = [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1]
    by_bytes.set_xticks(ticks, ["1/16", "1/8", "1/4", "1/2", "1"])
    by_bytes.set_title("answers of turns 2 and on, by bytes near ÷ full", loc="left", fontsize=10)
    by_turn.set_title("answers by turn, each policy at its fewest bytes", loc="left", fontsize=10)
    by_turn.set_xticks(range(1, 1 + max(len(turns_of(row)) for row in rows.values())))
    for axes in (by_bytes, by_turn):
        axes.set_ylim(-0.03, 1.05)
        axes.grid(color="#e8e8e8", linewidth=0.6)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    figure.suptitle(f"{task}: one context, several questions, the reference model", fontsize=11)
    figure.legend(loc="lower center", ncol=6, frameon=False, fontsize=8)
    figure.tight_layout(rect=(0, 0.1, 1, 0.97))
    figure.savefig(out, metadata={"Date": None} if out.suffix == ".svg" else None)
    pyplot.close(figure)


def main() -> None:
    """The command. Raises `NotFound` for a file that is not there, `Invalid` for one that is no result."""
    if len(sys.argv) != 4:
        raise SystemExit(f"usage: python -m {__spec__.name} TASK RESULT.json OUT.svg")
    task, source, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if not source.is_file():
        raise NotFound(f"picture: {source} is not there")
    draw(rows_of(orjson.loads(source.read_bytes()), task), task, out)


if __name__ == "__main__":
    main()
