"""What comes in and goes out over the wire. Requests take no field that is not named here."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from mnemos.base.clock import from_micros, to_micros
from mnemos.base.cube import MAX_WORD
from mnemos.kernel.writing.drafts import CHANGEABLE

UUID_PATTERN = "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"
SPACE_PATTERN = r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*$"
_HEX = "^([0-9a-f]{2})*$"
MOST_HITS = 10_000
MOST_LISTED = 1_000
MOST_RECORDS = 100_000
MOST_POSITIONS = 2**53
"""Positions of the log lie below it, so that every JSON reader keeps them exact."""


def check_moment(text: str) -> str:
    """`text`, where it is a time that a cube can carry. Raises `ValueError`."""
    try:
        from_micros(to_micros(text) or 0)
    except OverflowError:
        raise ValueError("lies outside the years 1 to 9999 in UTC") from None
    return text


def _integral(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _position_or_moment(value: Any) -> Any:
    value = _integral(value)
    if isinstance(value, str):
        return check_moment(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST_POSITIONS:
        return value
    raise ValueError("expected a time, or a position of the log, which is a whole number of 0 or more")


Moment = Annotated[
    str,
    AfterValidator(check_moment),
    WithJsonSchema({"type": "string", "format": "date-time", "description": "ISO 8601; without an offset it is UTC"}),
]
Id = Annotated[str, Field(pattern=UUID_PATTERN, json_schema_extra={"format": "uuid"})]
Word = Annotated[str, Field(min_length=1, max_length=MAX_WORD)]
Text = Annotated[str, Field(min_length=1, pattern=r"\S")]
SpaceName = Annotated[str, Field(min_length=1, max_length=200, pattern=SPACE_PATTERN, description="The space's name")]
Metadata = dict[str, Any]
Priority = Annotated[float, Field(ge=-1e300, le=1e300, allow_inf_nan=False)]
Origin = Literal["user", "inference", "retrieval", "training"]
WHOLE = BeforeValidator(_integral)
"""Beside `int`: in JSON 3.0 is a whole number too. It stands after the bounds, which the JSON schema would lack otherwise."""
Number = Annotated[int, Field(ge=1, lt=2**31), WHOLE]
Position = Annotated[int, Field(ge=0, lt=MOST_POSITIONS), WHOLE]
_POSITION = {"type": "integer", "minimum": 0, "exclusiveMaximum": MOST_POSITIONS}
PositionOrMoment = Annotated[
    int | str,
    BeforeValidator(_position_or_moment),
    WithJsonSchema({"anyOf": [_POSITION, {"type": "string", "format": "date-time"}]}),
]
EventKind = Literal["space", "add", "update", "state", "freeze", "unfreeze", "link", "stale", "permission", "setting", "forget"]
JobState = Literal["waiting", "running", "done", "dead", "cancelled"]
State = Literal["generated", "activated", "merged", "archived", "expired", "quarantined"]


CONDITION = {
    "description": "A condition on metadata. A key is a dotted path; a plain value asks for equality, or for membership in a list.",
    "type": "object",
    "properties": {
        "any": {"type": "array", "items": {"$ref": "#/components/schemas/Condition"}},
        "all": {"type": "array", "items": {"$ref": "#/components/schemas/Condition"}},
        "not": {"$ref": "#/components/schemas/Condition"},
    },
    "additionalProperties": {
        "anyOf": [
            {"type": ["null", "boolean", "number", "string", "array"]},
            {
                "type": "object",
                "properties": {
                    "in": {"type": "array"},
                    **{bound: {"type": ["number", "string"]} for bound in ("lt", "lte", "gt", "gte")},
                    **{anything: {} for anything in ("eq", "ne", "exists")},
                },
                "additionalProperties": False,
                "minProperties": 1,
            },
        ]
    },
}
"""The JSON schema of what `base.predicate` takes."""
Condition = Annotated[dict[str, Any], WithJsonSchema({"$ref": "#/components/schemas/Condition"})]


def _one_of(*names: str, null: bool = False) -> list[Any]:
    """The JSON schema of "at least one of these is given"; `null` counts where it may be one."""
    return [{"required": [name], **({} if null else {"properties": {name: {"not": {"type": "null"}}}})} for name in names]


class Request(BaseModel):
    """Base of what callers send: strict types, no unknown fields."""

    model_config = ConfigDict(extra="forbid", strict=True)

    def given(self, *without: str) -> dict[str, Any]:
        """The fields that the caller sent, but those `without`."""
        return self.model_dump(exclude_unset=True, exclude=set(without))


class _Said(Request):
    text: Text


class Described(Request):
    """What may be said of a new memory beside its text."""

    type: Word | None = Field(None, description='Such as "turn", "fact", "preference"; "fact" where left out')
    author: Word | None = None
    source: Word | None = Field(None, description="Where it comes from, such as a file or a message id")
    event_at: Moment | None = Field(None, description="When what it tells of happened")
    valid_from: Moment | None = None
    valid_to: Moment | None = None
    expires_at: Moment | None = Field(None, description="After this time searches leave it out")
    tags: list[Word] | None = None
    entities: list[Word] | None = None
    metadata: Metadata | None = None
    place: Word | None = None
    origin: Origin | None = None
    sensitivity: Word | None = None
    priority: Priority | None = None
    id: Id | None = Field(None, description="A UUID of your own; else one is made")
    created_at: Moment | None = None


class NewMemory(Described, _Said):
    """One memory to remember."""

    derived_from: list[Id] | None = Field(None, description="Ids of the memories that it was made from; forgetting them forgets it")


class NewMemories(Request):
    """Several memories, remembered all together or not at all."""

    memories: list[NewMemory] = Field(min_length=1, max_length=MOST_RECORDS)


class Update(Request):
    """What is to change; the rest stays. `null` takes a field's value away."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"anyOf": _one_of(*CHANGEABLE, "derived_from", null=True)})

    text: Text = ""
    type: Word = ""
    author: Word | None = None
    source: Word | None = None
    event_at: Moment | None = None
    valid_from: Moment | None = None
    valid_to: Moment | None = None
    expires_at: Moment | None = None
    tags: list[Word] | None = None
    entities: list[Word] | None = None
    metadata: Metadata | None = None
    place: Word | None = None
    origin: Origin | None = None
    sensitivity: Word | None = None
    priority: Priority | None = None
    derived_from: list[Id] = Field([], description="Ids of the memories that it is made from now, in their present versions")
    if_version: Number | None = Field(None, description="Change it only where it still is at this version")


