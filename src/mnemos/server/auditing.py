"""Routes of the audit: who did what, who was given which right, and signed checkpoints of the log, made and checked."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from mnemos.base.errors import Conflict, NotFound, PermissionDenied
from mnemos.base.signing import PublicKey
from mnemos.kernel.audit import activity, as_csv, checkpoint, checkpoints_path, permission_changes, read_checkpoints, verify_checkpoints
from mnemos.kernel.system import Mnemos
from mnemos.server import models
from mnemos.server.routing import DIGITS, POSITION_IN_DIGITS, Answer, Memory, StrictRoute, fails

router = APIRouter(route_class=StrictRoute, tags=["audit"])
MOST_ROWS = 100_000
_CSV = "text/csv"


class ReportQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    since: Annotated[models.PositionOrMoment, POSITION_IN_DIGITS] | None = Field(
        None, description="After this position of the log, or from this time"
    )
    until: Annotated[models.PositionOrMoment, POSITION_IN_DIGITS] | None = Field(None, description="Up to this position, or before this time")
    space: list[models.Word] | None = Field(None, description="Only of these spaces")
    format: Literal["json", "csv"] = "json"


class AuditQuery(ReportQuery):
    principal: list[models.Word] | None = Field(None, description="Only what these did; (owner) is the owner of the store")
    kind: list[models.EventKind] | None = Field(None, description="Only entries of these kinds")
    id: models.Id | None = Field(None, description="Only of this memory")
    limit: Annotated[int, Field(ge=1, le=MOST_ROWS), DIGITS] = Field(1000, description="For what follows give the last row's position as `since`")


class Act(BaseModel):
    """One entry of the log."""

    position: int
    at: str
    principal: str = Field(description="(owner) where the owner of the store did it")
    kind: models.EventKind
    space: str | None
    cube: str | None
    version: int | None
    what: str = Field(description="In words")
    details: dict[str, Any]


class Acts(BaseModel):
    rows: list[Act]


class RuleChange(BaseModel):
    """One change of who may do what."""

    position: int
    at: str
    principal: str
    scope: Literal["space", "cube", "role"]
    space: str | None
    subject: str | None = Field(description="The memory, or the role")
    what: str = Field(description='The rule, such as "acl.read"')
    added: list[str]
    removed: list[str]
    before: Any
    after: Any


class RuleChanges(BaseModel):
    rows: list[RuleChange]


class Signed(models.Request):
    """A signed document."""

    purpose: str
    document: dict[str, Any]
    key: str | None
    signature: str | None
    checksum: str


class Checkpoints(BaseModel):
    checkpoints: list[Signed]


class Check(models.Request):
    """Under which key checkpoints have to hold."""

    public_key: Annotated[str, Field(min_length=1, max_length=10_000)] | None = Field(
        None, description="PEM, or 64 hexadecimal digits; that of the server itself where left out"
    )
    known: Annotated[list[Signed], Field(max_length=1000)] = Field([], description="Checkpoints that you kept: each has to be there")


def _csv_of(what: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"description": what, "content": {_CSV: {"schema": {"type": "string"}}}}, **fails(404, 422)}


def _report(rows: Any, form: str) -> Response:
    if form == "csv":
        return Response(as_csv(rows), media_type=f"{_CSV}; charset=utf-8", headers={"Content-Disposition": 'attachment; filename="audit.csv"'})
    return Answer({"rows": [asdict(row) for row in rows]})


@router.get("/v1/audit", response_model=Acts, responses=_csv_of("Who did what, oldest first"))
def audit(memory: Memory, query: Annotated[AuditQuery, Query()]) -> Response:
    """Who did what and when, oldest first, of what the principal may read. Nothing of a memory's text is in it."""
    rows = activity(
        memory,
        since=query.since,
        until=query.until,
        principals=query.principal,
        spaces=query.space,
        kinds=query.kind,
        cube=query.id,
        limit=query.limit,
    )
    return _report(rows, query.format)


@router.get("/v1/audit/permissions", response_model=RuleChanges, responses=_csv_of("Who was given and who lost which right, oldest first"))
def audit_permissions(memory: Memory, query: Annotated[ReportQuery, Query()]) -> Response:
    """Who was given and who lost which right: of spaces and memories that the principal may share; of roles for the owner of the store."""
    return _report(permission_changes(memory, since=query.since, until=query.until, spaces=query.space), query.format)


# ---- checkpoints -----------------------------------------------------------------------------------------------------


def _owner_only(memory: Mnemos) -> None:
    if memory.principal is not None:
        raise PermissionDenied("checkpoints cover every space, and are for the owner of the store")


def _has_checkpoints(memory: Mnemos) -> bool:
    return memory.store.durable and checkpoints_path(memory.path).exists()


@router.get("/v1/checkpoints", response_model=Checkpoints, responses=fails())
def checkpoints(memory: Memory) -> Response:
    """The checkpoints that lie beside the store, oldest first. Keep them elsewhere, too. For the owner of the store."""
    _owner_only(memory)
    found = read_checkpoints(checkpoints_path(memory.path)) if _has_checkpoints(memory) else []
    return Answer({"checkpoints": [signed.as_json() for signed in found]})


@router.post("/v1/checkpoints", status_code=201, response_model=Signed, responses=fails(409, 507))
def make_checkpoint(memory: Memory) -> Response:
    """Sign where the log stands now, with the server's signing key; 409 where it was given none. For the owner of the store."""
    _owner_only(memory)
    if memory.work.signer is None:
        raise Conflict("this server holds no signing key; start it with `mnemos serve --sign FILE`, or MNEMOS_SIGNING_KEY_FILE")
    return Answer(checkpoint(memory, memory.work.signer).as_json(), 201)


@router.post("/v1/verify-checkpoints", response_model=models.Verdict, responses=fails(404, 409, 413, 415, 422))
def check_checkpoints(memory: Memory, what: Check) -> Response:
    """Whether the log is the one that its checkpoints speak of, and runs through each of them. For the owner of the store."""
    _owner_only(memory)
    if what.public_key is None and memory.work.signer is None:
        raise Conflict("this server holds no signing key of its own; say with `public_key` whose checkpoints have to hold")
    if not _has_checkpoints(memory):
        raise NotFound("there are no checkpoints beside this store yet")
    # As bytes: a text could be the name of a file of the server.
    key = memory.work.signer.public if what.public_key is None and memory.work.signer else PublicKey.of((what.public_key or "").encode())
    verdict = verify_checkpoints(memory, key, known=[one.model_dump() for one in what.known])
    return Answer({"ok": verdict.ok, "reasons": list(verdict.reasons)})
