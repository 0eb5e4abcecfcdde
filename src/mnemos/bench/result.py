"""What a benchmark gives: one object of plain values, as JSON or as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import orjson
from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from mnemos.base.stats import Interval


@dataclass(frozen=True)
class Check:
    """One number with the bound it has to keep. `at_least` says on which side of `threshold` it has to lie."""

    metric: str
    measured: float
    threshold: float | None = None
    at_least: bool = True
    baseline: float | None = None
    interval: tuple[float, float] | None = None
    n: int = 0

    @property
    def holds(self) -> bool | None:
        """Whether the bound is kept; None where there is none."""
        if self.threshold is None:
            return None
        return self.measured >= self.threshold if self.at_least else self.measured <= self.threshold

    @classmethod
    def of(cls, metric: str, interval: Interval, threshold: float | None = None, **more: Any) -> Check:
        """A check of an estimate with its interval."""
        return cls(metric, interval.value, threshold, interval=(interval.low, interval.high), n=interval.n, **more)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "holds": self.holds}


@dataclass(frozen=True)
class Result:
    """A benchmark's outcome. `metric` to `interval` are those of its first check; `holds` asks all checks, which `details` lists.

    `holds` is None where nothing has a threshold. `seconds` is the whole run; `machine` what it ran on.
    """

    name: str
    paper: str
    claim: str
    metric: str
    measured: float
    baseline: float | None
    threshold: float | None
    holds: bool | None
    n: int
    interval: tuple[float, float] | None
    seconds: float
    machine: Mapping[str, Any]
    details: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        name: str,
        paper: str,
        claim: str,
        checks: Sequence[Check],
        *,
        seconds: float,
        machine: Mapping[str, Any],
        details: Mapping[str, Any],
    ) -> Result:
        """The result of at least one check."""
        first = checks[0]
        verdicts = [check.holds for check in checks if check.holds is not None]
        return cls(
            name=name,
            paper=paper,
            claim=claim,
            metric=first.metric,
            measured=first.measured,
            baseline=first.baseline,
            threshold=first.threshold,
            holds=all(verdicts) if verdicts else None,
            n=first.n,
            interval=first.interval,
            seconds=seconds,
            machine=machine,
            details={"checks": [check.as_dict() for check in checks], **details},
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; NaN and infinity, which JSON does not have, become null."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain

    def as_json(self) -> str:
        return orjson.dumps(self.as_dict(), option=orjson.OPT_INDENT_2).decode()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def render(result: Result) -> RenderableType:
    """The result as a panel: checks with their bounds, then the tables that `details["tables"]` holds, then notes."""
    plain = result.as_dict()
    checks = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=False)
    for column, justify in [("", "center"), ("check", "left"), ("measured", "right"), ("95 % interval", "right"), ("bound", "right"),
                            ("baseline", "right"), ("n", "right")]:
        checks.add_column(column, justify=justify)  # type: ignore[arg-type]
    for check in plain["details"].get("checks", []):
        checks.add_row(
            _mark(check["holds"]),
            check["metric"],
            Text(_number(check["measured"]), style="bold"),
            _range(check["interval"]),
            "" if check["threshold"] is None else f"{'≥' if check['at_least'] else '≤'} {_number(check['threshold'])}",
            _number(check["baseline"]),
            f"{check['n']:,}" if check["n"] else "",
        )
    parts: list[RenderableType] = [Text(result.claim, style="italic"), Text(""), checks]
    parts += [_table(title, rows) for title, rows in plain["details"].get("tables", {}).items() if rows]
    parts += [Text(f"· {note}", style="dim") for note in plain["details"].get("notes", [])]
    where = f"{plain['machine'].get('cpu', '')}, {plain['machine'].get('cores', '?')} cores"
    return Panel(
        Group(*parts),
        title=f"[bold]{result.name}[/] · {result.paper}",
        subtitle=f"{result.seconds:.1f} s · {where}",
        border_style={True: "green", False: "red", None: "cyan"}[result.holds],
        title_align="left",
        subtitle_align="right",
    )


def _table(title: str, rows: Mapping[str, Mapping[str, Any]]) -> Table:
    """A table of `{row: {column: value}}`; the best value of a column is not marked, because for some columns less is better."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    columns: dict[str, None] = {}
    for row in rows.values():
        columns.update(dict.fromkeys(row))
    table.add_column("")
    for column in columns:
        table.add_column(column, justify="right")
    for name, row in rows.items():
        style = "bold" if name == "mnemos" else ""
        table.add_row(Text(name, style=style), *(Text(_number(row.get(column)), style=style) for column in columns))
    return table


def _mark(holds: bool | None) -> Text:
    return Text("·", style="dim") if holds is None else Text("✓", style="green") if holds else Text("✗", style="bold red")


def _range(interval: Sequence[float | None] | None) -> str:
    return "" if not interval or interval[0] is None else f"{_number(interval[0])} – {_number(interval[1])}"


def _number(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
