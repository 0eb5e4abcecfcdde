"""Routes of the lives of memories and of their lineage: archive and restore, quarantine and release, merge, supersede, tend, explain."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Body, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from mnemos.base.cube import MAX_WORD
from mnemos.kernel.life.tending import LifecyclePolicy
from mnemos.server import models
from mnemos.server.routing import READS, WRITES, Answer, Existing, Id, Memory, StrictRoute, fails

router = APIRouter(route_class=StrictRoute, tags=["lives"])


class Why(models.Request):
    """Why it is done."""

    reason: Annotated[str, Field(max_length=MAX_WORD)] | None = Field(None, description="Stays in the log: it must not repeat the memory")


class Merge(models.Described):
    """Several memories that become one. What is not given comes from them."""

    ids: Annotated[list[models.Id], Field(min_length=2, max_length=1000)]
    text: models.Text | None = Field(None, description="What the new memory says; else the fullest of them, with what the others add")


class Supersede(Why):
    """Which memory holds instead of which."""

    newer: models.Id
    older: models.Id


Days = Annotated[float, Field(ge=0, lt=1e9, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Lifecycle(models.Request):
    """How the memories of a space live. What is not given has its default."""

    archive_after_days: Days | None = Field(None, description="Days without use after which a memory may go to the archive; null: never")
    heat_floor: Days = Field(0.05, description="Heat below which a memory is cold: its uses, each fading by e in a day")
    comes_back: Days = Field(3.0, description="Times the longest of its last gaps between uses that a memory may be silent for before it is cold")
    important: Days = Field(1.0, description="Priority from which on a memory never goes to the archive by itself")
    merge_duplicates: bool = Field(True, description="Of two memories that say the same, one becomes merged into the other")
    settle_contradictions: bool = Field(True, description="A memory that replaces an older one supersedes it")
    records: list[models.Word] = Field(["turn", "episode", "document"], description="Types that are neither merged nor superseded")
    duplicate_confidence: Share = 0.9
    update_confidence: Share = 0.8
    outdated: Share = 0.8

    def policy(self) -> LifecyclePolicy:
        return LifecyclePolicy.from_json(self.given())


class TendSpace(models.Request):
    """How to tend."""

    policy: Lifecycle | None = Field(None, description="Else as the space says")


class Tend(TendSpace):
    """What to tend, and how."""

    spaces: Annotated[list[models.SpaceName], Field(min_length=1, max_length=1000)] | None = Field(None, description="Else all that may be written")


class Tended(BaseModel):
    """How many memories changed their lives."""

    activated: int = Field(description="Were used, and have come to life")
    revived: int = Field(description="Were used, and are back from the archive")
    expired: int
    archived: int = Field(description="Went to the archive, since nobody used them")
    merged: int = Field(description="Say what another one says")
    superseded: int = Field(description="Hold no more, since another one holds instead")
    contradictions: int = Field(description="Pairs of which it is not clear which one holds")


class Happening(BaseModel):
    """One entry of the log about the memory, with what else it says, such as `from`, `to` and `reason`."""

    model_config = ConfigDict(extra="allow")

    position: int
    at: str
    what: str = Field(description="add, update, state, freeze, unfreeze, stale, link or permission")
    version: int | None
    by: str | None


class Step(BaseModel):
    """One step of the lineage, with what lies behind it. A memory that was met before is told without that."""

    relation: str
    version: int = Field(description="Which version was used")
    outdated: bool = Field(description="It has changed since")
    cube: models.Memory
    sources: list[Step] | None = None
    derived: list[Step] | None = None


class Lineage(BaseModel):
    """Where a memory came from, what was made of it, and what has happened to it. What the principal may not read is left out."""

    cube: models.Memory
    events: list[Happening] | None = None
    sources: list[Step] | None = None
    derived: list[Step] | None = None


Reason = Annotated[Why | None, Body()]
_ONE = "/v1/spaces/{space}/memories/{id}"


def _reason(why: Why | None) -> str | None:
    return why.reason if why else None


@router.post(f"{_ONE}/archive", response_model=models.Memory, responses=WRITES)
def archive(space: Existing, id: Id, why: Reason = None) -> Response:
    """Take the memory out of searches, and keep it."""
    return Answer(space.archive(id, _reason(why)).as_json())


@router.post(f"{_ONE}/restore", response_model=models.Memory, responses=WRITES)
def restore(space: Existing, id: Id, why: Reason = None) -> Response:
    """Bring an archived or merged memory back into searches."""
    return Answer(space.restore(id, _reason(why)).as_json())


@router.post(f"{_ONE}/quarantine", response_model=models.Memory, responses=WRITES)
def quarantine(space: Existing, id: Id, why: Reason = None) -> Response:
    """Set the memory aside as possibly harmful: no search finds it until it is released."""
    return Answer(space.quarantine(id, _reason(why)).as_json())


@router.post(f"{_ONE}/release", response_model=models.Memory, responses=WRITES)
def release(space: Existing, id: Id, why: Reason = None) -> Response:
    """Take the memory out of quarantine, back to the state that it was in."""
    return Answer(space.release(id, _reason(why)).as_json())


@router.get(f"{_ONE}/lineage", response_model=Lineage, responses=READS)
def lineage(space: Existing, id: Id) -> Response:
    """Where the memory came from, what was made of it, and what has happened to it, across all spaces that the principal may read."""
    return Answer(space.explain(id).as_json())


@router.post("/v1/spaces/{space}/merge", status_code=201, response_model=models.Memory, responses=WRITES)
def merge(request: Request, space: Existing, what: Merge) -> Response:
    """Make one memory of several that overlap. They become merged: out of searches, kept, and back where the new one is forgotten."""
    cube = space.merge(what.ids, what.text, **what.given("ids", "text"))
    request.app.state.metrics.wrote(1)
    return Answer(cube.as_json(), 201, headers={"Location": f"/v1/spaces/{quote(space.name, safe='')}/memories/{cube.id}"})


@router.post("/v1/spaces/{space}/supersede", response_model=models.Memory, responses=WRITES)
def supersede(space: Existing, what: Supersede) -> Response:
    """Say that one memory holds instead of another, which goes to the archive and stays in the history of the newer one."""
    return Answer(space.supersede(what.newer, what.older, what.reason).as_json())


_TENDS = fails(404, 409, 413, 415, 422, 507)


@router.post("/v1/spaces/{space}/tend", name="tend", response_model=Tended, responses=_TENDS)
def tend_space(memory: Memory, space: Existing, how: Annotated[TendSpace | None, Body()] = None) -> Response:
    """Bring the lives of the space's memories up to date, as its settings say, or as `policy` does."""
    return Answer(memory.tend([space.name], how.policy.policy() if how and how.policy else None).as_json())


@router.post("/v1/tend", response_model=Tended, responses=_TENDS)
def tend(memory: Memory, how: Annotated[Tend | None, Body()] = None) -> Response:
    """Bring the lives of memories up to date in all spaces that the principal may write, or in those named."""
    spaces, policy = (how.spaces, how.policy) if how else (None, None)
    return Answer(memory.tend(spaces, policy.policy() if policy else None).as_json())
