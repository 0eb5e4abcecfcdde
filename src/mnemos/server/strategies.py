"""Routes of the ways in which a space can remember: which there are, and letting that of a space make what it lacks."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from mnemos.server.routing import WRITES, Answer, Existing, StrictRoute, fails
from mnemos.text.registry import STRATEGIES, make

router = APIRouter(route_class=StrictRoute, tags=["spaces"])


class Strategy(BaseModel):
    """One way to remember."""

    name: str
    about: str = Field(description="What it is for")
    consolidates: bool = Field(description="It makes views of memories: a space with it has a recurring job that does")


class Strategies(BaseModel):
    strategies: list[Strategy]


class Consolidated(BaseModel):
    """What a consolidation did."""

    strategy: str
    seen: int = Field(description="Memories that were looked at")
    added: int = Field(description="Views that were written")
    revised: int = Field(description="Views that were renewed")
    retired: int = Field(description="Views that were taken out of use")
    report: dict[str, int] = Field(description="What the strategy counted on the way, such as `degraded: timeout`")


@router.get("/v1/strategies", response_model=Strategies, responses=fails(), tags=["server"])
def strategies() -> Response:
    """The strategies by which a space can remember."""
    made = [make(name) for name in STRATEGIES]
    return Answer({"strategies": [{"name": one.name, "about": one.about, "consolidates": one.consolidates} for one in made]})


@router.post("/v1/spaces/{space}/consolidate", response_model=Consolidated, responses=WRITES)
def consolidate(space: Existing) -> Response:
    """Let the space's strategy make the views that it lacks, and renew those that are out of date. For those who may read all of the space, and
    write to it."""
    return Answer(space.consolidate().as_json())
