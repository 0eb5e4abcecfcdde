"""Pools of procedures as JSON lines: a line for each run, then one for each entry with its counts and the runs that it rests on."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from mnemos.base.errors import Invalid, StoreUnavailable, shown
from mnemos.kernel.procedures import keeping
from mnemos.text.procedures.procedure import CATEGORIES, Procedure
from mnemos.text.trajectories.credit import Counts
from mnemos.text.trajectories.trajectory import Trajectory

if TYPE_CHECKING:
    from mnemos.base.cube import MemCube
    from mnemos.kernel.procedures.service import Procedures


MOST_COUNTED = 2**31 - 1
"""Runs that an entry of a file can have been used in."""


def export(service: Procedures, path: str | Path) -> int:
    """Write a pool, oldest entries first."""
    path = _path(path)
    service.space.admit("read")
    with service.space.system.snapshot() as snapshot:
        entries = list(keeping.cubes_of(service.space, keeping.PROCEDURE))
        runs = {cube.id: cube for cube in keeping.cubes_of(service.space, keeping.TRAJECTORY)}
        lines: list[dict[str, Any]] = []
        needed = dict.fromkeys(str(link.id) for cube in entries for link in cube.derived_from if str(link.id) in runs)
        lines += [{"id": id, "trajectory": keeping.trajectory_of(runs[id]).as_json()} for id in needed]
        for cube in entries:
            procedure = keeping.procedure_of(cube)
            procedure = procedure.supported(*service.ledger.support(snapshot, cube.id, procedure.revision))
            counts = service.ledger.counts(snapshot, cube.id, procedure.revision)
            sources = [str(link.id) for link in cube.derived_from if str(link.id) in needed]
            lines.append({"id": cube.id, "procedure": procedure.as_json(), "counts": dataclasses.asdict(counts), "sources": sources})
    partial = path.with_name(f"{path.name}.partial")  # what stood there before stays until all of this is written
    try:
        partial.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise StoreUnavailable(f"{path}: cannot be written ({error.strerror}); give another path") from None
    return len(entries)


def load(service: Procedures, path: str | Path) -> list[str]:
    """Add the entries of a file to a space; they get new ids."""
    path = _path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StoreUnavailable(f"{path}: cannot be read ({error.strerror})") from None
    runs: dict[str, MemCube] = {}
    out: list[str] = []
    with service.space.system.transaction():
        for number, line in enumerate(data.splitlines(), 1):
            if not line.strip():
                continue
            try:
                record = orjson.loads(line)
                if not isinstance(record, Mapping):
                    raise Invalid(f"expected a JSON object, not {shown(record)}")
                _take(service, record, runs, out)
            except orjson.JSONDecodeError as error:
                raise Invalid(f"{path}, line {number}: is no JSON ({error}); nothing was taken in") from None
            except Invalid as error:
                raise Invalid(f"{path}, line {number}: {error}; nothing was taken in") from None
    return out


def _take(service: Procedures, record: Mapping[str, Any], runs: dict[str, MemCube], out: list[str]) -> None:
    if "trajectory" in record:
        runs[str(record.get("id"))] = keeping.write_trajectory(service.space, Trajectory.from_json(record["trajectory"]))
        return
    procedure = Procedure.from_json(record["procedure"]) if "procedure" in record else foreign(record)
    counts = _counts(record.get("counts", {}))
    sources = record.get("sources", [])
    if not isinstance(sources, list) or not all(source in runs for source in map(str, sources)):
        raise Invalid("sources: names a run that no line before this one holds")
    cube = keeping.write_procedure(service.space, procedure, [runs[str(source)] for source in sources], service.guard)
    if cube is None or cube.state == "quarantined":
        return
    with service.space.system.writing() as transaction:
        service.ledger.restore(transaction, cube.id, procedure.revision, counts)
    out.append(cube.id)


def _path(given: object) -> Path:
    if not isinstance(given, (str, Path)):
        raise Invalid(f"path: expected the name of a file, not {type(given).__name__}")
    return Path(given)


def _counts(given: object) -> Counts:
    known = {field.name: field.type for field in dataclasses.fields(Counts)}
    if not isinstance(given, Mapping) or given.keys() - known.keys():
        raise Invalid(f"counts: expected a dict of {', '.join(known)}, not {shown(given)}")
    for name, value in given.items():
        whole = known[name] == "int"
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not 0 <= value <= MOST_COUNTED:
            raise Invalid(f"counts: {name}: expected a number from 0 to {MOST_COUNTED:,}, not {shown(value)}")
    return Counts(**given)


def foreign(record: Mapping[str, Any]) -> Procedure:
    """An entry of a pool that ReMe's own releases write: `when_to_use` and `content`, and what of its metadata is known here. Raises `Invalid`."""
    inner = record.get("metadata") if isinstance(record.get("metadata"), Mapping) else {}
    content = record.get("content")
    content = content.get("content") if isinstance(content, Mapping) else content
    given = {**(inner or {}), **record}
    tools = given.get("tools_used") or given.get("tools") or []
    category = given.get("category") if given.get("category") in CATEGORIES else "success"
    trust = given.get("confidence")
    return Procedure.from_json({
        "scenario": record.get("when_to_use"), "content": content, "category": category,
        "keywords": given.get("tags") if isinstance(given.get("tags"), list) else [], "tools": tools if isinstance(tools, list) else [],
        "confidence": trust if isinstance(trust, (int, float)) and not isinstance(trust, bool) and 0 <= trust <= 1 else 0.5,
        "author": given.get("author") if isinstance(given.get("author"), str) else None,
    })  # fmt: skip
