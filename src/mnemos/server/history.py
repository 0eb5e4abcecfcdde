"""Routes of a space's past: snapshots and going back to one, and what-if branches: opened, compared, merged back, dropped."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Body, Depends, Path, Query, Request, Response
from pydantic import BaseModel, Field

from mnemos.base.clock import optional_datetime, to_micros
from mnemos.base.errors import Invalid, NotFound
from mnemos.kernel.history.branch_merge import Branch
from mnemos.kernel.history.snapshots import NamedPosition
from mnemos.kernel.space import Space
from mnemos.server import models
from mnemos.server.guard import with_slashes
from mnemos.server.memories import ReasonQuery
from mnemos.server.routing import READS, WRITES, Answer, Existing, Memory, StrictRoute, fails

router = APIRouter(route_class=StrictRoute, tags=["history"])
SnapshotLabel = Annotated[str, Field(min_length=1, max_length=200, pattern=models.SPACE_PATTERN)]


class NewSnapshot(models.Request):
    """A name for how the space is, or was."""

    name: SnapshotLabel
    at: models.PositionOrMoment | None = Field(None, description="As it was at this time or position of the log; as it is now where left out")


class Past(models.Request):
    """A point of the past: one of the two."""

    snapshot: SnapshotLabel | None = Field(None, description="The name of a snapshot of the space")
    at: models.PositionOrMoment | None = Field(None, description="A time, or a position of the log")


class Rewind(Past):
    """Where to go back to, by `snapshot` or by `at`."""

    ids: Annotated[list[models.Id], Field(min_length=1, max_length=models.MOST_RECORDS)] | None = Field(None, description="Else the whole space")


class NewBranch(Past):
    """A what-if branch: of the space as it is, or as it was at a snapshot, a time or a position."""

    name: models.SpaceName


class Merge(models.Request):
    """How a branch is brought back."""

    on_conflict: Literal["error", "ours", "theirs"] = Field(
        "error", description="Where both sides changed the same: do nothing, keep what the original says, or take what the branch says"
    )


class Snapshot(BaseModel):
    """How a space was when the log ended at `position`. Give that as `as_of` to a list or a search, and look at it."""

    name: str
    space: str
    position: int
    at: str = Field(description="When it was named")
    by: str | None


class Snapshots(BaseModel):
    snapshots: list[Snapshot]


class Rewound(BaseModel):
    """What going back changed, by ids."""

    position: int
    reverted: list[str] = Field(description="Say again what they said then, as new versions")
    moved: list[str] = Field(description="Were out of searches and are back, or the other way round")
    archived: list[str] = Field(description="Did not exist then, and are in the archive now")
    gone: list[str] = Field(description="Have been forgotten since, and do not come back")
    kept: list[str] = Field(description="Are in quarantine, and stay there")


class BranchSpace(BaseModel):
    """A branch: a space of its own, `name`, read and changed like any other."""

    name: str
    of: str | None = Field(description="null where it is none that the principal may read")
    position: int = Field(description="Where the log ended in what it was made from")
    at: str = Field(description="When it was made")


class Branches(BaseModel):
    branches: list[BranchSpace]


class Change(BaseModel):
    """What a branch did to one memory."""

    kind: Literal["added", "changed", "archived", "restored"]
    fields: list[str] = Field(description="That changed in the branch")
    conflicts: list[str] = Field(description="Of these, those that changed in the original, too; `state` stands for being in searches")
    branch: models.Memory | None = Field(description="As it is there; null where it was forgotten there")
    base: models.Memory | None = Field(description="The original as it is now")


class Diff(BaseModel):
    of: str
    changes: list[Change]


class Merged(BaseModel):
    """What a merge did in the original space, by ids."""

    added: list[str]
    changed: list[str]
    archived: list[str]
    restored: list[str]
    left: list[str] = Field(description="Of whose changes nothing was taken, because of conflicts")


class Dropped(BaseModel):
    certificate: models.Certificate | None = Field(description="null where nothing was left in the branch")


# ---- snapshots -------------------------------------------------------------------------------------------------------


def _snapshot_name(
    snapshot: Annotated[str, Path(min_length=1, max_length=200, pattern=models.SPACE_PATTERN, description="The snapshot's name")],
) -> str:
    return with_slashes(snapshot)


SnapshotName = Annotated[str, Depends(_snapshot_name)]
_SNAPSHOTS = "/v1/spaces/{space}/snapshots"


def _named(space: Space, name: str) -> NamedPosition:
    """The snapshot of that name. Raises `NotFound`."""
    for found in space.snapshots():
        if found.name == name:
            return found
    raise NotFound(f"snapshot: space {space.name!r} has none called {name!r}; GET /v1/spaces/{{space}}/snapshots names them")


def _meant(space: Space, past: Past) -> NamedPosition | int | datetime | None:
    """The point of the past that is meant; None for now. A text is a time, also where a snapshot is called so. Raises `Invalid` where two are."""
    if past.snapshot is not None and past.at is not None:
        raise Invalid("snapshot, at: give one of them, not both")
    if past.snapshot is not None:
        return _named(space, past.snapshot)
    return past.at if past.at is None or isinstance(past.at, int) else optional_datetime(to_micros(past.at))


@router.get(_SNAPSHOTS, response_model=Snapshots, responses=READS)
def snapshots(space: Existing) -> Response:
    """The snapshots of the space, the oldest position first."""
    return Answer({"snapshots": [found.as_json() for found in space.snapshots()]})


@router.post(_SNAPSHOTS, status_code=201, response_model=Snapshot, responses=WRITES)
def take_snapshot(space: Existing, new: NewSnapshot) -> Response:
    """Name how the space is now, or was, to look at it, to go back there, or to branch from there."""
    taken = space.snapshot(new.name, new.at)
    where = f"/v1/spaces/{quote(space.name, safe='')}/snapshots/{quote(taken.name, safe='')}"
    return Answer(taken.as_json(), 201, headers={"Location": where})


@router.get(f"{_SNAPSHOTS}/{{snapshot}}", response_model=Snapshot, responses=READS)
def show_snapshot(space: Existing, name: SnapshotName) -> Response:
    """Where a snapshot stands in the log."""
    return Answer(_named(space, name).as_json())


@router.delete(f"{_SNAPSHOTS}/{{snapshot}}", status_code=204, response_class=Response, responses=fails(404, 409, 422, 429, 507))
def drop_snapshot(space: Existing, name: SnapshotName) -> Response:
    """Take the name away. What it stood for can still be seen, by its position."""
    space.drop_snapshot(name)
    return Response(status_code=204)


@router.post("/v1/spaces/{space}/rewind", response_model=Rewound, responses=WRITES)
def rewind(request: Request, space: Existing, to: Rewind) -> Response:
    """Bring memories back to what they said, and where they stood, at a point of the past: as new versions, all or nothing."""
    meant = _meant(space, to)
    if meant is None:
        raise Invalid("rewind: say where to, by `snapshot` or by `at`")
    done = space.rewind(meant, to.ids)
    request.app.state.metrics.wrote(len(done.reverted))
    return Answer(done.as_json())


# ---- branches --------------------------------------------------------------------------------------------------------

_BRANCH = "/v1/spaces/{space}/branch"


def _as_json(branch: Branch) -> dict[str, Any]:
    return {"name": branch.name, "of": branch.origin.of, "position": branch.origin.position, "at": branch.origin.at}


@router.get("/v1/spaces/{space}/branches", response_model=Branches, responses=READS)
def branches(space: Existing) -> Response:
    """The branches of the space that the principal may read, oldest first."""
    return Answer({"branches": [_as_json(branch) for branch in space.branches()]})


@router.post("/v1/spaces/{space}/branches", status_code=201, response_model=BranchSpace, responses=WRITES)
def open_branch(space: Existing, new: NewBranch) -> Response:
    """Open a what-if branch: a new space with a copy of each memory, whose changes do not touch the original until it is merged."""
    branch = space.branch(new.name, _meant(space, new))
    return Answer(_as_json(branch), 201, headers={"Location": f"/v1/spaces/{quote(branch.name, safe='')}/branch"})


@router.get(_BRANCH, response_model=BranchSpace, responses=READS)
def show_branch(memory: Memory, space: Existing) -> Response:
    """What the space is a branch of; 422 where it is none."""
    space.admit("read")
    branch = space.as_branch()
    return Answer(_as_json(branch) | ({} if branch.origin.of in memory.spaces() else {"of": None}))


@router.get(f"{_BRANCH}/diff", response_model=Diff, responses=READS)
def diff_branch(space: Existing) -> Response:
    """What the branch changed since it was made or last merged, and what of it contradicts changes of the original."""
    return Answer(space.as_branch().diff().as_json())


@router.post(f"{_BRANCH}/merge", response_model=Merged, responses=WRITES)
def merge_branch(request: Request, space: Existing, how: Annotated[Merge | None, Body()] = None) -> Response:
    """Bring the branch's changes back to its original, in one transaction. The branch stays, and can be merged again."""
    merged = space.as_branch().merge(how.on_conflict if how else "error")
    request.app.state.metrics.wrote(len(merged.added) + len(merged.changed))
    return Answer(merged.as_json())


@router.delete(_BRANCH, response_model=Dropped, responses=fails(404, 409, 422, 429, 507))
def drop_branch(request: Request, space: Existing, query: Annotated[ReasonQuery, Query()]) -> Response:
    """Forget all of the branch, and what was made from it; the originals stay. For whoever made it."""
    certificate = space.as_branch().drop(query.reason)
    request.app.state.metrics.forgot(len(certificate.cubes) if certificate else 0)
    return Answer({"certificate": certificate.as_json() if certificate else None})
