"""The table and the picture of docs/strategies.md. Needs matplotlib, of the [dev] extra.

`mnemos bench strategies --json > RESULT.json`, then `python -m mnemos.bench.strategies.picture RESULT.json DOCS` writes DOCS/strategies/table.md and
DOCS/img/strategies.svg.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from mnemos.base.errors import Invalid, ModelUnavailable

METRIC = {"musique": "all@10", "hotpotqa": "all@10", "2wikimultihopqa": "all@10"}
"""What is drawn of a set; recall@10 of the others."""
COLUMNS = (
    "recall@10", "all@10", "sessions@3", "context", "answer", "tokens", "write ms", "consolidate ms", "views a memory", "read ms p50", "read ms p95",
)  # fmt: skip
COLOURS = ("#c9ced6", "#8ecae6", "#219ebc", "#f4a261", "#e76f51", "#b5838d", "#6d6875", "#84a59d", "#0f766e")

Rows = Mapping[str, Mapping[str, float]]


def markdown(result: Mapping[str, Any]) -> str:
    """Every set as a table, a line for each strategy."""
    machine = result["machine"]
    out = [
        "# Strategies side by side",
        "",
        f"Written by `mnemos bench strategies`{' --quick' if result['details']['quick'] else ''} on {machine.get('cpu', 'a machine')}; seed "
        f"{result['details']['seed']}. Do not edit.",
        "",
        *result["details"]["notes"],
    ]
    for name, rows in result["details"]["tables"].items():
        n = int(next(iter(rows.values()))["n"])
        out += ["", f"## {name}, n = {n}", "", "| strategy | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
        out += [f"| {strategy} | " + " | ".join(_cell(column, row.get(column)) for column in COLUMNS) + " |" for strategy, row in rows.items()]
    out += ["", "## Checks", "", "| check | measured | interval | bound | holds |", "|---|---|---|---|---|"]
    for check in result["details"]["checks"]:
        low, high = check["interval"] or (None, None)
        span = "" if low is None or high is None else f"{low:.3f} to {high:.3f}"
        out.append(f"| {check['metric']} | {check['measured']:.3f} | {span} | {check['threshold']} | {'yes' if check['holds'] else '**no**'} |")
    return "\n".join(out) + "\n"


def _cell(column: str, value: float | None) -> str:
    if value is None or math.isnan(value):
        return ""
    return f"{value:.0f}" if column == "tokens" else f"{value:.2f}" if "ms" in column or "views" in column else f"{value:.3f}"


def draw(result: Mapping[str, Any], out: Path) -> None:
    """A group of bars for each set, a bar for each strategy; none where it was not run on a set. Raises `ModelUnavailable` without matplotlib."""
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise ModelUnavailable("plots need matplotlib: pip install 'mnemos[dev]'") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    tables: Mapping[str, Rows] = result["details"]["tables"]
    strategies = list(next(iter(tables.values())))
    figure, axes = pyplot.subplots(figsize=(1.5 * len(tables) + 1.5, 4.2), dpi=160)
    width = 0.82 / len(strategies)
    for at, strategy in enumerate(strategies):
        values = [rows.get(strategy, {}).get(METRIC.get(name, "recall@10"), math.nan) for name, rows in tables.items()]
        places = [group + (at - (len(strategies) - 1) / 2) * width for group in range(len(tables))]
        axes.bar(places, values, width * 0.92, label=strategy, color=COLOURS[at % len(COLOURS)])
    axes.set_xticks(range(len(tables)), [f"{name}\n{METRIC.get(name, 'recall@10')}" for name in tables], fontsize=8)
    axes.set_ylim(0, 1.02)
    axes.spines[["top", "right"]].set_visible(False)
    axes.yaxis.grid(True, color="#e5e7eb", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(ncols=len(strategies), loc="upper center", bbox_to_anchor=(0.5, -0.14), frameon=False, fontsize=8)
    figure.savefig(out, bbox_inches="tight")
    pyplot.close(figure)


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 2:
        raise Invalid("picture: give the result of `mnemos bench strategies --json`, and the folder of the docs")
    result, docs = orjson.loads(Path(arguments[0]).read_bytes()), Path(arguments[1])
    (docs / "strategies").mkdir(exist_ok=True)
    (docs / "strategies" / "table.md").write_text(markdown(result), encoding="utf-8")
    draw(result, docs / "img" / "strategies.svg")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
