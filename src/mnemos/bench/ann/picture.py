"""The picture of the curves: recall against latency, and against memory, of every system on one world. Needs matplotlib, of the [dev] extra.

`mnemos bench ann --json > RESULT.json`, then `python -m mnemos.bench.ann.picture WORLD RESULT.json … OUT.svg`; results of several parts may be given.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from mnemos.base.errors import Invalid, ModelUnavailable, NotFound
from mnemos.bench.ann.arms import MNEMOS, SYSTEMS
from mnemos.bench.ann.curves import frontier

COLOURS = dict(zip((MNEMOS, *SYSTEMS), ("#0f766e", "#66738a", "#8ecae6", "#e76f51", "#f4a261", "#6d6875", "#b5838d", "#84a59d"), strict=True))
LINES = ("-", "--", ":", "-.")
"""Of the arms of one system, in their order."""
LEAST = 0.5
"""Recall that the axes begin at."""

Curves = Sequence[Mapping[str, Any]]


def curves_of(results: Iterable[Mapping[str, Any]], world: str) -> list[Mapping[str, Any]]:
    """The curves of that world in all results. Raises `Invalid` where there are none."""
    found: list[Mapping[str, Any]] = []
    known: set[str] = set()
    for result in results:
        curves = result.get("details", {}).get("curves", {})
        known |= set(curves)
        found += [curve for curve in curves.get(world, []) if curve["points"]]
    if not found:
        raise Invalid(f"picture: no curves of {world!r} in these results; there are {', '.join(sorted(known)) or 'none'}")
    return found


def line(curve: Mapping[str, Any], cost: str) -> list[tuple[float, float]]:
    """(recall, cost) of an arm's points that no other of its own beats, by rising recall."""
    return frontier((point["recall"], point[cost]) for point in curve["points"])


def draw(curves: Curves, world: str, out: Path) -> None:
    """Two panels side by side: milliseconds (p50) and memory, both by recall. Raises `ModelUnavailable` without matplotlib."""
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise ModelUnavailable("plots need matplotlib: pip install 'mnemos[dev]'") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "ann"  # the same numbers give the same file
    figure, (latency, memory) = pyplot.subplots(1, 2, figsize=(10.4, 4.6), dpi=160)
    seen: dict[str, int] = {}
    for curve in curves:
        system = curve["system"]
        number = seen[system] = seen.get(system, -1) + 1
        width, above = (2.4, 3) if system == MNEMOS else (1.3, 2)
        style = {"color": COLOURS[system], "ls": LINES[number % len(LINES)], "lw": width, "zorder": above}
        points = line(curve, "p50_ms")
        latency.plot([x for x, _ in points], [y for _, y in points], marker="o", ms=3, label=curve["arm"], **style)
        most = max(curve["points"], key=lambda point: point["recall"])
        memory.plot([point["recall"] for point in curve["points"]], [point["memory"] for point in curve["points"]], **{**style, "lw": 1})
        memory.plot([most["recall"]], [most["memory"]], marker="o", ms=5, color=COLOURS[system], zorder=above)
    for axes, title in ((latency, "milliseconds a query (p50, one core)"), (memory, "memory ÷ raw vectors")):
        axes.set_yscale("log")
        axes.set_xlim(LEAST, 1.005)
        axes.set_xlabel("recall@10")
        axes.set_title(title, fontsize=10, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#e5e7eb", lw=0.6)
        axes.set_axisbelow(True)
    figure.suptitle(world, fontsize=10)
    figure.legend(*latency.get_legend_handles_labels(), loc="lower center", ncols=5, frameon=False, fontsize=7)
    figure.tight_layout(rect=(0, 0.05 + 0.03 * (len(curves) // 5), 1, 1))
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, metadata={"Date": None} if out.suffix == ".svg" else None)
    pyplot.close(figure)


def main(arguments: Sequence[str]) -> int:
    """Draws the world that the first argument names, of the result files that follow, into the file that the last one names."""
    if len(arguments) < 3:
        sys.stderr.write("usage: python -m mnemos.bench.ann.picture WORLD RESULT.json … OUT.svg\n")
        return 2
    world, *names, out = arguments
    for name in names:
        if not Path(name).is_file():
            raise NotFound(f"picture: no file {name}; write it with mnemos bench ann --json > {name}")
    draw(curves_of([orjson.loads(Path(name).read_bytes()) for name in names], world), world, Path(out))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
