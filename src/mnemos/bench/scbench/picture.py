"""The picture of `mnemos bench scbench`: what each method answers from turn to turn, and the front of answers against bytes. Needs matplotlib, of the
[dev] extra.

`mnemos bench scbench --json > RESULT.json`, then `python -m mnemos.bench.scbench.picture RESULT.json OUT.svg`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from mnemos.base.errors import Invalid, ModelUnavailable, NotFound

CURVES = {
    "full: full cache": ("full cache", "#1f2933"),
    "loading: loads 1/8": ("keeps all, loads 1/8", "#0f766e"),
    "two bits: KIVI 2 bits": ("KIVI, 2 bits", "#e76f51"),
    "snapkv known: SnapKV 1/8 (query-aware)": ("SnapKV 1/8, knows question 1", "#9b5de5"),
    "snapkv 1/8: SnapKV 1/8": ("SnapKV 1/8", "#66738a"),
    "window: window 1/8": ("window 1/8", "#8ecae6"),
}
"""Rows of the findings that are drawn: label and colour."""
KINDS = {"full": "#1f2933", "window": "#8ecae6", "SnapKV": "#66738a", "KIVI": "#e76f51", "loads": "#0f766e", "text": "#c08d4f"}
"""Colours of the front, by the first word of a method's name."""
LABELS = {"full": "full cache", "loads": "keeps all, loads a share", "text": "text memory, read by the model"}
SAID = {"full cache": "", "text memory, reads 64 tokens": "64 tokens"}
BELOW = ("SnapKV 1/2", "SnapKV 1/4", "SnapKV 1/8", "SnapKV 1/16", "loads 1/16", "text memory, reads 64 tokens")
"""Points that are named below them, so that names do not meet."""
FINDINGS, FRONT = "Findings, KV and many-shot: scores", "Front, turns 2 on, questions that the full cache answers"

Rows = Mapping[str, Mapping[str, Any]]


def tables_of(result: Mapping[str, Any]) -> tuple[Rows, Rows]:
    """Scores of the findings and the front. Raises `Invalid` where the result has none: it ran on a model that cannot read, or for something else."""
    tables = result.get("details", {}).get("tables", {})
    if not tables.get(FINDINGS) or not tables.get(FRONT):
        raise Invalid("picture: the result has no findings and no front; give that of mnemos bench scbench --json, with the reference model")
    return tables[FINDINGS], tables[FRONT]


def score_of(row: Mapping[str, Any]) -> tuple[float, float, float]:
    """A score and its interval, from "0.512 (0.478–0.546)"."""
    value, low, high = map(float, re.findall(r"[0-9.]+", str(row["score"])))
    return value, low, high


def edge(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """The steps of the best score within each number of bytes, from (bytes, score), up to the most bytes."""
    sizes: list[float] = []
    best: list[float] = []
    for size, score in sorted(points):
        if not best or score > best[-1]:
            sizes.append(size)
            best.append(score)
    return [*sizes, max(size for size, _ in points)], [*best, best[-1]]


def draw(result: Mapping[str, Any], out: Path) -> None:
    """Two panels. Raises `ModelUnavailable` without matplotlib."""
    scores, front = tables_of(result)
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise ModelUnavailable("plots need matplotlib: pip install 'mnemos[dev]'") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "scbench"  # the same numbers give the same file
    figure, (by_turn, by_bytes) = pyplot.subplots(1, 2, figsize=(10.6, 4.4), dpi=160)
    turns = 0
    for name, (label, colour) in CURVES.items():
        if name in scores:
            values = [float(value) for key, value in scores[name].items() if key.startswith("turn ")]
            turns = max(turns, len(values))
            by_turn.plot(range(1, len(values) + 1), values, marker="o", markersize=4, color=colour, label=label)
    by_turn.set_xticks(range(1, turns + 1))
    by_turn.set_xlabel("turn", fontsize=9)
    by_turn.set_title("KV: answers by turn", loc="left", fontsize=10)
    by_turn.legend(frameon=False, fontsize=8, loc="center right", bbox_to_anchor=(1.0, 0.56))
    whole = float(front["full cache"]["near KiB"])
    points: list[tuple[float, float]] = []
    families: dict[str, list[tuple[float, float]]] = {}
    for name, row in front.items():
        kind, said = name.split(" ")[0], name.partition(" ")[2]
        value, low, high = score_of(row)
        size = float(row["near KiB"]) / whole
        colour, below = KINDS.get(kind, "#999999"), name in BELOW
        by_bytes.errorbar(size, value, yerr=[[value - low], [high - value]], fmt="o", markersize=5, color=colour, elinewidth=0.8)
        by_bytes.annotate(SAID.get(name, said), (size, value), xytext=(4, -11 if below else 5), textcoords="offset points", fontsize=7, color=colour)
        points.append((size, value))
        families.setdefault(kind, []).append((size, value))
    for kind, its in families.items():
        by_bytes.plot(*zip(*sorted(its), strict=True), color=KINDS.get(kind, "#999999"), linewidth=1.2, label=LABELS.get(kind, kind))
    by_bytes.step(*edge(points), where="post", color="#bbbbbb", linewidth=1, linestyle="--", zorder=0, label="front")
    by_bytes.legend(frameon=False, fontsize=7, loc="lower right")
    by_bytes.set_xscale("log", base=2)
    by_bytes.set_xticks([1 / 16, 1 / 8, 1 / 4, 1 / 2, 1], ["1/16", "1/8", "1/4", "1/2", "1"])
    by_bytes.set_xlim(1 / 20, 1.6)
    by_bytes.set_xlabel("bytes near the compute ÷ full cache's", fontsize=9)
    by_bytes.set_title("five tasks, turns 2 and on: answers by bytes", loc="left", fontsize=10)
    for axes in (by_turn, by_bytes):
        axes.set_ylim(-0.03, 1.08)
        axes.grid(color="#e8e8e8", linewidth=0.6)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig(out, metadata={"Date": None} if out.suffix == ".svg" else None)
    pyplot.close(figure)


def main() -> None:
    """The command. Raises `NotFound` for a file that is not there, `Invalid` for one that is no result."""
    if len(sys.argv) != 3:
        raise SystemExit(f"usage: python -m {__spec__.name} RESULT.json OUT.svg")
    source, out = Path(sys.argv[1]), Path(sys.argv[2])
    if not source.is_file():
        raise NotFound(f"picture: {source} is not there")
    draw(orjson.loads(source.read_bytes()), out)


if __name__ == "__main__":
    main()
