"""Commands that look after a store: verify and doctor."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from mnemos.base.errors import Corrupt, Invalid, MnemosError, ModelUnavailable
from mnemos.cli.certificates import read_certificate
from mnemos.cli.exchanging import PublicKeyOption, tell_verdict, verify_archive
from mnemos.cli.output import counted, one_line, print_json, progress, size
from mnemos.cli.session import Session, command, stored_embedder
from mnemos.cli.vouching import verify_checkpoints

if TYPE_CHECKING:
    from mnemos.kernel.reading.results import Report
    from mnemos.kernel.system import Mnemos

ON_DISK = "vectors on disk"
"""Where `verify` finds what is wrong with the indexes of vectors on disk, which are derived."""
_MARKS = {"ok": ("✓", "green"), "note": ("·", "cyan"), "warn": ("!", "yellow"), "fail": ("✗", "bold red")}
_EXTRAS = {
    "local": (("onnxruntime", "tokenizers", "onnx"), "the offline embedder"),
    "server": (("fastapi", "uvicorn", "mcp"), "`mnemos serve` and `mnemos mcp`"),
    "models": (("torch", "transformers"), "the model tiers"),
    "security": (("cryptography",), "sealed stores and signatures"),
}


@command
def verify(
    session: Session,
    certificate: Annotated[Path | None, typer.Option("--certificate", help="Check this certificate of forgetting against the store.")] = None,
    archive: Annotated[Path | None, typer.Option("--archive", help="Check this archive (`mnemos export FILE.zip`); no store is needed.")] = None,
    checkpoints: Annotated[bool, typer.Option("--checkpoints", help="Check the log against its signed checkpoints.")] = False,
    public_key: PublicKeyOption = None,
) -> None:
    """Check the whole store, a certificate, an archive, or the checkpoints; end with 1 where something is wrong.

    The store: its log's chain, rows, lineage, files, text index and vectors.
    """
    if sum((certificate is not None, archive is not None, checkpoints)) > 1:
        raise Invalid("verify: give one of --certificate, --archive and --checkpoints")
    if certificate is not None:
        _verify_certificate(session, certificate, public_key)
        return
    if archive is not None:
        verify_archive(session, archive, public_key)
        return
    if checkpoints:
        verify_checkpoints(session, public_key)
        return
    if public_key is not None:
        raise Invalid("--public-key: the store itself is not signed; give --certificate, --archive or --checkpoints with it")
    start = time.perf_counter()
    with session.err.status("reading every entry, row and page …"):
        try:
            with session.open() as mem:
                report = mem.verify()
        except Corrupt as error:
            report = unreadable(Path(session.path).expanduser(), error)
    seconds = time.perf_counter() - start
    if session.json:
        print_json(report.as_json())
    else:
        for finding in report.findings:
            session.out.print(Text.assemble(("✗ ", "bold red"), one_line(f"{finding.file}, {finding.place}: {finding.problem}")), soft_wrap=True)
        looked_at = " · ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in report.checked.items())
        session.out.print(Text.assemble(("✓ " if report else "✗ ", "bold green" if report else "bold red"), looked_at), soft_wrap=True)
        wrong = counted(len(report.findings), "thing is", "things are")
        derived = all(finding.place == ON_DISK for finding in report.findings)
        remedy = "the memories are whole: `mnemos doctor` makes it right" if derived else "restore a backup or an export"
        verdict = "The store is whole" if report else f"{wrong} wrong; {remedy}"
        session.tell(f"{verdict} ({seconds:.2f} s).")
    if not report:
        raise typer.Exit(1)


def unreadable(path: Path, error: Corrupt) -> Report:
    """What can be said of a store too damaged to be opened or read through: which pages of its file are wrong."""
    from mnemos.kernel.reading.results import Report
    from mnemos.store.base import Finding as Damage
    from mnemos.store.sqlite_verify import verify_pages

    found: list[Damage] = []
    pages = verify_pages(path, found)
    return Report(False, {"pages": pages}, tuple(found or [Damage(str(path), "whole file", str(error))]))


def _verify_certificate(session: Session, path: Path, public_key: Path | None) -> None:
    from mnemos.kernel.forgetting import verify_certificate

    record = read_certificate(path)
    with session.open() as mem:
        verdict = verify_certificate(record, mem, public_key=public_key)
    tell_verdict(session, verdict, "The certificate holds: what it names is gone from this store, and the log says so")


@dataclass(frozen=True)
class Finding:
    """One thing that `doctor` looked at. `state`: ok, note, warn or fail; `do` says what to do where it is not ok."""

    name: str
    state: str
    detail: str
    do: str = ""


@command
def doctor(
    session: Session,
    reembed: Annotated[bool, typer.Option("--reembed", help="Make the missing vectors now, with the embedder of --embedder.")] = False,
) -> None:
    """Look at the installation and the store, and say what to do."""
    findings = []
    with session.err.status("looking …") as status:
        for finding in _look(session, reembed, status.stop):
            findings.append(finding)
    ok = all(finding.state != "fail" for finding in findings)
    if session.json:
        print_json({"ok": ok, "store": session.path, "checks": [asdict(finding) for finding in findings]})
    else:
        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        for finding in findings:
            mark, style = _MARKS[finding.state]
            detail = Text(one_line(finding.detail))
            if finding.do:
                detail.append(f"\n→ {one_line(finding.do)}", style="yellow")
            grid.add_row(Text(mark, style=style), Text(finding.name, style="bold"), detail)
        session.out.print(grid)
        session.tell("Everything is in order." if ok else "Something is broken: see the lines marked ✗.")
    if not ok:
        raise typer.Exit(1)


def _look(session: Session, reembed: bool, stop_status: Any) -> Iterator[Finding]:
    yield from _installation()
    yield _embedder(session)
    if reembed:
        stop_status()
        with session.open(embeds=True) as mem, progress(session.err, "embedding", "texts", quiet=session.json) as tick:
            done = mem.embedding.catch_up(mem.store, tick)
            name = mem.embedding.embedder.fingerprint if mem.embedding.embedder else "none"
        yield Finding("re-embedding", "ok", f"{done:,} texts were embedded by {name}")
    path = Path(session.path).expanduser()
    if not path.exists():
        yield Finding("store", "note", f"there is none at {session.path} yet", "make one with `mnemos init`, or name another with --store FILE")
        return
    try:
        with session.open() as mem:
            yield from _store(mem, path)
    except Corrupt as error:
        yield from _verified(unreadable(path, error))
    except MnemosError as error:
        yield Finding("store", "fail", str(error), "name another store with --store FILE")


def _installation() -> Iterator[Finding]:
    import apsw

    import mnemos

    yield Finding("Mnemos", "ok", f"{mnemos.__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}")
    newest = tuple(int(part) for part in apsw.sqlite_lib_version().split(".")[:3]) >= (3, 51, 0)
    yield Finding(
        "SQLite", "ok" if newest else "warn", f"{apsw.sqlite_lib_version()} (apsw {apsw.apsw_version()})", "" if newest else "pip install -U apsw"
    )
    for extra, (packages, purpose) in _EXTRAS.items():
        versions = {name: _version(name) for name in packages}
        missing = [name for name, version in versions.items() if version is None]
        have = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
        if missing:
            yield Finding(f"[{extra}]", "note", f"not installed: {', '.join(missing)}", f"for {purpose}: pip install 'mnemos[{extra}]'")
        else:
            yield Finding(f"[{extra}]", "ok", have)


def _version(package: str) -> str | None:
    if importlib.util.find_spec(package) is None:
        return None
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"


def _embedder(session: Session) -> Finding:
    from mnemos.models.catalog import DEFAULT_EMBEDDER, open_embedder

    spec: Any = session.chosen_embedder or DEFAULT_EMBEDDER
    try:
        spec = session.right_embedder() or spec
    except ModelUnavailable as error:
        do = "name it with --embedder, or make other vectors with: mnemos doctor --reembed --embedder minilm"
        return Finding("embedder", "warn", str(error).partition(";")[0], do)
    except MnemosError:
        pass  # what is wrong with the store is told below
    try:
        embedder = open_embedder(spec)
        if embedder is None:
            return Finding("embedder", "note", "none: searches go by words alone")
        start = time.perf_counter()
        embedder.embed(["Is anybody there?"])
        first = time.perf_counter() - start
        start = time.perf_counter()
        embedder.embed(["Where does Alice live now?"])
        second = time.perf_counter() - start
    except MnemosError as error:
        name = spec if isinstance(spec, str) else spec.fingerprint
        return Finding("embedder", "fail", f"{name}: {error}", "pip install 'mnemos[local]', or take --embedder hashed, which needs no model")
    detail = f"{embedder.fingerprint}, {embedder.dimensions} dimensions, loads in {first:.2f} s, {second * 1000:.1f} ms a question"
    return Finding("embedder", "ok", detail)


def _store(mem: Mnemos, path: Path) -> Iterator[Finding]:
    files = [file for file in sorted(path.parent.glob(f"{path.name}*")) if file.is_file()]
    sizes = ", ".join(f"{file.name} {size(file.stat().st_size)}" for file in files)
    with mem.snapshot() as snapshot:
        counts, names = snapshot.count(), [row.name for row in snapshot.spaces()]
    held = f"{counted(counts['cubes'], 'memory', 'memories and parts')} in {counted(len(names), 'space', 'spaces')}"
    detail = f"{sizes}; {held}, log position {mem.position():,}"
    yield Finding("store", "ok", detail)
    free = shutil.disk_usage(path.parent).free
    yield Finding("disk", "ok" if free > 2**30 else "warn", f"{size(free)} free", "" if free > 2**30 else "make room before the disk is full")
    yield _vectors(mem)
    yield from _vectors_on_disk(mem)
    yield from _verified(mem.verify())


def _verified(report: Report) -> Iterator[Finding]:
    if report:
        yield Finding("verify", "ok", ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in report.checked.items()))
    for finding in report.findings:
        derived = finding.place == ON_DISK
        do = "the store has it all: run mnemos doctor again" if derived else "restore a backup, or import the last export into a new store"
        yield Finding("verify", "fail", f"{finding.file}, {finding.place}: {finding.problem}", do)


def _vectors(mem: Mnemos) -> Finding:
    fingerprint = stored_embedder(mem)
    with mem.snapshot() as snapshot:
        if fingerprint is None:
            searchable = bool(snapshot.unembedded(-1, 0, 1))
            if searchable:
                return Finding("vectors", "note", "none: this store is searched by words alone", "mnemos doctor --reembed --embedder minilm")
            return Finding("vectors", "ok", "none yet: nothing is stored")
        number = next(number for number, (name, _) in snapshot.embedders().items() if name == fingerprint)
        missing, after = 0, 0
        while rows := snapshot.unembedded(number, after, 10_000):
            missing, after = missing + len(rows), rows[-1][0]
        have = snapshot.count()["vectors"]
    if missing:
        do = "mnemos doctor --reembed makes them now; searches stay right meanwhile"
        return Finding("vectors", "warn", f"{have:,} stored; {missing:,} texts have none by {fingerprint}", do)
    return Finding("vectors", "ok", f"{have:,} by {fingerprint}, none missing")


def _vectors_on_disk(mem: Mnemos) -> Iterator[Finding]:
    """The indexes of spaces that are too large for memory. They are derived: what is wrong with them is mended here and now, or thrown away."""
    for done in mem.vector_files.mend():
        yield Finding("vectors", "warn", done, "nothing is lost; searches read the store until the vectors are on disk again")
    with mem.snapshot() as snapshot:
        names = {row.num: row.name for row in snapshot.spaces()}
    for one in mem.vector_files.describe():
        if "vectors" not in one:
            yield Finding("vectors", "note", f"space {names[one['space']]}: on disk, and in use by another process")
            continue
        measured = "recall not measured" if one["recall"] is None else f"recall {one['recall']:.3f} on a sample"
        shape = f"{one['vectors']:,} in {counted(one['lists'], 'list', 'lists')}, {measured}, {one['backlog']:,} waiting to be split or merged"
        sizes = f"{size(one['bytes_on_disk'])} on disk, {size(one['bytes_in_memory'])} in memory; up to log position {one['position']:,}"
        yield Finding("vectors", "ok", f"space {names[one['space']]}: on disk: {shape}; {sizes}")
