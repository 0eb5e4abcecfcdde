"""Routes of KV memories: what the server's language model has read of a space's texts and of the caller's prompts, and need not read again; and the
route that asks it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool

from mnemos.base.protocols import Ended
from mnemos.kernel.kv.asking import FORM, Asking, Told
from mnemos.server import models, problems, sent_events
from mnemos.server.routing import READS, WRITES, Answer, Existing, Id, StrictRoute, fails

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


class Ask(models.Recall):
    """A question, how the language model is asked, and which memories may stand before it."""

    question: models.Text
    order: Literal["context", "reuse"] = Field("context", description="context: as the context gives its sources; reuse: what was read already first")
    mode: Literal["exact", "rerotated", "blended"] = Field(
        "exact", description="exact; or, in the order reuse, rerotated or blended: all texts that were read, put together, which is approximate"
    )
    budget_tokens: Annotated[int, Field(ge=1, le=10_000_000), models.WHOLE] = Field(1500, description="Tokens that the sources may take")
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000), models.WHOLE] = Field(200, description="Tokens of the answer, at most")
    form: models.Text = Field(FORM, description="What stands after the sources, with the question in place of {question}")
    stream: bool = Field(False, description="Answer as server-sent events, piece by piece")


class Reused(BaseModel):
    """What the model was given, and what of that it need not read."""

    sources: list[str] = Field(description="The memories that stand in the context, in its order")
    tokens: int = Field(description="Of the whole prompt")
    taken: int = Field(description="Tokens that were taken from what was kept; where they are blended, some of them are read again")
    read: int = Field(description="Tokens that were read now, the question's among them")
    warm: list[str] = Field(description="Those of the sources that were taken from KV memories of their own")
    seconds: float = Field(description="From having the context to knowing the first token")
    saved: float | None = Field(description="Seconds that taking saved, by what was measured; null where nothing was measured yet")


class Answered(Reused):
    """What the model says, and what it was given."""

    text: str
    ended: Ended = Field(description='Why it ends there: "end", the model said so; "length", by `max_tokens`, or where the model has no more room')


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


_HOW = frozenset(("order", "mode", "budget_tokens", "form"))
_ASK: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "What the model says. With `stream`, server-sent events, each with one JSON object: `given` says first what the model was "
        "given (#/components/schemas/Reused), `piece` what is new of the `text`, `end` why it has `ended`. `problem` carries a problem document, "
        "and ends the stream.",
        "content": sent_events.CONTENT,
    },
    **fails(404, 413, 415, 422, 429, 507),
}


@router.post(f"{_ALL}/ask", response_model=Answered, responses=_ASK)
async def ask(request: Request, space: Existing, what: Ask) -> Response:
    """Ask the server's language model about what the space knows; what it has read of that before is not read again. 503 where it has none.

    The context holds what the principal may read, and nothing else. When the client leaves, the answer ends at its next token.
    """
    request.app.state.metrics.searched()
    where = {name: value for name, value in what.given("question", "max_tokens", "stream", *_HOW).items() if value is not None}
    how = Asking(**what.model_dump(include=set(_HOW)))
    told = await run_in_threadpool(lambda: space.kv.ask(what.question, how, where=where, max_tokens=what.max_tokens))
    if what.stream:
        return sent_events.streamed(_pieces(told, problems.instance_of(request.scope)))
    texts, ended = [], None
    async for piece in iterate_in_threadpool(told):
        texts.append(piece.text)
        ended = piece.ended
        if await request.is_disconnected():
            told.cancel()
    return Answer({"text": "".join(texts), "ended": ended, **told.reused.as_json()})


async def _pieces(told: Told, instance: str) -> AsyncIterator[bytes]:
    """The events of a streamed answer. The next token is chosen when the one before was sent: for a client that has left none is."""
    yield sent_events.event("given", told.reused.as_json())
    try:
        async for piece in iterate_in_threadpool(told):
            if piece.text:
                yield sent_events.event("piece", {"text": piece.text})
            if piece.ended:
                yield sent_events.event("end", {"ended": piece.ended})
    except Exception as error:  # noqa: BLE001  (its status is sent already: what failed is told in the stream)
        yield sent_events.problem(error, instance)


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
