"""Commands that read: search, context, show, history, list, spaces, strategies, export."""

from __future__ import annotations

import sys
import time
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated

import typer
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from mnemos.cli import filters as on
from mnemos.cli.output import (
    byline,
    clean,
    hits_block,
    hits_lines,
    moment,
    one_line,
    print_json,
    shortened,
    standing,
    table,
    value_text,
)
from mnemos.cli.session import Session, command

if TYPE_CHECKING:
    from mnemos.base.cube import MemCube

_WIDE = 110


@command
def search(
    session: Session,
    query: Annotated[str, typer.Argument(help="What to look for: a question or a few words.", metavar="QUERY")],
    k: Annotated[int, typer.Option("-k", "--limit", help="How many hits.")] = 10,
    explain: Annotated[bool, typer.Option("--explain", help="Show every signal that a score is made of.")] = False,
    as_of: on.AsOfOption = None,
    strategy: Annotated[str | None, typer.Option("--strategy", help="Recall by another strategy (`mnemos strategies`).")] = None,
    types: on.TypeOption = None,
    tags: on.TagOption = None,
    author: on.AuthorOption = None,
    source: on.SourceOption = None,
    since: on.SinceOption = None,
    until: on.UntilOption = None,
    valid_at: on.ValidAtOption = None,
    stale: on.StaleOption = None,
    where: on.WhereOption = None,
) -> None:
    """Find the memories that best answer a question."""
    given = on.conditions(types, tags, author, source, since, until, where, valid_at, stale)
    with session.open(embeds=True) as mem:
        space = session.view(mem)
        start = time.perf_counter()
        hits = space.search(query, k, explain=explain, as_of=on.as_of(as_of), strategy=strategy, **given)
        seconds = time.perf_counter() - start
    if session.json:
        print_json({"query": query, "space": space.name, "hits": [hit.as_json() for hit in hits]})
    elif not session.out.is_terminal and not explain:
        table(session.out, ("rank", "score", "id", "when", "author", "source", "text"), hits_lines(hits))
    elif not hits:
        session.tell(f"Nothing in space {space.name!r} fits these conditions.")
    else:
        session.out.print(hits_block(hits, explain=explain))
        footer = f"\n{len(hits)} of {space.name!r} in {seconds * 1000:.0f} ms; `--explain` shows why, `mnemos show ID` the whole"
        session.out.print(Text(footer, style="dim"))


@command
def context(
    session: Session,
    query: Annotated[str, typer.Argument(help="What the prompt is about.", metavar="QUERY")],
    budget: Annotated[int, typer.Option("--budget", "-b", help="The most tokens that the text may take.")] = 1500,
    as_of: on.AsOfOption = None,
    strategy: Annotated[str | None, typer.Option("--strategy", help="Recall by another strategy.")] = None,
    types: on.TypeOption = None,
    tags: on.TagOption = None,
    author: on.AuthorOption = None,
    source: on.SourceOption = None,
    since: on.SinceOption = None,
    until: on.UntilOption = None,
    valid_at: on.ValidAtOption = None,
    stale: on.StaleOption = None,
    where: on.WhereOption = None,
) -> None:
    """Print what is known about a subject as text for a prompt, with numbered sources, within a budget."""
    given = on.conditions(types, tags, author, source, since, until, where, valid_at, stale)
    with session.open(embeds=True) as mem:
        found = session.view(mem).context(query, budget, as_of=on.as_of(as_of), strategy=strategy, **given)
    if session.json:
        print_json(found.as_json())
        return
    _raw(session, found.text)
    if session.out.is_terminal:
        session.err.print(Text(f"{found.tokens:,} tokens of {budget:,}, {len(found.hits)} sources", style="dim"))


@command
def show(
    session: Session,
    id: Annotated[str, typer.Argument(help="The memory's id.", metavar="ID")],
    version: Annotated[int | None, typer.Option("--version", help="This version, not the present one.")] = None,
    as_of: on.AsOfOption = None,
) -> None:
    """Show one memory whole."""
    with session.open() as mem:
        space = session.view(mem)
        when = on.as_of(as_of)
        cube = (space if when is None else space.at(when)).get(id, version)
    if session.json:
        print_json(cube.as_json())
        return
    if not session.out.is_terminal:
        _raw(session, cube.text)
        return
    details = Table.grid(padding=(0, 2))
    details.add_column(style="dim", no_wrap=True)
    details.add_column(overflow="fold")
    for field in fields(cube):
        value = getattr(cube, field.name)
        if field.name == "derived_from":
            value = [f"{link.id} version {link.version}" for link in value]
        if field.name not in ("text", "metadata") and value not in (None, (), []):
            details.add_row(field.name.replace("_", " "), Text(clean(value_text(value))))
    for name, value in cube.metadata.items():
        details.add_row(Text(f"· {one_line(name)}"), Text(clean(value_text(value))))
    session.out.print(Panel(Text(clean(cube.text)), title=byline(cube), title_align="left", border_style="cyan", padding=(1, 2)))
    session.out.print(Padding(details, (0, 3)))


