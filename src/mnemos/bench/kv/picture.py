"""The picture of `mnemos bench kv`: answers of later turns against bytes, and turn by turn. Needs matplotlib, of the [dev] extra.

`mnemos bench kv --json > RESULT.json`, then `python -m mnemos.bench.kv.picture RESULT.json OUT.svg`: a row of panels for each
task that the full cache answers, the model in float32, in bfloat16, and turn by turn.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from mnemos.base.errors import Invalid, ModelUnavailable, NotFound
from mnemos.bench.kv.headline import HALVED

KINDS = {"full": "#1f2933", "window": "#8ecae6", "SnapKV": "#66738a", "H2O": "#f4a261", "TOVA": "#b5838d", "KNorm": "#84a59d", "KeyDiff": "#6d6875",
         "Expected": "#457b9d", "R-KV": "#bc6c25", "KIVI": "#e76f51", "ThinK": "#d4a373", "ThinK in few bits": "#a98467",
         "SnapKV in few bits": "#3d405b", "ShadowKV": "#5eb5ad", "ShadowKV in few bits": "#0f766e", "blocks": "#7b2cbf",
         "Landmark": "#d00000", "Landmark in few bits": "#ff7d00"}  # fmt: skip
"""Colours of the policies, by `kind_of` an arm."""
BRINGS = ("ShadowKV", "ShadowKV in few bits", "blocks", "Landmark", "Landmark in few bits")
"""Those that bring back, drawn as squares."""

Rows = Mapping[str, Mapping[str, Any]]


def kind_of(arm: str) -> str:
    """The first word of an arm's name, and whether what is usually kept as it is was put in few bits."""
    first = arm.split(",")[0].split(" ")[0]
    return f"{first} in few bits" if " bits" in arm and f"{first} in few bits" in KINDS else first


def tasks_of(result: Mapping[str, Any]) -> dict[str, Rows]:
    """The arms of each task that has some. Raises `Invalid` where none has."""
    tables = result.get("details", {}).get("tables", {})
    ending = ": score by turn"
    found = {title.removesuffix(ending): rows for title, rows in tables.items() if title.endswith(ending) and len(rows) > 1}
    if not found:
        raise Invalid("picture: the result has no arms for any task: give one of `mnemos bench kv --json`")
    return found


def turns_of(row: Mapping[str, Any]) -> list[float]:
    """Scores in the order of the turns."""
    return [float(value) for name, value in row.items() if name.startswith("turn ")]


def draw(tasks: Mapping[str, Rows], out: Path) -> None:
    """For each task two panels: the mean of turns 2 and on against bytes near the compute, and the score of each turn. Raises `ModelUnavailable`
    without matplotlib."""
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise ModelUnavailable("plots need matplotlib: pip install 'mnemos[dev]'") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "kv"  # the same numbers give the same file
    whole = {task: rows for task, rows in tasks.items() if not task.endswith(HALVED)}
    figure, panels = pyplot.subplots(len(whole), 3, figsize=(14.4, 3.2 * len(whole) + 1.4), dpi=160, squeeze=False)
    handles: dict[str, Any] = {}
    for (task, rows), (by_bytes, in_half, by_turn) in zip(whole.items(), panels, strict=True):
        handles |= _by_bytes(by_bytes, rows) | _by_bytes(in_half, tasks.get(f"{task}{HALVED}", {}))
        _by_turn(by_turn, rows)
        by_bytes.set_title(f"{task}: answers of turns 2 and on, by bytes near ÷ full", loc="left", fontsize=9)
        in_half.set_title(f"{task}: the same, the model in bfloat16", loc="left", fontsize=9)
        by_turn.set_title(f"{task}: by turn, each policy at its fewest bytes", loc="left", fontsize=9)
        for axes in (by_bytes, in_half, by_turn):
            axes.set_ylim(-0.03, 1.05)
            axes.grid(color="#e8e8e8", linewidth=0.6)
            for side in ("top", "right"):
                axes.spines[side].set_visible(False)
    figure.suptitle("One context, several questions, the reference model", fontsize=11)
    figure.legend(handles.values(), handles.keys(), loc="lower center", ncol=9, frameon=False, fontsize=8)
    figure.tight_layout(rect=(0, 0.9 / figure.get_figheight(), 1, 0.99))
    figure.savefig(out, metadata={"Date": None} if out.suffix == ".svg" else None)
    pyplot.close(figure)


def _by_bytes(axes: Any, rows: Rows) -> dict[str, Any]:
    """Gives what the legend shows, by kind."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for name, row in rows.items():
        turns = turns_of(row)
        lines.setdefault(kind_of(name), []).append((float(row["near ÷ full"]), sum(turns[1:]) / max(1, len(turns) - 1)))
    handles = {}
    for kind, points in lines.items():
        points.sort()
        marker = "s" if kind in BRINGS else "o"
        (handles[kind],) = axes.plot(*zip(*points, strict=True), marker=marker, markersize=5, color=KINDS.get(kind, "#999999"), label=kind)
    axes.axvline(1 / 8, color="#cccccc", linewidth=1, zorder=0)
    axes.set_xscale("log", base=2)
    axes.set_xticks([1 / 16, 1 / 8, 1 / 4, 1 / 2, 1], ["1/16", "1/8", "1/4", "1/2", "1"])
    return handles


def _by_turn(axes: Any, rows: Rows) -> None:
    shown: dict[str, str] = {}
    for name in rows:  # of each policy the arm with the fewest bytes
        kind = kind_of(name)
        if kind not in shown or rows[name]["near ÷ full"] < rows[shown[kind]]["near ÷ full"]:
            shown[kind] = name
    for kind, name in shown.items():
        turns = turns_of(rows[name])
        marker = "s" if kind in BRINGS else "o"
        axes.plot(range(1, len(turns) + 1), turns, marker=marker, markersize=4, color=KINDS.get(kind, "#999999"))
    axes.set_xticks(range(1, 1 + max(len(turns_of(row)) for row in rows.values())))


def main() -> None:
    """The command. Raises `NotFound` for a file that is not there, `Invalid` for one that is no result."""
    if len(sys.argv) != 3:
        raise SystemExit(f"usage: python -m {__spec__.name} RESULT.json OUT.svg")
    source, out = (Path(name) for name in sys.argv[1:])
    if not source.is_file():
        raise NotFound(f"picture: {source} is not there")
    draw(tasks_of(orjson.loads(source.read_bytes())), out)


if __name__ == "__main__":
    main()
