"""Routes of the rules: those of a space, those of a single memory, roles, and forgetting again what an older backup brought back."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel, Field

from mnemos.base.errors import NotFound
from mnemos.kernel.rights.space_settings import described
from mnemos.kernel.system import Mnemos
from mnemos.server import models
from mnemos.server.guard import with_slashes
from mnemos.server.lives import Lifecycle
from mnemos.server.routing import READS, WRITES, Answer, Existing, Id, Memory, StrictRoute, fails

router = APIRouter(route_class=StrictRoute, tags=["rules"])

Principals = list[models.Word]
Limit = Annotated[int, Field(ge=0, lt=models.MOST_POSITIONS), models.WHOLE]
Label = Literal["public", "internal", "personal", "secret"]


class Rules(models.Request):
    """Who may: principals, roles (`role:editors`), or everybody (`*`)."""

    read: Principals | None = None
    write: Principals | None = None
    share: Principals | None = Field(None, description="See and change the rules")
    derive: Principals | None = Field(None, description="Make something of it; goes with `read` where it is not named")
    forget: Principals | None = None


class Licence(models.Request):
    """How much somebody may read, and until when."""

    reads: Limit | None = None
    until: models.Moment | None = None


class Quota(models.Request):
    """How much the space may hold."""

    cubes: Limit | None = None
    bytes: Limit | None = Field(None, description="Of text, all versions together")


class Rate(models.Request):
    """How often each caller may use the space."""

    reads_per_minute: Limit | None = None
    writes_per_minute: Limit | None = None


class Settings(models.Request):
    """What is to change of a space's settings: each that is given takes the place of the one before. `null` takes it away."""

    acl: Rules | None = Field(None, description="Who but the owner may")
    deny: Rules | None = Field(None, description="Who may not after all")
    read_only: bool | None = Field(None, description="Nobody may change anything, the rules apart")
    clearance: dict[str, Label] | None = Field(None, description="Principal, role or * → the highest label that it reads; else public")
    licences: dict[str, Licence] | None = Field(None, description="Principal, role or * → what it may read")
    quota: Quota | None = None
    rate: Rate | None = None
    lifecycle: Lifecycle | None = Field(None, description="How `tend` treats its memories")
    detect: bool | None = Field(None, description="Label what is written by what is sensitive in it")
    strategy: str = Field("auto", description="How it remembers")

    def keywords(self) -> dict[str, Any]:
        """As keywords of `Mnemos.space`, to which an empty rule is one that is taken away."""
        filled = self.model_dump(exclude_unset=True, exclude_none=True)
        none = {"read_only": False, "detect": False, "clearance": {"*": "secret"}}
        return {name: filled.get(name, none.get(name, {})) for name in self.given()}


class SpaceSettings(BaseModel):
    """The settings of a space, those that were never set with their defaults, and what it holds."""

    name: str
    owner: str | None = Field(description="The principal that made it; null for the owner of the store")
    acl: dict[str, list[str]]
    deny: dict[str, list[str]]
    read_only: bool
    clearance: dict[str, str] | None = Field(description="null: everybody who may read reads every label")
    licences: dict[str, Licence]
    quota: dict[str, int]
    rate: dict[str, int]
    lifecycle: Lifecycle
    detect: bool
    strategy: str
    holds: dict[str, int] = Field(description="`cubes`, and `bytes` of text")


class Role(BaseModel):
    role: str
    members: list[str]


class Roles(BaseModel):
    roles: list[Role]


class Members(models.Request):
    """Who has the role: all of them."""

    members: Annotated[Principals, Field(max_length=100_000)]


class Certificates(models.Request):
    """What was forgotten before."""

    certificates: Annotated[list[models.Certificate], Field(min_length=1, max_length=1000)]


class ForgottenAgain(BaseModel):
    certificate: models.Certificate | None = Field(description="null where nothing of it was there")


# ---- spaces ----------------------------------------------------------------------------------------------------------


@router.get("/v1/spaces/{space}", response_model=SpaceSettings, responses=fails(404, 422))
def show(space: Existing) -> Response:
    """The settings of a space. For those who may share it."""
    return Answer(described(space))


@router.patch("/v1/spaces/{space}", response_model=SpaceSettings, responses=WRITES)
def change(memory: Memory, space: Existing, settings: Settings) -> Response:
    """Change settings of a space. For those who may share it."""
    described(space)  # whoever may not see them may not change them
    return Answer(described(memory.space(space.name, **settings.keywords())))


@router.get("/v1/spaces/{space}/memories/{id}/acl", response_model=Rules, responses=READS)
def show_rules(space: Existing, id: Id) -> Response:
    """The rules of the memory's own; empty where those of its space alone hold. For those who may share it."""
    return Answer(space.acl(id))


@router.put("/v1/spaces/{space}/memories/{id}/acl", response_model=models.Memory, responses=WRITES)
def set_rules(space: Existing, id: Id, rules: Rules) -> Response:
    """Give the memory rules of its own, which only narrow those of its space: whom `read` leaves out does not see that it exists.

    What the rules do not name stays as the space has it; rules that name nothing take the memory's own away.
    """
    return Answer(space.set_acl(id, rules.model_dump(exclude_none=True)).as_json())


# ---- roles -----------------------------------------------------------------------------------------------------------


def _role(role: Annotated[str, Path(min_length=1, max_length=200, pattern=models.SPACE_PATTERN, description="The role's name")]) -> str:
    return with_slashes(role)


RoleName = Annotated[str, Depends(_role)]


def _members(memory: Mnemos, role: str) -> list[str]:
    members = memory.roles().get(role)
    if members is None:
        raise NotFound(f"there is no role {role!r}; GET /v1/roles names those that there are")
    return members


@router.get("/v1/roles", response_model=Roles, responses=fails())
def roles(memory: Memory) -> Response:
    """All roles and their members. For the owner of the store."""
    return Answer({"roles": [{"role": role, "members": members} for role, members in memory.roles().items()]})


@router.get("/v1/roles/{role}", response_model=Role, responses=fails(404, 422))
def show_role(memory: Memory, role: RoleName) -> Response:
    """The members of a role. For the owner of the store."""
    return Answer({"role": role, "members": _members(memory, role)})


@router.put("/v1/roles/{role}", response_model=Role, responses=fails(413, 415, 422, 507))
def set_role(memory: Memory, role: RoleName, who: Members) -> Response:
    """Give a role its members, all of them. Rules name it `role:NAME`. For the owner of the store."""
    memory.set_role(role, who.members)
    return Answer({"role": role, "members": _members(memory, role)})


@router.delete("/v1/roles/{role}", status_code=204, response_class=Response, responses=fails(404, 422, 507))
def remove_role(memory: Memory, role: RoleName) -> Response:
    """Remove a role: whoever had it has it no more. For the owner of the store."""
    _members(memory, role)
    memory.set_role(role, None)
    return Response(status_code=204)


# ---- older backups ---------------------------------------------------------------------------------------------------


@router.post("/v1/forget-again", response_model=ForgottenAgain, responses=fails(413, 415, 422, 507), tags=["server"])
def forget_again(request: Request, memory: Memory, what: Certificates) -> Response:
    """Forget again what certificates say was forgotten, where an older backup brought it back. For the owner of the store."""
    certificate = memory.forget_again([one.model_dump() for one in what.certificates])
    request.app.state.metrics.forgot(len(certificate.cubes) if certificate else 0)
    return Answer({"certificate": certificate.as_json() if certificate else None})
