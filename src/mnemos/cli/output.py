"""What the commands print: tables and blocks at a terminal, tab-separated lines in a pipe, one JSON object with `--json`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from mnemos.base.cube import MemCube
    from mnemos.base.protocols import Progress
    from mnemos.kernel.reading.results import Hit

# Control characters, halves of surrogates, and marks that turn the direction of writing: stored text must not steer a terminal.
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
_BAR, _LEAST = 12, 20
_PORTION = 1 << 15


def clean(text: str) -> str:
    """`text` with every character that could steer a terminal shown as �; line ends and tabs stay."""
    return _STEERING.sub("\ufffd", text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """`text` cleaned, on one line, words a single space apart."""
    return " ".join(clean(text).split())


def shortened(text: str, width: int) -> str:
    """`text` on one line of at most `width` characters, cut at a word where one ends near."""
    line = one_line(text)
    if len(line) <= width:
        return line
    cut = line[: max(width - 1, 1)]
    at = cut.rfind(" ")
    return (cut[:at] if at > width * 2 // 3 else cut).rstrip(" ,;:–-") + "…"


def moment(when: datetime | None) -> str:
    """A time to the minute, in UTC."""
    return f"{when:%Y-%m-%d %H:%M}" if when else ""


def print_json(value: Any) -> None:
    """One JSON object on stdout."""
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n"
    for at in range(0, len(text), _PORTION):  # in portions, so that a reader who goes away is noticed on the way
        sys.stdout.write(text[at : at + _PORTION])


def counted(count: int, one: str, more: str) -> str:
    """A number with its noun, which agrees with it."""
    return f"{count:,} {one if count == 1 else more}"


def size(count: float) -> str:
    """Bytes in the unit that a person reads most easily."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} GB"


def table(out: Console, columns: Sequence[str], rows: Sequence[Sequence[object]], *, flexible: str = "", title: str = "") -> None:
    """Rows under headings; tab-separated with one heading line where nobody watches. `flexible` names the column that takes the width left.
    Where a terminal is too narrow for whole ids, each row is a line of its own, and the flexible cell one below it."""
    if not out.is_terminal:
        for row in (columns, *rows):
            sys.stdout.write("\t".join(one_line(str(cell)) for cell in row) + "\n")
        return
    if columns[0] == "id" and _cut(out, columns, rows, flexible):
        for row in rows:
            cells = {column: one_line(str(cell)) for column, cell in zip(columns, row, strict=True)}
            last = cells.pop(flexible, "")
            out.print(Text("  ".join(cell for cell in cells.values() if cell)), soft_wrap=True)
            if last:
                out.print(Padding(Text(last), (0, 0, 0, 2)))
        return
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold cyan", title=title or None, title_justify="left", expand=bool(flexible))
    for column in columns:
        if column == flexible:
            grid.add_column(column, ratio=1, overflow="fold")
        else:
            grid.add_column(column, no_wrap=True, overflow="ellipsis")
    for row in rows:
        grid.add_row(*(cell if isinstance(cell, Text) else Text(clean(str(cell))) for cell in row))
    out.print(grid)


def _cut(out: Console, columns: Sequence[str], rows: Sequence[Sequence[object]], flexible: str) -> bool:
    """Whether a table would have to cut cells, ids among them, which nobody could copy then."""
    widths = {column: max(map(cell_len, (column, *(one_line(str(row[at])) for row in rows)))) for at, column in enumerate(columns)}
    return sum(min(width, _LEAST) if column == flexible else width for column, width in widths.items()) + 3 * len(columns) > out.width


def rules_text(rules: Mapping[str, Sequence[str]]) -> str:
    """Rules of who may do what, on one line."""
    return "; ".join(f"{verb}: {', '.join(map(one_line, names)) or 'nobody'}" for verb, names in rules.items())


def value_text(value: object) -> str:
    """A field's value for reading: lists with commas, objects as JSON, times to the second."""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(value_text, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, Mapping):
        return orjson.dumps(value).decode()
    return str(value)


