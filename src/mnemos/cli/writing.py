"""Commands that write: init, add, import, update, rollback, freeze, unfreeze, forget."""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import orjson
import typer
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from mnemos.base.errors import Invalid, NotFound, PermissionDenied
from mnemos.cli import filters as on
from mnemos.cli.output import clean, counted, one_line, print_json, progress, shortened
from mnemos.cli.session import DEFAULT_STORE, Session, command

if TYPE_CHECKING:
    from mnemos.base.cube import MemCube
    from mnemos.kernel.forgetting import Certificate
    from mnemos.kernel.space import Space
    from mnemos.kernel.system import Mnemos

_NOTICES = 5
CHUNK, CHUNK_CHARACTERS = 512, 1 << 16
"""Memories, and characters, that an import writes together."""

AuthorField = Annotated[str | None, typer.Option("--author", help="Who said or wrote it.")]
SourceField = Annotated[str | None, typer.Option("--source", help="Where it comes from.")]
TypeField = Annotated[str | None, typer.Option("--type", help="fact, turn, document, preference, …")]
EventField = Annotated[str | None, typer.Option("--event-at", help="When it happened (ISO 8601).")]
FromField = Annotated[str | None, typer.Option("--valid-from", help="Since when it holds.")]
ToField = Annotated[str | None, typer.Option("--valid-to", help="Until when it held.")]
ExpiresField = Annotated[str | None, typer.Option("--expires-at", help="When it is to be found no more.")]
TagField = Annotated[list[str] | None, typer.Option("--tag", help="A tag; repeat for more.")]
MetadataField = Annotated[str | None, typer.Option("--metadata", help="More, as a JSON object.", metavar="JSON")]
IdArgument = Annotated[str, typer.Argument(help="The memory's id.", metavar="ID")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def _formats() -> list[str]:
    from mnemos.text.formats import FORMATS

    return ["auto", *FORMATS]


@command
def init(session: Session, strategy: Annotated[str | None, typer.Option("--strategy", help="How the space remembers.")] = None) -> None:
    """Make a store with one space. A store that exists already is left as it is."""
    existed = Path(session.path).expanduser().exists()
    with session.open(create=True) as mem:
        space = mem.space(session.space_name, strategy=strategy)
        found = {"store": mem.path, "space": space.name, "created": not existed}
    if session.json:
        print_json(found)
    session.tell(f"{'Made' if not existed else 'There is already'} a store at {found['store']}, with the space {space.name!r}.")
    session.tell("Next: mnemos add \"…\", mnemos import FILE, mnemos search \"…\"")


@command
def add(
    session: Session,
    text: Annotated[str, typer.Argument(help="What to remember; - reads standard input.", metavar="TEXT")],
    type: TypeField = None,
    author: AuthorField = None,
    source: SourceField = None,
    event_at: EventField = None,
    valid_from: FromField = None,
    valid_to: ToField = None,
    expires_at: ExpiresField = None,
    tags: TagField = None,
    metadata: MetadataField = None,
) -> None:
    """Remember a text. It is on the disk when this returns."""
    fields = _fields(type, author, source, event_at, valid_from, valid_to, expires_at, tags, metadata)
    words = _given(text)
    if not words.strip():
        raise Invalid("text: is empty; there is nothing to remember")
    with session.open(create=True, embeds=True) as mem:
        _told(session, mem.space(session.space_name).add(words, **fields), "Remembered")


@command
def update(
    session: Session,
    id: IdArgument,
    text: Annotated[str | None, typer.Argument(help="The new text; - reads standard input. Without it the text stays.", metavar="TEXT")] = None,
    type: TypeField = None,
    author: AuthorField = None,
    source: SourceField = None,
    event_at: EventField = None,
    valid_from: FromField = None,
    valid_to: ToField = None,
    expires_at: ExpiresField = None,
    tags: TagField = None,
    metadata: MetadataField = None,
    if_version: Annotated[int | None, typer.Option("--if-version", help="Only if it is still at this version.")] = None,
) -> None:
    """Write the next version of a memory; the one before stays in its history."""
    fields = _fields(type, author, source, event_at, valid_from, valid_to, expires_at, tags, metadata)
    if text is not None:
        fields["text"] = _given(text)
    if not fields:
        raise Invalid("update: nothing to change; give a new text, or an option such as --author")
    if if_version is not None:
        fields["if_version"] = if_version
    with session.open(embeds=True) as mem:
        _told(session, session.view(mem).update(id, **fields), "Updated")


@command
def rollback(
    session: Session, id: IdArgument, version: Annotated[int, typer.Argument(help="The version to go back to.", metavar="VERSION")]
) -> None:
    """Make a memory say again what an earlier version said."""
    with session.open(embeds=True) as mem:
        _told(session, session.view(mem).rollback(id, version), f"Back to what version {version} said, as")


@command
def freeze(session: Session, id: IdArgument) -> None:
    """Forbid every change of a memory."""
    with session.open() as mem:
        _told(session, session.view(mem).freeze(id), "Frozen")


@command
def unfreeze(session: Session, id: IdArgument) -> None:
    """Allow changes of a memory again."""
    with session.open() as mem:
        _told(session, session.view(mem).unfreeze(id), "Unfrozen")


@command
def import_(
    session: Session,
    path: Annotated[Path, typer.Argument(help="A file or a folder.", metavar="PATH")],
    format: Annotated[
        str,
        typer.Option(
            "--format", help="auto, text, jsonl, export, messages, chatgpt, claude, locomo or longmemeval.", metavar="NAME", autocompletion=_formats
        ),
    ] = "auto",
    skip: Annotated[
        int, typer.Option("--skip", help="Leave out so many memories at the beginning: to go on after an interruption.", metavar="N", min=0)
    ] = 0,
) -> None:
    """Remember a file or folder: texts, Markdown, JSON lines, chat exports, or an export of Mnemos."""
    from mnemos.text.formats import detect

    name = detect(path) if format == "auto" else format
    start = time.perf_counter()
    spaces: dict[str, int] = {}
    notices: list[str] = []
    if name == "export":
        if session.space is not None or skip:
            raise Invalid(f"{path}: is an export, which names its spaces, and leaves out what is there already; leave --space and --skip out")
        count = _import_export(session, path)
    else:
        spaces, notices = _import_records(session, path, name, skip)
        count = sum(spaces.values())
    seconds = time.perf_counter() - start
    if session.json:
        found = {"file": str(path), "format": name, "imported": count, "spaces": spaces, "notices": notices, "seconds": round(seconds, 3)}
        print_json(found)
        return
    for notice in notices[:_NOTICES]:
        session.err.print(Text.assemble(("note: ", "yellow"), one_line(notice)), soft_wrap=True)
    if len(notices) > _NOTICES:
        session.err.print(Text(f"note: and {len(notices) - _NOTICES:,} more; --json lists all", style="yellow"))
    where = f"space {next(iter(spaces))!r}" if len(spaces) == 1 else f"{len(spaces)} spaces" if spaces else "the spaces that it names"
    what = counted(count, "entry", "entries") if name == "export" else counted(count, "memory", "memories")
    session.tell(f"Imported {what} into {where} in {seconds:.1f} s ({count / max(seconds, 1e-9):,.0f}/s).")


def _import_export(session: Session, path: Path) -> int:
    from mnemos.kernel.transfer import import_jsonl

    with session.open(create=True, embeds=True) as mem, progress(session.err, "importing", "entries", quiet=session.json) as tick:
        try:
            return import_jsonl(mem, path, progress=tick)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("what was imported before is stored; the same command again imports the rest") from None


def _import_records(session: Session, path: Path, format: str, skip: int) -> tuple[dict[str, int], list[str]]:
    """(memories written per space, what the reader had to say). The file is read twice: once to the end, so that a fault in it is found
    before anything is written."""
    from mnemos.text.formats import read

    notices: list[str] = []
    with progress(session.err, f"reading {path.name}", "memories", quiet=session.json) as tick:
        total = 0
        for total, _ in enumerate(read(path, format, notice=notices.append), 1):
            if total % CHUNK == 0:
                tick(total, 0)
    if total <= skip:
        raise Invalid(f"{path}: holds {f'no more than {total:,} memories' if total else 'nothing to remember'}; check that it is the right file")
    records = itertools.islice(read(path, format, notice=lambda _: None), skip, None)
    begun: list[tuple[str, UUID, int]] = []  # (space, id of the first memory, how many) of every portion whose writing began
    with session.open(create=True, embeds=True) as mem, progress(session.err, f"remembering {path.name}", "memories", quiet=session.json) as tick:
        tick(skip, total)
        try:
            for name, portion in portions(records, session.space_name):
                begun.append((name, mem.new_id(), len(portion)))
                mem.space(name).add_many([{**portion[0], "id": begun[-1][1]}, *portion[1:]])
                tick(skip + sum(count for *_, count in begun), total)
        except KeyboardInterrupt:
            if begun and not _is_stored(mem, *begun[-1][:2]):
                begun.pop()
            done = skip + sum(count for *_, count in begun)
            again = f"; go on with the same command and --skip {done}" if done else ""
            raise KeyboardInterrupt(f"{done:,} of {total:,} memories are stored and stay{again}") from None
    spaces: dict[str, int] = {}
    for name, _, count in begun:
        spaces[name] = spaces.get(name, 0) + count
    return spaces, notices


def _is_stored(mem: Mnemos, space: str, id: UUID) -> bool:
    try:
        return bool(mem.existing_space(space).get(id))
    except NotFound:
        return False


def portions(records: Iterable[dict[str, Any]], space: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Records as (space, those that are written together), in order: few enough that a person sees them advance, in number and in
    characters, since one record may be a whole book. `space` is for those that name none."""
    name, portion, characters = space, list[dict[str, Any]](), 0
    for record in records:
        wanted = record.get("space") or space
        if portion and (wanted != name or len(portion) >= CHUNK or characters >= CHUNK_CHARACTERS):
            yield name, portion
            portion, characters = [], 0
        name = wanted
        portion.append({key: value for key, value in record.items() if key != "space"})
        characters += len(record["text"])
    if portion:
        yield name, portion


@command
def forget(
    session: Session,
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of memories.", metavar="ID")] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Why; stays in the log, so it must not repeat the text.")] = None,
    certificate: Annotated[Path | None, typer.Option("--certificate", help="Save the certificate here, as JSON.", metavar="FILE")] = None,
    yes: YesOption = False,
    types: on.TypeOption = None,
    tags: on.TagOption = None,
    author: on.AuthorOption = None,
    source: on.SourceOption = None,
    since: on.SinceOption = None,
    until: on.UntilOption = None,
    where: on.WhereOption = None,
) -> None:
    """Remove memories for good, with all that was derived from them, and certify it."""
    given = on.conditions(types, tags, author, source, since, until, where)
    if ids and given:
        raise Invalid("forget: give ids or conditions, not both")
    if not ids and not given:
        raise Invalid("forget: say what to forget, by ids or by a condition such as --source")
    with session.open() as mem:
        space = session.view(mem)
        words = _preview(session, space, ids, given, quiet=yes)
        if words is None and certificate is None and not session.json:
            session.tell(f"Nothing in space {space.name!r} fits these conditions, and nothing was forgotten.")
            return
        if words is not None:
            session.confirm(f"Forget {words} for good? Nobody can bring {'it' if words == 'this memory' else 'them'} back", yes)
        paper = _Paper(certificate)
        try:
            done = space.forget(ids or None, reason=reason, **given)
        except BaseException:
            paper.discard()
            raise
    paper.write(done)
    if session.json:
        print_json(done.as_json())
        return
    session.out.print(certificate_panel(done))
    if certificate is not None:
        at = f"-s {session.path} " if session.path != DEFAULT_STORE else ""
        session.tell(f"The certificate is in {certificate}; check it with: mnemos {at}verify --certificate {certificate}")
    else:
        session.tell(orjson.dumps(done.as_json()).decode())


class _Paper:
    """The certificate's file, made before anything is forgotten: a certificate that could not be saved would be lost."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: Any = None
        if path is not None:
            try:
                self._file = path.open("xb")
            except FileExistsError:
                raise Invalid(f"{path}: exists already; save the certificate under another name") from None
            except PermissionError:
                raise PermissionDenied(f"{path}: may not be written; choose another place for the certificate") from None
            except OSError as error:
                raise Invalid(f"{path}: cannot be written ({error.strerror}); choose another place for the certificate") from None

    def write(self, certificate: Certificate) -> None:
        if self._file is not None:
            self._file.write(orjson.dumps(certificate.as_json(), option=orjson.OPT_INDENT_2) + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def discard(self) -> None:
        if self._path is not None and self._file is not None:
            self._file.close()
            self._path.unlink(missing_ok=True)


def certificate_panel(certificate: Certificate) -> Panel:
    """A certificate for reading."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    versions = sum(len(cube.digests) for cube in certificate.cubes)
    grid.add_row("forgotten", f"{counted(len(certificate.cubes), 'memory', 'memories')} with {counted(versions, 'version', 'versions and parts')}")
    grid.add_row("when", certificate.forgotten_at)
    grid.add_row("why", Text(clean(certificate.reason or "–")))
    grid.add_row("store", certificate.store)
    grid.add_row("log", f"position {certificate.position}, head {certificate.head[:32]}…")
    for cube in certificate.cubes[:3]:
        grid.add_row("memory", f"{cube.id}")
        for digest in cube.digests[:2]:
            grid.add_row("  digest", f"{digest[:48]}…")
    if len(certificate.cubes) > 3:
        grid.add_row("", f"… and {len(certificate.cubes) - 3} more")
    return Panel(grid, title="[bold]Certificate of forgetting[/]", title_align="left", border_style="green", padding=(1, 2))


def _preview(session: Session, space: Space, ids: list[str] | None, given: dict[str, Any], *, quiet: bool) -> str | None:
    """Show what is about to go; give its number in words, None for nothing."""
    if ids:
        cubes = [space.get(id) for id in ids]
        words = "this memory" if len(cubes) == 1 else f"these {len(cubes)} memories"
    else:
        page = space.list(limit=1000, **given)
        if not page:
            return None
        cubes = page
        words = "this memory" if len(page) == 1 else f"{len(page):,}{' or more' if page.cursor else ''} memories"
    if not quiet:
        for cube in cubes[:5]:
            who = f"{one_line(cube.author)}: " if cube.author else ""
            session.err.print(Text(f"  {who}{shortened(cube.text, 90)}"), soft_wrap=True)
        if len(cubes) > 5:
            session.err.print(Text(f"  … and {len(cubes) - 5:,} more", style="dim"))
    return words


def _fields(
    type: str | None,
    author: str | None,
    source: str | None,
    event_at: str | None,
    valid_from: str | None,
    valid_to: str | None,
    expires_at: str | None,
    tags: list[str] | None,
    metadata: str | None,
) -> dict[str, Any]:
    """The given fields as keywords of `add` and `update`; those not given are left out."""
    given: dict[str, Any] = {"type": type, "author": author, "source": source, "event_at": event_at, "valid_from": valid_from}
    given |= {"valid_to": valid_to, "expires_at": expires_at, "tags": tags or None}
    given["metadata"] = None if metadata is None else on.json_object(metadata, "--metadata")
    return {name: value for name, value in given.items() if value is not None}


def _given(text: str) -> str:
    """The argument, or what stands on standard input. Raises `Invalid` for bytes that are no text."""
    if text != "-":
        return text
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise Invalid(f"standard input: the bytes at {error.start} are not UTF-8; convert the text first") from None


def _told(session: Session, cube: MemCube, verb: str) -> None:
    if session.json:
        print_json(cube.as_json())
    elif session.out.is_terminal:
        session.out.print(Text.assemble((f"{verb} ", "green"), (cube.id, "bold"), (f"  version {cube.version}, log position {cube.position}", "dim")))
    else:
        session.tell(cube.id)
