"""Commands that look after the key of a store: new-key, seal, rotate-keys."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from mnemos.base.errors import Conflict, Invalid
from mnemos.cli.output import counted, print_json, progress
from mnemos.cli.session import Session, command, existing

_NO_KEY = "name the key with --key-file FILE, or set MNEMOS_KEY; `mnemos new-key FILE` makes one"


@command
def new_key(session: Session, file: Annotated[Path, typer.Argument(help="Where to write it; the file must not exist.", metavar="FILE")]) -> None:
    """Make a master key: 32 random bytes, as hexadecimal digits, in a file that only you may read."""
    path = file.expanduser()
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Conflict(f"{file}: exists already, and may be the key of a store; choose another name") from None
    with os.fdopen(handle, "w", encoding="ascii") as out:
        out.write(os.urandom(32).hex() + "\n")
        out.flush()
        os.fsync(out.fileno())
    if session.json:
        print_json({"file": str(path)})
    session.tell(f"Made a key in {file}. Keep a copy elsewhere: without it, what is sealed with it is lost.")


@command
def seal(
    session: Session,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Seal a store that lies there readable, with the key of --key-file or MNEMOS_KEY."""
    key = session.key
    if key is None:
        raise Invalid(f"seal: no key was given; {_NO_KEY}")
    session.confirm(f"Seal {session.path}? Without the key nobody will read it again.", yes)
    from mnemos.kernel.system import Mnemos

    with Mnemos(existing(session.path), embedder="none") as mem:
        mem.seal(key)
    if session.json:
        print_json({"store": session.path, "sealed": True})
    session.tell(f"{session.path} is sealed. Its keys lie in {session.path}-keys: back up that file, too. Older backups are readable as they were.")


@command
def rotate_keys(
    session: Session,
    only: Annotated[list[str] | None, typer.Option("--only", help="Only this space; repeat for more.", metavar="SPACE")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Only finish what was begun before, with the keys that were made then.")] = False,
    new_key_file: Annotated[
        Path | None, typer.Option("--new-key-file", help="Change the master key to that in this file; memories stay as they are.", metavar="FILE")
    ] = None,
) -> None:
    """Give the memories of a sealed store new keys, and destroy the old ones; or change the master key."""
    if new_key_file is not None and (only or resume):
        raise Invalid("--new-key-file: changes the master key alone, so it goes neither with --only nor with --resume")
    if only and resume:
        raise Invalid("--resume: goes on where keys were renewed before, in whichever spaces; leave --only out")
    with session.open() as mem:
        if new_key_file is not None:
            from mnemos.kernel.sealing import key_in

            mem.change_key(key_in(new_key_file))
            if session.json:
                print_json({"store": session.path, "master_key": "changed"})
            session.tell(f"Changed the master key of {session.path}. Copies of {session.path}-keys from before still open with the old one.")
            return
        with progress(session.err, "sealing anew", "versions", quiet=session.json) as tick:
            done = mem.reseal(tick) if resume else mem.rotate_keys(only, progress=tick)
    if session.json:
        print_json({"store": session.path, "versions": done})
    session.tell(f"Sealed {counted(done, 'version', 'versions')} anew. Backups from before need the {session.path}-keys from before.")
