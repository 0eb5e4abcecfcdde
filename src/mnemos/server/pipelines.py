"""Routes of pipelines: declared steps as one transaction, run as they are sent, or kept as templates under a name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, Path, Response
from pydantic import BaseModel, Field, WithJsonSchema

from mnemos.base.cube import MemCube, plain_json
from mnemos.kernel.pipelines.pipeline import TEMPLATES, Pipeline
from mnemos.kernel.pipelines.steps import STEPS
from mnemos.kernel.reading.results import Hit
from mnemos.kernel.system import Mnemos
from mnemos.server import models, problems
from mnemos.server.guard import with_slashes
from mnemos.server.routing import WRITES, Answer, Memory, StrictRoute, fails

router = APIRouter(route_class=StrictRoute, tags=["pipelines"])
MOST_STEPS = 1000

Step = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "type": "object",
            "description": "`step` names what is done, `as` what it gives; the rest are its arguments, in which `$name` is what an earlier step gave",
            "properties": {
                "step": {"type": "string", "enum": list(STEPS)}, "as": {"type": ["string", "null"]}, "when": {}, "each": {},
                "optional": {"type": "boolean"},
            },
            "required": ["step"],
        }
    ),
]  # fmt: skip


class Template(models.Request):
    """Steps, in their order, and the space that is meant where a step names none."""

    steps: Annotated[list[Step], Field(min_length=1, max_length=MOST_STEPS)]
    space: models.SpaceName | None = None


class Inputs(models.Request):
    """What the steps are to be given, by name."""

    inputs: dict[str, Any] = Field({}, description="A value for each name that no step gives")


class RunSteps(Template, Inputs):
    """Steps to be done now, and what they are given."""


class Pipelines(BaseModel):
    pipelines: list[str]


class SavedPipeline(BaseModel):
    name: str
    space: str | None
    steps: list[dict[str, Any]]
    inputs: list[str] = Field(description="The names that it wants to be given")


class StepReport(BaseModel):
    """What a step did. Fields that hold nothing are left out."""

    number: int
    step: str
    outcome: Literal["done", "skipped", "failed"] = Field(description="failed: it was optional, and was undone by itself")
    seconds: float
    gave: str = Field(description="In words")
    entries: list[int] | None = Field(None, description="First and last position of the log that it wrote")
    error: str | None = None


class Ran(BaseModel):
    """What a pipeline did."""

    position: int
    steps: list[StepReport]
    gave: dict[str, Any] = Field(description="What steps gave, by the names that they gave it")


def _pipeline_name(
    pipeline: Annotated[str, Path(min_length=1, max_length=200, pattern=models.SPACE_PATTERN, description="The pipeline's name")],
) -> str:
    return with_slashes(pipeline)


PipelineName = Annotated[str, Depends(_pipeline_name)]
_ONE = "/v1/pipelines/{pipeline}"


@router.get("/v1/pipelines", response_model=Pipelines, responses=fails())
def pipelines(memory: Memory) -> Response:
    """The names of the templates that are kept. What one does, it does with the rights of whoever runs it."""
    return Answer({"pipelines": memory.pipelines()})


@router.post("/v1/run-pipeline", response_model=Ran, responses=WRITES)
def run_steps(memory: Memory, what: RunSteps) -> Response:
    """Do steps as one transaction, all or nothing, without keeping them."""
    return Answer(_ran(memory.pipeline(plain_json(what.steps, "steps"), space=what.space), what.inputs))


@router.get(_ONE, response_model=SavedPipeline, responses=fails(404, 422))
def show_pipeline(memory: Memory, name: PipelineName) -> Response:
    """The steps of a template, and what it wants to be given."""
    return Answer(_saved(memory, name))


@router.put(_ONE, response_model=SavedPipeline, responses=WRITES)
def save_pipeline(memory: Memory, name: PipelineName, template: Template) -> Response:
    """Keep steps as a template, in place of what had the name before. The log keeps it for good. For the owner of the store."""
    memory.pipeline(template.steps, space=template.space).save(name)
    return Answer(_saved(memory, name))


@router.delete(_ONE, status_code=204, response_class=Response, responses=fails(404, 422, 507))
def remove_pipeline(memory: Memory, name: PipelineName) -> Response:
    """Take a template away. For the owner of the store."""
    memory.pipeline(name)
    memory.set_setting(TEMPLATES + name, None)
    return Response(status_code=204)


@router.post(f"{_ONE}/run", response_model=Ran, responses=WRITES)
def run_pipeline(memory: Memory, name: PipelineName, given: Annotated[Inputs | None, Body()] = None) -> Response:
    """Do the steps of a template as one transaction, all or nothing, with the rights of whoever asks."""
    return Answer(_ran(memory.pipeline(name), given.inputs if given else {}))


def _saved(memory: Mnemos, name: str) -> dict[str, Any]:
    pipeline = memory.pipeline(name)
    return {"name": name, **memory.setting(TEMPLATES + name), "inputs": list(pipeline.inputs)}


def _ran(pipeline: Pipeline, inputs: Mapping[str, Any]) -> dict[str, Any]:
    run = pipeline.run(**plain_json(inputs, "inputs"))
    told = run.as_json()
    for step in told["steps"]:
        if "error" in step:
            step["error"] = problems.told(step["error"])
    return {**told, "gave": {name: _plain(value) for name, value in run.state.items() if name not in inputs}}


def _plain(value: Any) -> Any:
    """What a step gave, as JSON."""
    if isinstance(value, (MemCube, Hit)):
        return value.as_json()
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
