"""Commands that vouch for the log and report of it: signing-key, checkpoint, audit."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from mnemos.base.clock import from_micros
from mnemos.base.errors import Invalid
from mnemos.cli import filters as on
from mnemos.cli.exchanging import tell_verdict
from mnemos.cli.output import print_json, table
from mnemos.cli.session import Session, command


@command
def signing_key(
    session: Session,
    file: Annotated[Path, typer.Argument(help="Where to write it; the public half goes to FILE.pub.", metavar="FILE")],
) -> None:
    """Make a key that signs checkpoints, archives and certificates, in a file that only you may read."""
    from mnemos.base.signing import SigningKey

    path = file.expanduser()
    public = path.with_name(f"{path.name}.pub")
    if public.exists():
        raise Invalid(f"{public}: exists already, and a key is not written over; choose another name")
    key = SigningKey.generate()
    key.save(path)
    key.public.save(public)
    if session.json:
        print_json({"file": str(path), "public": str(public), "key": key.id})
    session.tell(f"Made the key {key.id} in {file}. Give {file}.pub to whoever is to check what you sign; keep {file} away from the store.")


@command
def checkpoint(session: Session, key: Annotated[Path, typer.Option("--sign", help="The key to sign with.", metavar="FILE")]) -> None:
    """Sign where the log stands now: whoever has the public key can tell later whether it was cut, rewritten or replaced."""
    from mnemos.base.signing import SigningKey
    from mnemos.kernel.audit import checkpoint as make
    from mnemos.kernel.audit import checkpoints_path

    signing = SigningKey.load(key.expanduser())
    with session.open() as mem:
        signed = make(mem, signing)
    if session.json:
        print_json(signed.as_json())
        return
    said = signed.document
    when = from_micros(said["at"])
    session.tell(f"Checkpoint {said['number']}: log position {said['position']:,}, {when:%Y-%m-%d %H:%M} UTC, in {checkpoints_path(session.path)}.")
    session.tell("Keep a copy of that file elsewhere. Check with: mnemos verify --checkpoints --public-key FILE")


def verify_checkpoints(session: Session, public_key: Path | None) -> None:
    """Check the store's log against its checkpoints, and end with 1 where they do not hold."""
    from mnemos.kernel.audit import checkpoints_path, read_checkpoints
    from mnemos.kernel.audit import verify_checkpoints as check

    if public_key is None:
        raise Invalid("--checkpoints: they are checked with the public key; name its file with --public-key FILE")
    path = Path(session.path).expanduser()
    verdict = check(path, public_key, key=session.key)
    count = len(read_checkpoints(checkpoints_path(path))) if verdict else 0
    tell_verdict(session, verdict, f"The log runs through all {count:,} of its checkpoints, as {public_key} signed them")


@command
def audit(
    session: Session,
    since: on.SinceOption = None,
    until: on.UntilOption = None,
    principals: Annotated[list[str] | None, typer.Option("--principal", help="Of whom; repeat for more; (owner) is the file's owner.")] = None,
    kinds: Annotated[list[str] | None, typer.Option("--kind", help="add, update, state, permission, forget, …; repeat for more.")] = None,
    cube: Annotated[str | None, typer.Option("--id", help="What happened to this memory.", metavar="ID")] = None,
    permissions: Annotated[bool, typer.Option("--permissions", help="Who was given and who lost which right.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="As CSV, for a spreadsheet.")] = False,
) -> None:
    """Report of the log who did what and when, or who was given which right. Nothing of the memories' texts is in it."""
    from mnemos.kernel import audit as reports

    if permissions and (principals or kinds or cube):
        raise Invalid("--permissions: cannot be narrowed by --principal, --kind or --id; leave them out")
    if as_csv and session.json:
        raise Invalid("--csv: is another form than --json; give one of them")
    spaces = None if session.chosen_space is None else [session.chosen_space]
    when: dict[str, Any] = {"since": since, "until": until, "spaces": spaces}
    with session.open() as mem:
        rows: Any = (
            reports.permission_changes(mem, **when)
            if permissions
            else reports.activity(mem, **when, principals=principals or None, kinds=kinds or None, cube=cube)
        )
    if as_csv:
        sys.stdout.write(reports.as_csv(rows))
    elif session.json:
        print_json({"rows": orjson.loads(reports.as_json(rows))})
    elif permissions:
        told = [(row, _names(row.added, row.after), _names(row.removed, row.before)) for row in rows]
        shown = [(*_begin(row), row.subject or row.space or "", row.what, now, before) for row, now, before in told]
        table(session.out, ("position", "when", "by", "of", "rule", "added, or now", "removed, or before"), shown, flexible="added, or now")
    else:
        shown = [(*_begin(row), row.space or "", row.cube or "", row.what, _details(row.details)) for row in rows]
        table(session.out, ("position", "when", "by", "space", "memory", "what", "more"), shown, flexible="more")


def _begin(row: Any) -> tuple[int, str, str]:
    """What every row of a report begins with: position, time to the minute, who."""
    return row.position, row.at[:16], row.principal


def _names(listed: tuple[str, ...], value: Any) -> str:
    """Principals that were added or removed, or, of a rule that is no list of them, its value."""
    if listed or isinstance(value, list):
        return ", ".join(listed)
    return "" if value is None else orjson.dumps(value).decode()


def _details(details: Any) -> str:
    return ", ".join(f"{name} {value if isinstance(value, str) else orjson.dumps(value).decode()}" for name, value in details.items())
