"""Routes of the ways in which a space can remember: which there are, letting that of a space make what it lacks, and how much of it is said again."""

from __future__ import annotations

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from mnemos.server.routing import READS, WRITES, Answer, Existing, StrictRoute, fails
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


class Overlap(BaseModel):
    """Memories that stand together."""

    label: str = Field(description="What they have in common, or, of a topic, the id of the memory in its middle")
    ids: list[str] = Field(description="Those first that add least to what the others say")
    different: float = Field(description="How many wholly different memories would say as much")
    redundancy: float = Field(description="0: all differ; 1: all say the same")


class Redundancy(BaseModel):
    """How much of what memories say they say again."""

    memories: int = Field(description="Those that the caller may read, and that have a vector")
    different: float = Field(description="How many wholly different memories would say as much")
    redundancy: float = Field(description="0: all differ; 1: all say the same")
    by: str
    overlaps: list[Overlap] = Field(description="The most redundant first: worth merging, perhaps")
    left_out: int = Field(description="Memories without a vector that could be compared")


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


@router.get("/v1/spaces/{space}/redundancy", response_model=Redundancy, responses=READS)
def redundancy(
    space: Existing,
    by: str = Query("topic", description="topic, type, author or source"),
    limit: int = Query(10, description="How many groups"),
    least: float = Query(0.0, description="Groups from this redundancy on, 0 to 1"),
) -> Response:
    """How much of what the memories say, of those that the caller may read, they say again, and which groups of them are worth merging."""
    return Answer(space.redundancy(by, limit=limit, least=least).as_json())
