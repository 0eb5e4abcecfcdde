"""Routes of the whole server: the log, the spaces, certificates, health, metrics, and the page that says what runs here."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import HTMLResponse

from mnemos.base.clock import iso
from mnemos.kernel.forgetting import verify_certificate
from mnemos.kernel.rights.governance import told
from mnemos.server import models, pages
from mnemos.server.routing import DIGITS, Answer, Memory, StrictRoute, fails

router = APIRouter(route_class=StrictRoute)
MOST_ENTRIES = 10_000


class LogQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    since: Annotated[int, Field(ge=0, lt=models.MOST_POSITIONS), DIGITS] = Field(0, description="Entries after this position")
    limit: Annotated[int, Field(ge=1, le=MOST_ENTRIES), DIGITS] = 1000


@router.get("/v1/log", response_model=models.Log, responses=fails(422), tags=["server"])
def log(memory: Memory, query: Annotated[LogQuery, Query()]) -> Response:
    """Changes of the spaces that the principal may read, in order. The log never holds the text of a memory."""
    position = memory.position()  # before the entries, so that none that comes meanwhile is passed over
    entries = memory.log(query.since, query.limit)
    with memory.snapshot() as snapshot:
        rows, access = {row.num: row for row in snapshot.spaces()}, memory.access(snapshot)
    shown = [
        {
            "seq": entry.seq,
            "at": iso(entry.at),
            "kind": entry.kind,
            "space": rows[entry.space].name if entry.space in rows else None,
            "cube": str(entry.cube) if entry.cube else None,
            "version": entry.version,
            "actor": entry.actor,
            "digest": entry.digest.hex() if entry.digest else None,
            "body": told(entry, access, rows[entry.space].settings) if entry.space in rows else entry.body_json(),
            "hash": entry.hash.hex(),
        }
        for entry in entries
    ]
    last = entries[-1].seq if entries else query.since
    return Answer({"entries": shown, "position": position, "next_since": last if len(entries) == query.limit else max(last, position)})


class JobsQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    state: models.JobState | None = None
    kind: models.Word | None = None
    after: Annotated[int, Field(ge=0, lt=models.MOST_POSITIONS), DIGITS] = Field(0, description="Only beyond this number")
    limit: Annotated[int, Field(ge=1, le=models.MOST_LISTED), DIGITS] = 100


@router.get("/v1/jobs", response_model=models.Jobs, responses=fails(422), tags=["server"])
def jobs(memory: Memory, query: Annotated[JobsQuery, Query()]) -> Response:
    """Work that waits in the store, and what became of it, in the order in which it was asked for. For the owner only."""
    found = memory.jobs.list(query.state, kind=query.kind, after=query.after, limit=query.limit)
    return Answer({"jobs": [job.as_json() for job in found], "counts": memory.jobs.counts(), "paused": list(memory.jobs.paused())})


@router.get("/v1/spaces", response_model=models.Spaces, responses=fails(), tags=["server"])
def spaces(memory: Memory) -> Response:
    """The spaces that the principal may read, oldest first."""
    return Answer({"spaces": memory.spaces()})


@router.post("/v1/verify-certificate", response_model=models.Verdict, responses=fails(413, 415, 422), tags=["server"])
def verify(memory: Memory, certificate: models.Certificate) -> Response:
    """Check a certificate of forgetting against this store."""
    verdict = verify_certificate(certificate.model_dump(), memory)
    return Answer({"ok": verdict.ok, "reasons": list(verdict.reasons)})


@router.get("/healthz", response_model=models.Status, responses=fails(), tags=["health"])
def healthz() -> Response:
    """The process answers."""
    return Answer({"status": "ok"})


@router.get("/readyz", response_model=models.Status, responses=fails(), tags=["health"])
def readyz(request: Request) -> Response:
    """The store answers."""
    request.app.state.memory.position()
    return Answer({"status": "ok"})


_TEXT = {"content": {"text/plain": {"schema": {"type": "string"}}}}


@router.get("/metrics", response_class=Response, responses={200: _TEXT, **fails()}, tags=["health"])
def metrics(request: Request) -> Response:
    """Counts and latencies in the text format of Prometheus."""
    text, media_type = request.app.state.metrics.exposition()
    return Response(text, media_type=media_type)


@router.get("/", include_in_schema=False)
def home(request: Request) -> Response:
    return HTMLResponse(pages.home(request.app), headers=pages.HEADERS)


@router.get("/docs", include_in_schema=False)
def docs(request: Request) -> Response:
    return HTMLResponse(pages.docs(request.app.openapi()), headers=pages.HEADERS)