@command
def history(session: Session, id: Annotated[str, typer.Argument(help="The memory's id.", metavar="ID")]) -> None:
    """List every version of a memory, oldest first, after those of the memories that it superseded."""
    with session.open() as mem:
        versions = session.view(mem).history(id)
    if session.json:
        print_json({"id": id, "versions": [cube.as_json() for cube in versions]})
        return
    several = len({cube.id for cube in versions}) > 1
    rows: list[list[object]] = []
    for cube in versions:
        row = [cube.version, f"{cube.updated_at:%Y-%m-%d %H:%M:%S}", ", ".join(map(str, cube.parents)) or "–", cube.position]
        rows.append([*([cube.id] if several else []), *row, _text(session, cube.text)])
    table(session.out, (*(["memory"] if several else []), "version", "written", "from", "position", "text"), rows, flexible="text")


@command
def list_(
    session: Session,
    limit: Annotated[int, typer.Option("--limit", "-n", help="How many at most.")] = 20,
    cursor: Annotated[str | None, typer.Option("--cursor", help="Go on where the last page ended.")] = None,
    states: Annotated[
        list[str] | None,
        typer.Option(
            "--states", "--state", help="In these states, with commas between: generated, activated, merged, archived, expired, quarantined, or all."
        ),
    ] = None,
    as_of: on.AsOfOption = None,
    types: on.TypeOption = None,
    tags: on.TagOption = None,
    author: on.AuthorOption = None,
    source: on.SourceOption = None,
    since: on.SinceOption = None,
    until: on.UntilOption = None,
    valid_at: on.ValidAtOption = None,
    stale: on.StaleOption = None,
    where: on.WhereOption = None,
) -> None:
    """List memories in the order in which they were written."""
    given = on.conditions(types, tags, author, source, since, until, where, valid_at, stale)
    with session.open() as mem:
        space = session.view(mem)
        when = on.as_of(as_of)
        page = (space if when is None else space.at(when)).list(limit=limit, cursor=cursor, states=_states(states), **given)
    if session.json:
        print_json({"space": space.name, "memories": [cube.as_json() for cube in page], "cursor": page.cursor})
        return
    terminal = session.out.is_terminal
    wide = not terminal or session.out.width >= _WIDE
    columns = ("id", *(("when", "author", "source", "type") if wide else ("author",)), *(() if terminal else ("state",)), "text")
    rows = [_row(session, cube, wide) for cube in page]
    table(session.out, columns, rows, flexible="text")
    if page.cursor and session.out.is_terminal:
        session.out.print(Text(f"more: --cursor {page.cursor}", style="dim"))


def _row(session: Session, cube: MemCube, wide: bool) -> list[object]:
    """A memory in a list. At a terminal the text follows what is out of the ordinary; in a pipe every state is said."""
    row: list[object] = [cube.id, cube.author or ""]
    if wide:
        row = [cube.id, moment(cube.event_at or cube.created_at), cube.author or "", cube.source or "", cube.type]
    words = standing(cube)
    if session.out.is_terminal:
        return [*row, Text(" ").join([*words, Text(_text(session, cube.text))])]
    return [*row, " ".join(dict.fromkeys([cube.state, *(word.plain for word in words)])), cube.text]


def _states(given: list[str] | None) -> list[str] | None:
    """The states that were asked for; None where none was."""
    from mnemos.base.cube import State

    words = [word.strip() for part in given or () for word in part.split(",") if word.strip()]
    return [state.word for state in State] if "all" in words else words or None


@command
def spaces(session: Session) -> None:
    """List the spaces of the store."""
    found = []
    with session.open() as mem, mem.snapshot() as snapshot:
        on_disk = mem.vector_files.spaces()
        for row in snapshot.spaces():
            count = snapshot.count(row.num)
            strategy = row.settings.get("strategy", "auto")
            vectors = "disk" if row.num in on_disk else "memory"
            counts = {"memories": count["cubes"], "versions": count["versions"]}
            found.append({"name": row.name, **counts, "strategy": strategy, "vectors": vectors})
    if session.json:
        print_json({"store": session.path, "spaces": found})
        return
    rows = [[row["name"], f"{row['memories']:,}", f"{row['versions']:,}", row["strategy"], row["vectors"]] for row in found]
    table(session.out, ("space", "memories", "versions and parts", "strategy", "vectors in"), rows)


def _text(session: Session, text: str) -> str:
    """A text for a table's cell: short at a terminal, whole in a pipe."""
    return shortened(text, max(session.out.width, 60)) if session.out.is_terminal else text


def _raw(session: Session, text: str) -> None:
    """Text as it is, for a file or another program; made harmless for a terminal."""
    shown = clean(text) if session.out.is_terminal else text
    sys.stdout.flush()
    sys.stdout.buffer.write(shown.encode("utf-8", "replace") + (b"" if shown.endswith("\n") else b"\n"))
    sys.stdout.buffer.flush()