class Rollback(Request):
    """Which version is to be said again."""

    version: Number


class Conditions(Request):
    """Which memories are looked at. All that is given must hold."""

    types: list[Word] | None = None
    tags: list[Word] | None = Field(None, description="Each of them")
    author: Word | None = None
    source: Word | None = None
    since: Moment | None = Field(None, description="Event time (else the time of writing) not before")
    until: Moment | None = Field(None, description="Event time (else the time of writing) before")
    filter: Condition | None = Field(None, description='On metadata: {"session": 3}, {"price": {"lt": 20}}, {"any": [{…}, {…}]}')


class Recall(Conditions):
    stale: bool | None = Field(None, description="false: nothing whose sources have changed since; true: nothing else")
    valid_at: Moment | None = Field(None, description="Only what held at this time")
    as_of: PositionOrMoment | None = Field(None, description="The space as it was at a time or log position")
    strategy: str | None = Field(None, description="How to search; the space's own where left out")


class Search(Recall):
    """A question, and which memories may answer it."""

    query: Text
    k: Annotated[int, Field(ge=1, le=MOST_HITS), WHOLE] = 10
    explain: bool = Field(False, description="Give every signal, also those that are zero")


class ContextRequest(Recall):
    """A question, and how much of a prompt its answer's sources may take."""

    query: Text
    budget_tokens: Annotated[int, Field(ge=1, le=10_000_000), WHOLE] = 1500


