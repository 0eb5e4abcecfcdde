"""Routes of KV memories: what the server's language model has read of a space's texts and of the caller's prompts, and need not read again."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from mnemos.server import models
from mnemos.server.routing import READS, WRITES, Answer, Existing, Id, StrictRoute

router = APIRouter(route_class=StrictRoute, tags=["kv"])


class Entry(BaseModel):
    """One KV memory."""

    id: str
    source: str | None = Field(description="The text that it is of; null: a part of a prompt, or of what is remembered of several memories")
    sources: list[str] = Field(description="The memories whose texts were read; none where nobody knows what a prompt was made of")
    fingerprint: str = Field(description="The model that has read it")
    tokens: int
    bytes: int
    stale: bool = Field(description="A text has changed since")
    fits: bool | None = Field(description="The server's model is the one that has read it; null: it has none")
    state: str = Field(description='"ready", "stale", "other model", or the state of a text that is out of use')
    frozen: bool = Field(description="It never gives way to others")
    start: int | None = Field(description="Of a prompt: the token from which on it is its part")
    policy: str = Field(description='The form in which it is kept, such as "full" or "shadowkv:near=0.125"')
    digest: str = Field(description="Of what that form does: two with one digest are kept alike; empty where it is full")


class Entries(BaseModel):
    """What of it the principal may see, oldest first. Prompts are those of the principal; the owner of the space sees all."""

    kv: list[Entry]
    bytes: int


class Warm(models.Request):
    """Texts that are to be read."""

    ids: Annotated[list[models.Id], Field(min_length=1, max_length=1000)] = Field(description="Memories")
    uses: Annotated[int, Field(ge=0, lt=2**31)] | None = Field(
        None, description="How often each will be needed: what does not pay is declined. Else it is kept in any case"
    )
    policy: Annotated[str, Field(min_length=1, max_length=1000)] | None = Field(
        None, description='The KV policy by which it is kept, with its options: "shadowkv:near=0.125"; else the server\'s'
    )
    later: bool = Field(False, description="Let a job read them, which outlives a restart, and answer at once")


class Warmed(BaseModel):
    """What became of a text that was not kept yet."""

    id: str | None = Field(description="The KV memory; null where it was declined")
    bytes: int
    seconds: float
    reasons: list[str] = Field(description="Why it was declined")


class Warming(BaseModel):
    """What became of the texts, or, of those that are read later, the number of the job."""

    warmed: list[Warmed] | None = None
    kept: int | None = Field(None, description="Texts that were kept already")
    job: int | None = None


_ALL = "/v1/spaces/{space}/kv"


@router.get(_ALL, response_model=Entries, responses=READS)
def list_(space: Existing) -> Response:
    """The KV memories of the space that the principal may see."""
    entries = space.kv.entries()
    return Answer({"kv": [entry.as_json() for entry in entries], "bytes": sum(entry.bytes for entry in entries)})


@router.post(_ALL, response_model=Warming, response_model_exclude_none=True, responses={202: {"model": Warming}, **WRITES})
def warm(request: Request, space: Existing, what: Warm) -> Response:
    """Let the server's language model read texts, and keep its keys and values. 503 where the server has no model.

    Texts are read one by one: those before one that cannot be are kept.
    """
    if what.later:
        return Answer({"job": space.kv.warm_later(what.ids, uses=what.uses, policy=what.policy)}, 202)
    outcomes = space.kv.warm(what.ids, uses=what.uses, policy=what.policy)
    request.app.state.metrics.wrote(sum(outcome.accepted for outcome in outcomes))
    warmed = [
        {"id": outcome.cube.id if outcome.cube else None, "bytes": outcome.spent.bytes_out, "seconds": outcome.spent.seconds,
         "reasons": outcome.reasons}
        for outcome in outcomes
    ]  # fmt: skip
    return Answer({"warmed": warmed, "kept": len(what.ids) - len(warmed)})


@router.get(f"{_ALL}/{{id}}", response_model=Entry, responses=READS)
def inspect(space: Existing, id: Id) -> Response:
    """One KV memory, by its own id or by that of its text."""
    return Answer(space.kv.inspect(id).as_json())


@router.delete(f"{_ALL}/{{id}}", response_model=models.Certificate, responses=WRITES)
def drop(request: Request, space: Existing, id: Id) -> Response:
    """Let go of a KV memory, by its own id, or of all those of a text, which stays; of a part of a prompt with all that follow."""
    certificate = space.kv.drop(id)
    request.app.state.metrics.forgot(len(certificate.cubes))
    return Answer(certificate.as_json())
