"""Commands that carry memories from store to store: export, diff, sync; and how an archive is imported and checked."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from mnemos.base.errors import Invalid, NotFound
from mnemos.cli.output import clean, counted, one_line, print_json, progress, size
from mnemos.cli.session import Session, command

if TYPE_CHECKING:
    from mnemos.kernel.exchange import Manifest
    from mnemos.kernel.forgetting import Verdict
    from mnemos.text.sensitivity import Redactor

_ARCHIVES = (".zip", ".mip")
_SHOWN = 20
PublicKeyOption = Annotated[
    Path | None, typer.Option("--public-key", help="It must be signed with the key whose public half this file holds.", metavar="FILE")
]


@command
def export(
    session: Session,
    file: Annotated[str, typer.Argument(help="Where to; - is standard output, and what ends in .zip or .mip an archive.", metavar="FILE")] = "-",
    folder: Annotated[bool, typer.Option("--folder", help="An archive as a folder, whatever FILE ends in.")] = False,
    redact: Annotated[
        str | None,
        typer.Option("--redact", help="Take sensitive strings out: all, or kinds such as email,phone,card (archives only).", metavar="KINDS"),
    ] = None,
    names: Annotated[Path | None, typer.Option("--names", help="A file of names to take out too, one a line.", metavar="FILE")] = None,
    sign: Annotated[Path | None, typer.Option("--sign", help="Sign with this key (`mnemos signing-key` makes one).", metavar="FILE")] = None,
    vectors: Annotated[bool, typer.Option("--vectors/--no-vectors", help="Whether vectors go along in an archive.")] = True,
    kv: Annotated[
        bool, typer.Option("--kv/--no-kv", help="Whether what language models have read goes along (archives only); it fits these models alone.")
    ] = False,
) -> None:
    """Write the store, or the space that --space names: as JSON lines, or as an archive that carries vectors and proves that it is whole."""
    chosen = None if session.chosen_space is None else [session.chosen_space]
    if folder or file.endswith(_ARCHIVES):
        if kv and redact is not None:
            raise Invalid("--kv: keys and values hold what the texts say, and nothing can be taken out of them; leave --kv or --redact out")
        _export_archive(session, file, folder, chosen, _redactor(redact, names), sign, vectors, kv)
        return
    if redact is not None or names is not None or sign is not None or kv:
        raise Invalid("--redact, --names, --sign and --kv are for archives; give a FILE that ends in .zip, or --folder")
    from mnemos.kernel.exchange.transfer import export_jsonl

    if file == "-" and session.json:
        raise Invalid("--json: the export itself goes to standard output; give a FILE, or leave --json out")
    with session.open() as mem, progress(session.err, "exporting", "entries", quiet=session.json) as tick:
        if file == "-":
            export_jsonl(mem, sys.stdout.buffer, spaces=chosen, progress=tick)
            return
        count = export_jsonl(mem, Path(file), spaces=chosen, progress=tick)
    if session.json:
        print_json({"file": file, "lines": count})
    session.tell(f"Wrote {counted(count, 'entry', 'entries')} to {file}.")


def _export_archive(
    session: Session, file: str, folder: bool, spaces: list[str] | None, redact: Redactor | None, sign: Path | None, vectors: bool, kv: bool
) -> None:
    from mnemos.base.signing import SigningKey
    from mnemos.kernel.exchange import export_archive

    if folder and file.endswith(_ARCHIVES):
        raise Invalid(f"{file}: a folder is not called .zip or .mip; choose another name, or leave --folder out")
    key = None if sign is None else SigningKey.load(sign.expanduser())
    with session.open() as mem, progress(session.err, "exporting", "entries", quiet=session.json) as tick:
        manifest = export_archive(mem, Path(file), spaces=spaces, redact=redact, sign_with=key, vectors=vectors, kv=kv, progress=tick)
    if session.json:
        print_json({"file": file, **_summary(manifest), "key": key.id if key else None})
        return
    found = _summary(manifest)
    taken = sum((found["redacted"] or {}).values())
    redacted = f"; {counted(taken, 'string was', 'strings were')} taken out" if found["redacted"] is not None else ""
    held = f"{counted(found['cubes'], 'memory and part', 'memories and parts')} of {counted(len(found['spaces']), 'space', 'spaces')}"
    session.tell(f"Wrote {held} to {file} ({size(found['bytes'])}{', signed' if key else ''}){redacted}.")
    for fingerprint, kinds in manifest.models.items():
        session.tell(f"For the model {fingerprint} alone: {counted(sum(kinds.values()), 'memory', 'memories')}; an import names it with --model.")


def _summary(manifest: Manifest) -> dict[str, Any]:
    """What an archive holds, in numbers."""
    return {
        "store": manifest.store,
        "position": manifest.position,
        "spaces": [space.name for space in manifest.spaces],
        "cubes": sum(space.cubes for space in manifest.spaces),
        "versions": sum(space.versions for space in manifest.spaces),
        "bytes": sum(payload.bytes for payload in manifest.payloads),
        "models": {fingerprint: dict(kinds) for fingerprint, kinds in manifest.models.items()},
        "redacted": None if manifest.redactions is None else manifest.redactions["strings"],
    }


def _redactor(kinds: str | None, names: Path | None) -> Redactor | None:
    if kinds is None:
        if names is not None:
            raise Invalid("--names: says what to take out with --redact; give that, too")
        return None
    from mnemos.text.sensitivity import Redactor

    try:
        listed = [] if names is None else [line.strip() for line in names.expanduser().read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"{names}: cannot be read as a list of names ({error})") from None
    chosen = None if kinds == "all" else [kind.strip() for kind in kinds.split(",") if kind.strip()]
    return Redactor(kinds=chosen if chosen is None or not listed else [*chosen, "name"], names=listed)


# ---- archives that come in --------------------------------------------------------------------------------------------


def is_archive(path: Path) -> bool:
    """Whether an archive lies there: a folder with a manifest, or a zip that ends as archives do."""
    from mnemos.base.errors import MnemosError
    from mnemos.kernel.exchange import read_manifest

    if path.is_dir():
        return (path / "manifest.json").is_file() and (path / "cubes.jsonl").is_file()
    if path.suffix not in _ARCHIVES or not path.is_file():
        return False
    if path.suffix == ".mip":
        return True
    try:
        read_manifest(path)
    except MnemosError:
        return False
    return True


def import_archive(session: Session, path: Path, public_key: Path | None, models: list[str]) -> int:
    """Import an archive, with what it has for these models alone; give how many entries were new."""
    from mnemos.kernel.exchange import import_archive as take

    named = [_fingerprint(model) for model in models]
    with session.open(create=True, embeds=True) as mem, progress(session.err, "importing", "entries", quiet=session.json) as tick:
        try:
            return take(mem, path, public_key=public_key, models=named, progress=tick)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("what was imported before is stored; the same command again imports the rest") from None


def _fingerprint(model: str) -> str:
    """The fingerprint that is given, or that of the local language model in a folder."""
    if not Path(model).expanduser().is_dir():
        return model
    from mnemos.models.local.model import LocalModel  # torch, only where it is needed

    return LocalModel.load(Path(model).expanduser()).fingerprint


def verify_archive(session: Session, path: Path, public_key: Path | None) -> None:
    """Check an archive, and end with 1 where it does not hold."""
    from mnemos.kernel.exchange import read_manifest
    from mnemos.kernel.exchange import verify_archive as check

    verdict = check(path, public_key)
    told = None
    if verdict:
        found = _summary(read_manifest(path))
        told = f"The archive is whole: {found['versions']:,} versions of {found['cubes']:,} memories and parts"
        told += f", signed by {public_key}" if public_key is not None else ""
    tell_verdict(session, verdict, told)


def tell_verdict(session: Session, verdict: Verdict, holds: str | None) -> None:
    """Say a verdict, with `holds` where it does, and end with 1 where it does not."""
    if session.json:
        print_json({"ok": verdict.ok, "reasons": list(verdict.reasons)})
    elif verdict:
        session.out.print(Text.assemble(("✓ ", "bold green"), clean(f"{holds}.")), soft_wrap=True)
    for reason in () if session.json else verdict.reasons:
        session.out.print(Text.assemble(("✗ ", "bold red"), one_line(reason)), soft_wrap=True)
    if not verdict:
        raise typer.Exit(1)


# ---- two memories -----------------------------------------------------------------------------------------------------

OtherArgument = Annotated[Path, typer.Argument(help="Another store's file, or an archive.", metavar="OTHER")]


@contextlib.contextmanager
def _other(path: Path) -> Iterator[Any]:
    """The other side: an open store, or the path of an archive."""
    if is_archive(path):
        yield path
        return
    if not path.is_file():
        raise NotFound(f"{path}: there is no store and no archive here; check the path")
    from mnemos.kernel.system import Mnemos

    with Mnemos(path, embedder="none") as mem:
        yield mem


_TITLES = {
    "spaces_only_a": "spaces that are here alone",
    "spaces_only_b": "spaces that are there alone",
    "only_a": "memories that are here alone",
    "only_b": "memories that are there alone",
    "versions": "other versions (in common, here, there)",
    "moved": "in another space (here, there)",
    "states": "in another state (here, there)",
    "frozen": "frozen (here, there)",
    "rules": "memories with other rules (here, there)",
    "settings": "spaces with other rules (here, there)",
    "forgotten_only_a": "forgotten here alone",
    "forgotten_only_b": "forgotten there alone",
}


@command
def diff(session: Session, other: OtherArgument, public_key: PublicKeyOption = None) -> None:
    """Show how another store, or an archive, differs from this one. Ends with 1 where it does."""
    from mnemos.kernel.exchange import diff as compare

    chosen = None if session.chosen_space is None else [session.chosen_space]
    with session.open() as mem, _other(other) as theirs:
        found = compare(mem, theirs, spaces=chosen, public_key=public_key)
    plain = found.as_json()
    if session.json:
        print_json({"same": not found, **plain})
    elif not found:
        session.tell(f"{session.path} and {other} say the same.")
    else:
        for name, value in plain.items():
            lines = value if isinstance(value, list) else [f"{key}: {item}" for key, item in value.items()]
            if lines:
                session.tell(f"{_TITLES[name]} ({len(lines):,}):")
            for line in lines[:_SHOWN]:
                session.tell(f"  {one_line(str(line))}")
            if len(lines) > _SHOWN:
                session.tell(f"  … and {len(lines) - _SHOWN:,} more; --json lists all")
    if found:
        raise typer.Exit(1)


@command
def sync(session: Session, source: OtherArgument, public_key: PublicKeyOption = None) -> None:
    """Bring this store up to another, or to an archive: what is new there comes, what was forgotten there goes. Ends with 1 where they contradict."""
    from mnemos.kernel.exchange import sync as bring

    chosen = None if session.chosen_space is None else [session.chosen_space]
    bar = progress(session.err, "syncing", "entries", quiet=session.json)
    with session.open(create=True, embeds=True) as mem, _other(source) as theirs, bar as tick:
        done = bring(theirs, mem, spaces=chosen, public_key=public_key, progress=tick)
    if session.json:
        print_json(done.as_json())
    else:
        for conflict in done.conflicts[:_SHOWN]:
            where = f"cube {conflict.cube}" if conflict.cube else f"space {conflict.space!r}"
            session.out.print(Text.assemble(("! ", "bold yellow"), one_line(f"{where}: {conflict.problem}")), soft_wrap=True)
        if len(done.conflicts) > _SHOWN:
            session.tell(f"… and {len(done.conflicts) - _SHOWN:,} more; --json lists all")
        taken = f"{counted(done.versions, 'version', 'versions')}, {counted(done.standings, 'change of standing', 'changes of standing')}"
        session.tell(f"Took over {taken}; forgot {done.forgotten:,}; {done.ahead:,} are ahead here; {len(done.conflicts):,} contradict and stay.")
    if not done:
        raise typer.Exit(1)