def standing(cube: MemCube) -> list[Text]:
    """The words for what is out of the ordinary about a memory: quarantined, archived, merged, expired, frozen, stale."""
    words = [Text(cube.state, style="red")] if cube.state not in ("generated", "activated") else []
    return [*words, *(Text(word, style=style) for word, style in (("frozen", "blue"), ("stale", "yellow")) if getattr(cube, word))]


def byline(cube: MemCube) -> Text:
    """Who said it, when, where it comes from, and what is out of the ordinary about it."""
    parts = [
        Text(one_line(cube.author or ""), style="bold"),
        Text(moment(cube.event_at), style="cyan"),
        Text(one_line(cube.source or ""), style="magenta"),
        Text("" if cube.type in ("turn", "fact") else cube.type, style="dim"),
        Text(f"version {cube.version}" if cube.version > 1 else "", style="yellow"),
        *standing(cube),
    ]
    return Text.assemble((" · ", "dim")).join([part for part in parts if part.plain])


def why(signals: Mapping[str, float], most: int = 4) -> Text:
    """The strongest signals of a hit, as words and numbers."""
    strongest = sorted(((name, value) for name, value in signals.items() if value), key=lambda pair: -abs(pair[1]))[:most]
    return Text("  ").join(Text.assemble((name.replace("_", " "), "dim"), " ", (f"{value:.2f}", "green")) for name, value in strongest)


def signal_bars(signals: Mapping[str, float]) -> Table:
    """Every signal of a hit with a bar, longest for the strongest."""
    grid = Table.grid(padding=(0, 2))
    top = max((abs(value) for value in signals.values()), default=0.0) or 1.0
    for name, value in sorted(signals.items(), key=lambda pair: -abs(pair[1])):
        filled = round(abs(value) / top * _BAR)
        bar = Text("━" * filled, style="green" if value >= 0 else "red") + Text("─" * (_BAR - filled), style="bright_black")
        grid.add_row(Text(name.replace("_", " "), style="dim"), bar, Text(f"{value:.3f}"))
    return grid


def hits_block(hits: Sequence[Hit], *, explain: bool = False, most: int = 600) -> Table:
    """Hits for reading: rank, text, score, and below the text who, when, where, and the id."""
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(justify="right", style="bold cyan", no_wrap=True)
    grid.add_column(ratio=1, overflow="fold")
    grid.add_column(justify="right", style="green", no_wrap=True)
    for rank, hit in enumerate(hits, 1):
        if rank > 1:
            grid.add_row("", "", "")
        grid.add_row(str(rank), Text(shortened(hit.cube.text, most)), f"{hit.score:.3f}")
        grid.add_row("", _below(byline(hit.cube), Text(hit.cube.id, style="dim")), "")
        if explain:
            grid.add_row("", signal_bars(hit.signals), "")
    return grid


def _below(first: Text, second: Text) -> Text:
    return Text("  ").join([part for part in (first, second) if part.plain])


def hits_lines(hits: Sequence[Hit]) -> list[list[object]]:
    """Hits as rows: rank, score, id, when, who, source, text."""
    return [
        [rank, f"{hit.score:.4f}", hit.cube.id, moment(hit.cube.event_at), hit.cube.author or "", hit.cube.source or "", hit.cube.text]
        for rank, hit in enumerate(hits, 1)
    ]


@contextmanager
def progress(err: Console, label: str, unit: str, *, quiet: bool = False) -> Iterator[Progress]:
    """A bar with count, rate and time taken, gone at the end; nothing where nobody watches. Gives the function to call with (done, total)."""
    if quiet or not err.is_terminal:
        yield lambda done, total: None
        return
    from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    class Count(ProgressColumn):
        def render(self, task: Task) -> Text:
            of = f" of {task.total:,.0f}" if task.total else ""
            return Text(f"{task.completed:,.0f}{of}", style="green")

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.completed / task.elapsed if task.elapsed and task.completed else 0.0
            return Text(f"{speed:,.0f} {unit}/s" if speed else "", style="cyan")

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=None), Count(), Rate(), TimeElapsedColumn())
    with Bar(*columns, console=err, expand=True, transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)
