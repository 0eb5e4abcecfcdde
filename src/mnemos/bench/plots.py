"""The picture of the README: recall@10 of every system on every set, with intervals. Needs matplotlib, of the [dev] extra.

`python -m mnemos.bench.plots RESULTS.json … OUT.png` draws results that `mnemos bench NAME --json` wrote.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from mnemos.base.errors import Invalid, ModelUnavailable, NotFound

METRIC = "recall@10"
ORDER = ("dense", "bm25", "bm25, no stop words", "rrf", "mnemos")
COLOURS = {"dense": "#c9ced6", "bm25": "#a9b2bf", "bm25, no stop words": "#8893a5", "rrf": "#66738a", "mnemos": "#0f766e"}
LABELS = {"dense": "dense (cosine)", "bm25": "BM25 (FTS5)", "bm25, no stop words": "BM25, no stop words", "rrf": "rank fusion", "mnemos": "Mnemos"}
BETWEEN = 2
"""Widths of a bar between the bars of one set and those of the next."""
PEER_COLOURS = ("#f3dcb8", "#e6c08a", "#d6a86b", "#c08d4f", "#a87239", "#8d5a2b", "#704522", "#55331b")


def bars(result: Mapping[str, Any]) -> dict[str, float]:
    """Mean recall@10 by system, of the result's first table (the whole set). Raises `Invalid` where it has none."""
    tables: Mapping[str, Any] = result.get("details", {}).get("tables", {})
    for rows in tables.values():
        found = {name: row[METRIC] for name, row in rows.items() if METRIC in row}
        if found:
            return found
    raise Invalid(f"plot: the result of {result.get('name')!r} has no {METRIC}; give results of retrieval benchmarks")


def interval(result: Mapping[str, Any]) -> tuple[float, float] | None:
    """The product's interval of recall@10, from the result's checks."""
    for check in result["details"]["checks"]:
        if check["metric"].startswith(METRIC) and "÷" not in check["metric"] and check["interval"] and None not in check["interval"]:
            return float(check["interval"][0]), float(check["interval"][1])
    return None


def draw(results: Sequence[Mapping[str, Any]], out: Path) -> None:
    """Writes a grouped bar chart of the results to `out` (PNG or SVG by its name). Raises `ModelUnavailable` without matplotlib."""
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise ModelUnavailable("plots need matplotlib: pip install 'mnemos[dev]'") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    values = [bars(result) for result in results]
    peers = sorted({name for row in values for name in row} - set(ORDER))
    systems = [*[name for name in ORDER[:-1] if any(name in row for row in values)], *peers, ORDER[-1]]
    colours = COLOURS | {peer: PEER_COLOURS[i % len(PEER_COLOURS)] for i, peer in enumerate(peers)}
    present = [[system for system in systems if system in row] for row in values]
    centres = [sum(map(len, present[:i])) + len(here) / 2 + BETWEEN * i for i, here in enumerate(present)]
    figure, axes = pyplot.subplots(figsize=(max(7.2, 0.16 * sum(map(len, present)) + 0.5 * len(results) + 2), 4.4), dpi=160)
    for system in systems:
        where = [i for i, here in enumerate(present) if system in here]
        places = [centres[i] - len(present[i]) / 2 + present[i].index(system) + 0.5 for i in where]
        axes.bar(places, [values[i][system] for i in where], 0.92, label=LABELS.get(system, system), color=colours[system])
        if system == ORDER[-1]:
            for i, place in zip(where, places, strict=True):
                _mark(axes, place, values[i][system], interval(results[i]))
    axes.set_xticks(centres, [result["name"] for result in results])
    axes.set_ylabel("evidence recall@10")
    axes.set_ylim(0, 1.09)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e5e7eb", lw=0.6)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=8, ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    figure.tight_layout()
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)
    pyplot.close(figure)


def _mark(axes: Any, x: float, height: float, bounds: tuple[float, float] | None) -> None:
    """The value over the product's bar, and its interval."""
    low, high = bounds or (height, height)
    if bounds:
        axes.errorbar([x], [height], yerr=[[max(0.0, height - low)], [max(0.0, high - height)]], color="#134e4a", capsize=2, lw=1)
    top = max(height, high) + 0.02
    axes.text(x, top, f"{height:.2f}", ha="center", fontsize=8, color=COLOURS[ORDER[-1]], fontweight="bold")


def main(arguments: Sequence[str]) -> int:
    """Reads result files and draws them; the last argument is the picture."""
    if len(arguments) < 2:
        sys.stderr.write("usage: python -m mnemos.bench.plots RESULT.json … OUT.png\n")
        return 2
    results = []
    for name in arguments[:-1]:
        if not Path(name).is_file():
            raise NotFound(f"plot: no file {name}; write it with mnemos bench NAME --json > {name}")
        results.append(orjson.loads(Path(name).read_bytes()))
    draw(results, Path(arguments[-1]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