class Forget(Conditions):
    """What to forget: `ids`, or conditions."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"anyOf": _one_of("ids", *Conditions.model_fields)})

    ids: Annotated[list[Id], Field(min_length=1, max_length=MOST_RECORDS)] | None = None
    reason: Annotated[str, Field(max_length=MAX_WORD)] | None = Field(None, description="Stays in the log: it must not repeat what is forgotten")


# ---- answers ---------------------------------------------------------------------------------------------------------


class Derivation(BaseModel):
    id: str
    version: int
    relation: str


class Memory(BaseModel):
    """One version of one memory. Fields that hold nothing are left out; times are in UTC."""

    id: str
    space: str
    version: int
    kind: str
    type: str
    state: State
    frozen: bool
    stale: bool = Field(description="Something that it was made from has changed since")
    text: str
    blob: str | None = None
    author: str | None = None
    source: str | None = None
    origin: str
    created_at: str
    updated_at: str
    event_at: str | None = None
    valid_from: str | None = None
    valid_to: str | None = None
    expires_at: str | None = None
    tags: list[str] | None = None
    entities: list[str] | None = None
    place: str | None = None
    sensitivity: str | None = None
    priority: float | None = None
    fingerprint: str | None = None
    parents: list[int] | None = None
    derived_from: list[Derivation] | None = None
    metadata: dict[str, Any] | None = None
    position: int = Field(description="Where in the log this version was written")
    digest: str


class Memories(BaseModel):
    memories: list[Memory]


class Page(BaseModel):
    memories: list[Memory]
    cursor: str | None = Field(description="Give it back for the next page; null on the last")


class Hit(BaseModel):
    cube: Memory
    score: float
    signals: dict[str, float] = Field(description="What the score is made of")
    exact: bool


class Hits(BaseModel):
    hits: list[Hit]


class Context(BaseModel):
    """Text for a prompt, with numbered sources: `hits[i]` is source i + 1."""

    text: str
    tokens: int
    policy: str
    hits: list[Hit]


class ForgottenCube(Request):
    id: Id
    space: str
    position: Position
    digests: list[Annotated[str, Field(pattern=_HEX)]]
    openings: list[Annotated[str, Field(pattern=_HEX)]] = []
    keys: list[str] = []


class Certificate(Request):
    """Says what was forgotten, when, and in which store. Keep it: `POST /v1/verify-certificate` checks it."""

    store: str
    position: Position
    head: Annotated[str, Field(pattern=_HEX)]
    forgotten_at: str
    reason: str | None = None
    cubes: list[ForgottenCube]
    format: Literal["mnemos-forget-1"]


class Verdict(BaseModel):
    ok: bool
    reasons: list[str]


class LogEntry(BaseModel):
    """One change. The log never holds the text of a memory."""

    seq: int
    at: str
    kind: str
    space: str | None = Field(description="null where it is of the store itself")
    cube: str | None
    version: int | None
    actor: str | None
    digest: str | None
    body: dict[str, Any]
    hash: str


class Log(BaseModel):
    entries: list[LogEntry]
    position: int = Field(description="The newest position of the store's log")
    next_since: int = Field(description="Give it as `since` for what follows")


class Event(BaseModel):
    """What an event stream says of one entry of the log. Fields that hold nothing are left out."""

    position: int
    at: str
    kind: EventKind
    space: str | None = None
    id: str | None = Field(None, description="The memory's id")
    version: int | None = None
    actor: str | None = None
    body: dict[str, Any] | None = None
    cube: Memory | None = Field(None, description="The memory as it was then, where it was asked for and still exists")


class Job(BaseModel):
    """Work that waits, runs, or came to an end. Fields that hold nothing are left out."""

    id: int
    kind: str
    key: str
    payload: Any = None
    state: JobState
    priority: int
    run_at: str
    every: float | None = Field(None, description="Seconds after which it recurs")
    attempts: int
    progress: Any = None
    error: str | None = None
    worker: str | None = None
    leased_until: str | None = None
    created_at: str
    updated_at: str


class Jobs(BaseModel):
    jobs: list[Job]
    counts: dict[str, int] = Field(description="State → how many jobs are in it")
    paused: list[str] = Field(description="The kinds that are paused; * stands for all")


class Spaces(BaseModel):
    spaces: list[str]


class Status(BaseModel):
    status: Literal["ok"]
