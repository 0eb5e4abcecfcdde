"""Routes of single memories and of lists: remember, read, list, change, go back, freeze, forget."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool

from mnemos.base.cube import MemCube
from mnemos.base.errors import Invalid
from mnemos.kernel.system import Mnemos
from mnemos.server import models, problems
from mnemos.server.guard import NDJSON
from mnemos.server.importing import Import, importing
from mnemos.server.routing import (
    DIGITS,
    POSITION_IN_DIGITS,
    READS,
    WRITES,
    Answer,
    Existing,
    Id,
    Memory,
    Name,
    StrictRoute,
    Truth,
    parse_json,
    require_json,
)

router = APIRouter(route_class=StrictRoute, tags=["memories"])
_BODY: TypeAdapter[models.NewMemory | list[models.NewMemory] | models.NewMemories] = TypeAdapter(
    models.NewMemory | Annotated[list[models.NewMemory], Field(min_length=1, max_length=models.MOST_RECORDS)] | models.NewMemories
)


class _Query(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ListQuery(_Query):
    types: list[models.Word] | None = None
    tags: list[models.Word] | None = None
    author: models.Word | None = None
    source: models.Word | None = None
    since: models.Moment | None = None
    until: models.Moment | None = None
    valid_at: models.Moment | None = None
    as_of: Annotated[models.PositionOrMoment, POSITION_IN_DIGITS] | None = Field(None, description="The space as it was at a time or log position")
    filter: str | None = Field(None, description='A condition on metadata, as JSON: {"session": 3}')
    states: list[models.State] | None = None
    stale: Truth | None = Field(None, description="false: nothing whose sources have changed since; true: nothing else")
    parts: Truth = Field(False, description="Also the parts that long documents are searched by")
    limit: Annotated[int, Field(ge=1, le=models.MOST_LISTED), DIGITS] = 100
    cursor: Annotated[str, Field(pattern="^[0-9]{1,18}$")] | None = Field(None, description="That of the page before")


class VersionQuery(_Query):
    version: Annotated[int, Field(ge=1, lt=2**31), DIGITS] | None = Field(None, description="The present one where left out")


class ReasonQuery(_Query):
    reason: str | None = Field(None, description="Stays in the log: it must not repeat what is forgotten")


class ImportQuery(_Query):
    ids: Truth = Field(False, description="For an import: give the ids of what was written. Read the answer while you send")


def _schema(adapter: Any) -> Any:
    schema = adapter.json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    return schema


_LINE = '{"text": "A fact."}\n'
_REMEMBER = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": _schema(_BODY)},
            NDJSON: {"schema": {"type": "string", "description": "One memory to a line, as many as you like", "examples": [_LINE]}},
        },
    }
}
_REMEMBERED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "An import: lines of JSON that say how far it is. All lines before a bad one are written and stay; the last line "
        "says whether all are (`done`), how many (`written`), and else which line is bad (`line`) and why (`problem`).",
        "content": {NDJSON: {"schema": {"type": "string"}}},
    },
    201: {"description": "Remembered, durably"},
    **WRITES,
}


@router.post(
    "/v1/spaces/{space}/memories",
    status_code=201,
    response_model=models.Memory | models.Memories,
    openapi_extra=_REMEMBER,
    responses=_REMEMBERED,
)
async def remember(request: Request, memory: Memory, name: Name, query: Annotated[ImportQuery, Query()]) -> Response:
    """Remember one memory (an object), several all together (a list, or `{"memories": […]}`), or many line by line.

    Lines are sent as `application/x-ndjson`. The space is created at first use.
    """
    metrics = request.app.state.metrics
    if request.headers.get("content-type", "").startswith(NDJSON):
        job = Import(lambda: memory.space(name), problems.instance_of(request.scope), request.app.state.max_body_bytes, query.ids)
        return await importing(job, request.stream(), metrics.wrote)
    require_json(request)
    body = await request.body()
    cubes, single = await run_in_threadpool(_remember, memory, name, body)
    metrics.wrote(len(cubes))
    if not single:
        return Answer({"memories": [cube.as_json() for cube in cubes]}, 201)
    return Answer(cubes[0].as_json(), 201, headers={"Location": f"/v1/spaces/{quote(name, safe='')}/memories/{cubes[0].id}"})


def _remember(memory: Mnemos, name: str, body: bytes) -> tuple[list[MemCube], bool]:
    value = parse_json(body)
    # The member of the union is chosen by what the body looks like, so that errors speak of that one only.
    shape: Any = models.NewMemory
    if isinstance(value, list):
        shape = Annotated[list[models.NewMemory], Field(min_length=1, max_length=models.MOST_RECORDS)]
    elif isinstance(value, dict) and "memories" in value:
        shape = models.NewMemories
    try:
        found = TypeAdapter(shape).validate_python(value)
    except ValidationError as error:
        raise Invalid("; ".join(f"{fault['where']}: {fault['problem']}" for fault in problems.faults(error.errors())[:5])) from None
    if isinstance(found, models.NewMemory):
        return [memory.space(name).add(found.text, **found.given("text"))], True
    records = found.memories if isinstance(found, models.NewMemories) else found
    return memory.space(name).add_many([record.given() for record in records]), False


@router.get("/v1/spaces/{space}/memories", response_model=models.Page, responses=READS)
def list_memories(space: Existing, query: Annotated[ListQuery, Query()]) -> Response:
    """Memories in the order in which their present versions were written, page by page."""
    conditions = query.model_dump(exclude_unset=True)
    if query.filter is not None:
        conditions["filter"] = parse_json(query.filter.encode("utf-8", "replace"))
    when = conditions.pop("as_of", None)
    page = (space if when is None else space.at(when)).list(**conditions)
    return Answer({"memories": [cube.as_json() for cube in page], "cursor": page.cursor})


@router.get("/v1/spaces/{space}/memories/{id}", response_model=models.Memory, responses=READS)
def get(space: Existing, id: Id, query: Annotated[VersionQuery, Query()]) -> Response:
    """A memory as it is now, or one of its versions."""
    return Answer(space.get(id, query.version).as_json())


@router.patch("/v1/spaces/{space}/memories/{id}", response_model=models.Memory, responses=WRITES)
def update(request: Request, space: Existing, id: Id, change: models.Update) -> Response:
    """Write the memory's next version. The version before stays in its history."""
    fields = change.given()
    if not fields.keys() - {"if_version"}:
        raise Invalid("update: says nothing to change")
    cube = space.update(id, **fields)
    request.app.state.metrics.wrote(1)
    return Answer(cube.as_json())


