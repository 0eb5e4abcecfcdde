"""How the demo looks: headings, claims with a mark, hits on a line each. Readable at 80 columns and without colour."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.align import Align
from rich.console import Console
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from mnemos.cli.output import one_line, shortened, why

if TYPE_CHECKING:
    from mnemos.kernel.reading.results import Hit

WIDEST = 100
_LEFT = 3


class View:
    """Prints the demo on a console, and keeps what was claimed and held or did not, and how long each step took (seconds)."""

    def __init__(self, console: Console, pause: Callable[[], None]) -> None:
        self.console = console
        self.width = min(console.width, WIDEST)
        self.held: list[str] = []
        self.failed: list[str] = []
        self.seconds: dict[str, float] = {}
        self._pause = pause
        self._step = 0

    def opening(self, title: str, lines: Sequence[str]) -> None:
        body = Text("\n").join([Text(title, style="bold cyan"), *(Text(line) for line in lines)])
        self.console.print()
        self.console.print(Panel(Align.left(body), box=box.ROUNDED, border_style="cyan", padding=(0, 2), width=self.width))

    def heading(self, name: str, about: str) -> None:
        """A new step."""
        if self._step:
            self._pause()
        self._step += 1
        line = Text.assemble(("━━ ", "cyan"), (f"{self._step}  {name}", "bold"), (f"  {about} ", "dim"))
        line.append("━" * max(self.width - line.cell_len, 0), style="cyan")
        self.console.print()
        self.console.print(line)
        self.console.print()

    def say(self, *parts: str | tuple[str, str]) -> None:
        """A paragraph of the step."""
        self._put(Text.assemble(*parts))

    def gap(self) -> None:
        self.console.print()

    def must(self, holds: bool, claim: str, failure: str = "") -> bool:
        """A claim that was just checked: said with ✓ where it holds, else kept as a failure of the demo."""
        words = claim if holds else failure or f"not so: {claim}"
        (self.held if holds else self.failed).append(words)
        grid = Table.grid(padding=(0, 1))
        grid.add_row(Text("✓", style="bold green") if holds else Text("✗", style="bold red"), Text(words, style="" if holds else "red"))
        self._put(grid)
        return holds

    def bar(self, done: int, unit: str, seconds: float) -> None:
        """A finished piece of long work, with its rate."""
        rate = f"  {done / max(seconds, 1e-9):,.0f} {unit}/s"
        self._put(Text.assemble(("━" * 24, "green"), f"  {done:,} {unit}", (f"  {seconds:.1f} s", "dim"), (rate, "cyan")))

    def question(self, text: str, note: str) -> None:
        grid = Table.grid(expand=True)
        grid.add_column(ratio=1)
        grid.add_column(justify="right", style="dim", no_wrap=True)
        grid.add_row(Text(text, style="bold"), note)
        self._put(grid)

    def hits(self, hits: Sequence[Hit], right: Iterable[str] = (), *, source_width: int = 6, show_why: bool = True) -> None:
        """A line per hit: rank, whether it is evidence (then in full), source, day, author, text; and what the first one's score is made of."""
        evidence = set(right)
        dated, spoken = any(hit.cube.event_at for hit in hits), any(hit.cube.author for hit in hits)
        width = source_width + 11 * (not dated and source_width > 6)  # the room of a column that would be empty
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.add_column(justify="right", style="dim", width=2)
        grid.add_column(width=1)
        grid.add_column(style="magenta", no_wrap=True, width=width)
        if dated:
            grid.add_column(style="cyan", no_wrap=True, width=10)
        if spoken:
            grid.add_column(style="bold", no_wrap=True, max_width=8)
        grid.add_column(ratio=1)
        dim = bool(evidence)
        for rank, hit in enumerate(hits, 1):
            cube = hit.cube
            is_evidence = cube.source in evidence
            mark = Text("✓", style="bold green") if is_evidence else Text(" ")
            other = Text(one_line(cube.text), no_wrap=True, overflow="ellipsis", style="dim" if dim else "")
            said = Text(shortened(cube.text, 240)) if is_evidence else other
            when = [f"{cube.event_at:%Y-%m-%d}" if cube.event_at else ""] if dated else []
            who = [one_line(cube.author or "")] if spoken else []
            grid.add_row(str(rank), mark, one_line(cube.source or ""), *when, *who, said)
        self._put(grid)
        if show_why and hits:
            self.note("why 1", why(hits[0].signals))

    def note(self, label: str, text: Text, style: str = "dim") -> None:
        """A line below the hits: what it is, and what it says, which stays beside its label however long it is."""
        grid = Table.grid(padding=(0, 1))
        grid.add_column(width=11, style=style, no_wrap=True)
        grid.add_column()
        grid.add_row(f"     {label}", text)
        self._put(grid)

    def rows(self, rows: Sequence[Sequence[str | Text]], *, headings: Sequence[str] = (), right: bool = False) -> None:
        """A small table. `right` sets all columns but the first to the right."""
        plain = Table.grid(padding=(0, 2))
        grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim", padding=(0, 1)) if headings else plain
        for i in range(max(len(row) for row in rows)):
            name = headings[i] if headings else ""
            style = "" if i or headings else "dim"
            grid.add_column(name, justify="right" if right and i else "left", style=style, overflow="fold", no_wrap=not i or bool(headings))
        for row in rows:
            grid.add_row(*row)
        self._put(grid)

    def closing(self, took: Sequence[tuple[str, float]], todo: Sequence[tuple[str, str]]) -> None:
        """How it went, how long it took, and what to type next."""
        self.console.print()
        self.seconds = {name: round(seconds, 3) for name, seconds in took}
        total = sum(seconds for _, seconds in took)
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="bold", no_wrap=True)
        grid.add_column(style="dim")
        for line, about in todo:
            grid.add_row(Text(line), Text(about))
        body = Table.grid()
        for words in self.failed:
            body.add_row(Text(f"✗ {words}", style="red"))
        body.add_row(Text(" · ".join(f"{name} {seconds:.1f} s" for name, seconds in took), style="dim"))
        body.add_row("")
        body.add_row(Text("Next:", style="cyan"))
        body.add_row(grid)
        verdict = f"✗ What did not hold: {len(self.failed)}" if self.failed else f"✓ Every step was checked and held, in {total:.1f} s"
        style = "red" if self.failed else "green"
        title = Text(verdict, style="bold")
        self.console.print(Panel(body, title=title, title_align="left", box=box.ROUNDED, border_style=style, padding=(1, 2), width=self.width))

    def _put(self, what: Text | Table) -> None:
        self.console.print(Padding(what, (0, 0, 0, _LEFT)), width=self.width)
