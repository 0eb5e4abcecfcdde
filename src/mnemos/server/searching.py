"""Routes of a whole space: search, context, forget."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from mnemos.base.errors import Invalid
from mnemos.server import models
from mnemos.server.routing import WRITES, Answer, Existing, StrictRoute, fails

router = APIRouter(route_class=StrictRoute, tags=["spaces"])
_ASKS = fails(404, 413, 415, 422, 429)


@router.post("/v1/spaces/{space}/search", response_model=models.Hits, responses=_ASKS)
def search(request: Request, space: Existing, question: models.Search) -> Response:
    """The memories that best answer a question, best first."""
    request.app.state.metrics.searched()
    return Answer({"hits": [hit.as_json() for hit in space.search(**given(question))]})


@router.post("/v1/spaces/{space}/context", response_model=models.Context, responses=_ASKS)
def context(request: Request, space: Existing, question: models.ContextRequest) -> Response:
    """What is known about a question, as text for a prompt: numbered sources in order of time, never over the budget."""
    request.app.state.metrics.searched()
    return Answer(space.context(**given(question)).as_json())


@router.post("/v1/spaces/{space}/forget", response_model=models.Certificate, responses=WRITES)
def forget(request: Request, space: Existing, what: models.Forget) -> Response:
    """Forget memories and what was derived from them, for good, and certify it. Chosen by ids, or by conditions; not by both."""
    certificate = space.forget(**choice(what))
    request.app.state.metrics.forgot(len(certificate.cubes))
    return Answer(certificate.as_json())


def given(question: models.Recall) -> dict[str, Any]:
    """The keywords of a question that hold something."""
    return {name: value for name, value in question.given().items() if value is not None}


def choice(what: models.Forget) -> dict[str, Any]:
    """The keywords of `Space.forget`. Raises `Invalid` where ids and conditions are mixed: it would not be plain which of them hold."""
    chosen = {name: value for name, value in what.given().items() if value is not None}
    if "ids" in chosen and chosen.keys() - {"ids", "reason"}:
        raise Invalid("forget: give ids or conditions, not both")
    return chosen
