"""Procedures and trajectories as memories of a space: each procedure a view of the runs that it was learnt from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from mnemos.base.clock import to_micros
from mnemos.base.cube import Link, MemCube
from mnemos.base.errors import Invalid, NotFound
from mnemos.base.ids import parse_id
from mnemos.base.lineage import VIEW_OF
from mnemos.kernel.life.lifecycle import VISIBLE
from mnemos.kernel.procedures.counting import Ledger
from mnemos.kernel.reading.viewing import Viewing
from mnemos.kernel.rights.governance import LABELS, label_level
from mnemos.kernel.writing import writes
from mnemos.text.encoding import LONGEST_WHOLE
from mnemos.text.procedures.procedure import Procedure
from mnemos.text.trajectories.trajectory import Trajectory

if TYPE_CHECKING:
    from mnemos.kernel.guard.hooks import GuardedSpace
    from mnemos.kernel.space import Space

PROCEDURE, TRAJECTORY, CALLS = "procedure", "trajectory", "tool_calls"
"""Types of the cubes: an entry, a run, and calls of tools that were noted."""
RECORD = "experience"
"""Key of metadata under which an entry's record stands. Its calls stand under "steps", where a guard looks for them."""


def cubes_of(space: Space, type: str, after: int = 0) -> Iterator[MemCube]:
    """The memories of one type that the caller may read, in the order of their writing, from beyond a log position."""
    cursor: str | None = str(after) if after else None
    while True:
        page = space.list(types=[type], limit=1000, cursor=cursor)
        yield from page
        cursor = page.cursor
        if cursor is None:
            return


def is_procedure(cube: MemCube) -> bool:
    """Whether a cube of the type keeps an entry: who may write to the space may write others of that type by hand, and they are no entries."""
    try:
        procedure_of(cube)
    except Invalid:
        return False
    return True


def procedure_of(cube: MemCube) -> Procedure:
    """The entry that a cube keeps. Raises `Invalid` where it keeps none."""
    record = cube.metadata.get(RECORD)
    if not isinstance(record, Mapping):
        raise Invalid(f"cube {cube.id} is of type {cube.type!r} and holds no procedure; add procedures with `space.procedures`")
    return Procedure.from_json({**record, "steps": cube.metadata.get("steps", [])})


def write_trajectory(space: Space, run: Trajectory, fields: Mapping[str, Any] | None = None) -> MemCube:
    """A run as a memory: what was asked, how it ended and what was called in words, the messages in its metadata."""
    called = ", ".join(run.called())
    text = f"{run.task}\n\nReward {run.reward:g}.{f' Called {called}.' if called else ''}"
    if len(text) > LONGEST_WHOLE:  # a document of parts would copy the messages into each
        text = text[: LONGEST_WHOLE - 1] + "…"
    return writes.add(space, text, {"type": TRAJECTORY, "origin": "inference", **(fields or {}), "metadata": {"trajectory": run.as_json()}})


def trajectory_of(cube: MemCube) -> Trajectory:
    return Trajectory.from_json(cube.metadata.get("trajectory"))


def procedure_fields(procedure: Procedure, sources: Sequence[MemCube] = ()) -> dict[str, Any]:
    """What `Space.add` is told of an entry beside its text."""
    record = procedure.as_json()
    steps = record.pop("steps", [])
    return {
        "type": PROCEDURE, "origin": "inference", "tags": [procedure.category],
        "metadata": {RECORD: record, **({"steps": steps} if steps else {})},
        "derived_from": [Link(parse_id(cube.id), cube.version, VIEW_OF) for cube in sources], "sensitivity": highest_label(sources),
    }  # fmt: skip


def highest_label(cubes: Sequence[MemCube]) -> str | None:
    """The label of what was made of several memories: the highest of theirs."""
    level = max((label_level(cube.sensitivity) for cube in cubes), default=0)
    return LABELS[level] if level else None


def write_procedure(space: Space, procedure: Procedure, sources: Sequence[MemCube], guard: GuardedSpace | None = None) -> MemCube | None:
    """An entry as a memory. With a guard it is admitted first: what is refused goes into quarantine, and what only teaches a lesson is not written
    (None)."""
    fields = procedure_fields(procedure, sources)
    if guard is None:
        return writes.add(space, procedure.text, fields)
    return guard.add(procedure.text, **fields).cube


def revise_procedure(
    space: Space, id: str, procedure: Procedure, sources: Sequence[MemCube], guard: GuardedSpace | None = None
) -> MemCube | None:
    """The next version of an entry, also made from `sources`. None where the entry is frozen, or the guard does not admit what it would say."""
    fields = procedure_fields(procedure, sources)
    held = space.get(id)
    if held.frozen or (guard is not None and not _admitted(guard, procedure.text, fields)):
        return None
    fields["derived_from"] = [*held.derived_from, *fields["derived_from"]]
    fields["sensitivity"] = max(fields["sensitivity"], held.sensitivity, key=label_level)
    return writes.revise(space, parse_id(id), {**fields, "text": procedure.text})


def _admitted(guard: GuardedSpace, text: str, fields: Mapping[str, Any]) -> bool:
    from mnemos.kernel.guard.hooks import candidate_of  # whoever has a guard has read its word lists
    from mnemos.kernel.guard.verdicts import Where

    return guard.guard.admit(candidate_of(str(guard.space.system.new_id()), text, **fields)).where is Where.MEMORY


def held_procedures(space: Space) -> tuple[dict[str, Procedure], int | None]:
    """The entries of a space that the caller may read, by id, and when the first of them expires (microseconds; None: none does)."""
    cubes = [cube for cube in cubes_of(space, PROCEDURE) if is_procedure(cube)]
    return {cube.id: procedure_of(cube) for cube in cubes}, first_end(to_micros(cube.expires_at) for cube in cubes)


def present_procedure(viewing: Viewing, cube: UUID, now: int) -> tuple[Procedure | None, int | None]:
    """The entry that a cube keeps, where it is one that the caller may read and that is in use, and when it expires."""
    try:
        row = viewing.current(cube)
    except NotFound:
        return None, None
    end = row.content.expires_at
    if row.content.type != PROCEDURE or row.state not in VISIBLE or (end is not None and end <= now):
        return None, None
    cube_now = viewing.cube(row)
    return (procedure_of(cube_now), end) if is_procedure(cube_now) else (None, None)


def first_end(ends: Iterable[int | None]) -> int | None:
    """The earliest of some moments, None being none."""
    return min((end for end in ends if end is not None), default=None)


def supported(space: Space, ledger: Ledger, entries: Mapping[str, Procedure]) -> dict[str, Procedure]:
    """The entries with the runs for and against them that were counted since they were written."""
    with space.system.snapshot() as snapshot:
        return {id: one.supported(*ledger.support(snapshot, id, one.revision)) for id, one in entries.items()}