@router.delete("/v1/spaces/{space}/memories/{id}", response_model=models.Certificate, responses=WRITES)
def forget(request: Request, space: Existing, id: Id, query: Annotated[ReasonQuery, Query()]) -> Response:
    """Forget the memory and what was derived from it, for good, and certify it."""
    certificate = space.forget([id], reason=query.reason)
    request.app.state.metrics.forgot(len(certificate.cubes))
    return Answer(certificate.as_json())


@router.get("/v1/spaces/{space}/memories/{id}/history", response_model=models.Memories, responses=READS)
def history(space: Existing, id: Id) -> Response:
    """Every version of the memory, oldest first, and before them those of the memories that it superseded."""
    return Answer({"memories": [cube.as_json() for cube in space.history(id)]})


@router.post("/v1/spaces/{space}/memories/{id}/rollback", response_model=models.Memory, responses=WRITES)
def rollback(request: Request, space: Existing, id: Id, to: models.Rollback) -> Response:
    """Make a new version that says what an earlier one said."""
    cube = space.rollback(id, to.version)
    request.app.state.metrics.wrote(1)
    return Answer(cube.as_json())


@router.post("/v1/spaces/{space}/memories/{id}/freeze", response_model=models.Memory, responses=WRITES)
def freeze(space: Existing, id: Id) -> Response:
    """Forbid every change of the memory, forgetting included, until it is unfrozen."""
    return Answer(space.freeze(id).as_json())


@router.post("/v1/spaces/{space}/memories/{id}/unfreeze", response_model=models.Memory, responses=WRITES)
def unfreeze(space: Existing, id: Id) -> Response:
    """Allow changes again."""
    return Answer(space.unfreeze(id).as_json())


