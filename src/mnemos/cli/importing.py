"""The command import: files of many kinds, remembered in portions that are durable one by one."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer
from rich.text import Text

from mnemos.base.errors import Invalid, NotFound
from mnemos.cli.exchanging import PublicKeyOption, import_archive, is_archive
from mnemos.cli.output import counted, one_line, print_json, progress
from mnemos.cli.session import Session, command

if TYPE_CHECKING:
    from mnemos.kernel.system import Mnemos

_NOTICES = 5
CHUNK, CHUNK_CHARACTERS = 512, 1 << 16
"""Memories, and characters, that an import writes together."""


def _formats() -> list[str]:
    from mnemos.text.formats import FORMATS

    return ["auto", *FORMATS]


@command
def import_(
    session: Session,
    path: Annotated[Path, typer.Argument(help="A file or a folder.", metavar="PATH")],
    format: Annotated[
        str,
        typer.Option(
            "--format",
            help="auto, text, jsonl, export, archive, messages, chatgpt, claude, locomo or longmemeval.",
            metavar="NAME",
            autocompletion=_formats,
        ),
    ] = "auto",
    skip: Annotated[
        int, typer.Option("--skip", help="Leave out so many memories at the beginning: to go on after an interruption.", metavar="N", min=0)
    ] = 0,
    public_key: PublicKeyOption = None,
    models: Annotated[
        list[str] | None,
        typer.Option("--model", help="Take what is of use to this model alone, too: its fingerprint, or the folder of a local one. May be repeated.",
                     metavar="MODEL"),
    ] = None,
) -> None:
    """Remember a file or folder: texts, Markdown, JSON lines, chat exports, or an export or archive of Mnemos."""
    from mnemos.text.formats import detect

    name = "archive" if format == "auto" and is_archive(path) else detect(path) if format == "auto" else format
    if public_key is not None and name != "archive":
        raise Invalid(f"--public-key: {path} is no archive, and archives alone are signed; leave it out")
    if models and name != "archive":
        raise Invalid(f"--model: {path} is no archive, and archives alone hold what is of use to one model; leave it out")
    start = time.perf_counter()
    spaces: dict[str, int] = {}
    notices: list[str] = []
    if name in ("export", "archive"):
        if session.space is not None or skip:
            raise Invalid(f"{path}: is an export, which names its spaces, and leaves out what is there already; leave --space and --skip out")
        count = import_archive(session, path, public_key, models or []) if name == "archive" else _import_export(session, path)
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
    what = counted(count, "entry", "entries") if name in ("export", "archive") else counted(count, "memory", "memories")
    session.tell(f"Imported {what} into {where} in {seconds:.1f} s ({count / max(seconds, 1e-9):,.0f}/s).")


def _import_export(session: Session, path: Path) -> int:
    from mnemos.kernel.exchange.transfer import import_jsonl

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
