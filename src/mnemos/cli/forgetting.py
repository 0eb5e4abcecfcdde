"""The command forget: memories for good, with a certificate; and again, where an older backup brought them back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import orjson
import typer
from rich.text import Text

from mnemos.base.errors import Invalid
from mnemos.cli import filters as on
from mnemos.cli.certificates import Paper, certificate_panel, read_certificate
from mnemos.cli.fields import ReasonOption, YesOption
from mnemos.cli.output import counted, one_line, print_json, shortened
from mnemos.cli.session import DEFAULT_STORE, Session, command

if TYPE_CHECKING:
    from mnemos.kernel.forgetting import Certificate
    from mnemos.kernel.space import Space
    from mnemos.kernel.system import Mnemos


@command
def forget(
    session: Session,
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of memories; with --again, files of certificates.", metavar="ID")] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Forget again what certificates name: after an older backup was put in the store's place.")
    ] = False,
    reason: ReasonOption = None,
    certificate: Annotated[Path | None, typer.Option("--certificate", help="Save the certificate here, as JSON.", metavar="FILE")] = None,
    sign: Annotated[Path | None, typer.Option("--sign", help="Sign the certificate with this key.", metavar="FILE")] = None,
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
    if sign is not None and (certificate is None or again):
        raise Invalid("--sign: signs the certificate that --certificate saves; give that, too (and not --again)")
    if again:
        if given or reason is not None or not ids:
            raise Invalid("forget --again: give files of certificates, and neither conditions nor a reason")
        _forget_again(session, [Path(name) for name in ids], certificate, yes)
        return
    if ids and given:
        raise Invalid("forget: give ids or conditions, not both")
    if not ids and not given:
        raise Invalid("forget: say what to forget, by ids or by a condition such as --source")
    key = None
    if sign is not None:
        from mnemos.base.signing import SigningKey

        key = SigningKey.load(sign.expanduser())
    with session.open() as mem:
        space = session.view(mem)
        words = _preview(session, space, ids, given, quiet=yes)
        if words is None and certificate is None and not session.json:
            session.tell(f"Nothing in space {space.name!r} fits these conditions, and nothing was forgotten.")
            return
        if words is not None:
            session.confirm(f"Forget {words} for good? Nobody can bring {'it' if words == 'this memory' else 'them'} back", yes)
        with Paper(certificate, key) as paper:
            done = space.forget(ids or None, reason=reason, **given)
            paper.write(done)
    if session.json:
        print_json(done.as_json())
    else:
        tell_certificate(session, done, certificate)


def _forget_again(session: Session, files: list[Path], certificate: Path | None, yes: bool) -> None:
    """Forget what the certificates in `files` name, where it is in the store."""
    from mnemos.kernel.forgetting import Certificate

    read = [Certificate.from_json(read_certificate(path)) for path in files]
    with session.open() as mem:
        there = _there(mem, read)
        if there:
            what = counted(there, "memory that was forgotten before is", "memories that were forgotten before are")
            session.confirm(f"{what} in this store. Forget {'it' if there == 1 else 'them'} again", yes)
        with Paper(certificate if there else None) as paper:
            done = mem.forget_again(read)
            if done is not None:
                paper.write(done)
    if session.json:
        print_json({"certificate": done.as_json() if done else None})
    elif done is None:
        session.tell("Nothing of it is in this store.")
    else:
        tell_certificate(session, done, certificate)


def _there(mem: Mnemos, certificates: list[Certificate]) -> int:
    """How many of the memories that certificates name are in the store."""
    with mem.snapshot() as snapshot:
        return sum(snapshot.standing(UUID(id)) is not None for id in {cube.id for one in certificates for cube in one.cubes})


def tell_certificate(session: Session, done: Certificate, certificate: Path | None) -> None:
    """Say what was forgotten, and where its certificate is; without a file, the certificate itself."""
    session.out.print(certificate_panel(done))
    if certificate is not None:
        at = f"-s {session.path} " if session.path != DEFAULT_STORE else ""
        session.tell(f"The certificate is in {certificate}; check it with: mnemos {at}verify --certificate {certificate}")
    else:
        session.tell(orjson.dumps(done.as_json()).decode())


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
