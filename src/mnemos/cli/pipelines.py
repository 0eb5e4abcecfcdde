"""Commands for pipelines, steps done as one transaction: pipelines list, show, save, run, remove."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from mnemos.base.errors import Invalid
from mnemos.cli.fields import given_text
from mnemos.cli.filters import json_object
from mnemos.cli.output import clean, print_json, shortened, table
from mnemos.cli.session import Session, command

if TYPE_CHECKING:
    from mnemos.kernel.pipelines.pipeline import Run

NameArgument = Annotated[str, typer.Argument(help="The pipeline's name.", metavar="NAME")]
FileOption = Annotated[str, typer.Option("--file", "-f", help="The steps: a JSON list; - is standard input.", metavar="FILE")]
_TEXT_WIDTH = 100


@command
def list_(session: Session) -> None:
    """List the pipelines that are kept, and what they want to be given."""
    with session.open() as mem:
        found = [{"name": name, "inputs": list(mem.pipeline(name).inputs)} for name in mem.pipelines()]
    if session.json:
        print_json({"pipelines": found})
        return
    table(session.out, ("name", "wants"), [(one["name"], ", ".join(one["inputs"])) for one in found], flexible="wants")


@command
def show(session: Session, name: NameArgument) -> None:
    """Print the steps of a pipeline, as JSON."""
    from mnemos.kernel.pipelines.pipeline import TEMPLATES

    with session.open() as mem:
        inputs, kept = mem.pipeline(name).inputs, mem.setting(TEMPLATES + name)
    print_json({"name": name, **kept, "inputs": list(inputs)} if session.json else kept["steps"])


@command
def save(session: Session, name: NameArgument, file: FileOption) -> None:
    """Keep steps as a pipeline, in place of what had the name before. --space is meant where a step names none."""
    with session.open(create=True) as mem:
        pipeline = mem.pipeline(_steps(file), space=session.chosen_space)
        pipeline.save(name)
    if session.json:
        print_json({"name": name, "inputs": list(pipeline.inputs)})
    session.tell(f"Kept the pipeline {name!r}. It wants: {', '.join(pipeline.inputs) or 'nothing'}.")


@command
def run(
    session: Session,
    name: Annotated[str | None, typer.Argument(help="One that is kept; or give its steps with --file.", metavar="NAME")] = None,
    file: Annotated[str | None, typer.Option("--file", "-f", help="The steps: a JSON list; - is standard input.", metavar="FILE")] = None,
    given: Annotated[
        list[str] | None, typer.Option("--input", "-i", help="What it wants, as NAME=TEXT; repeat for more.", metavar="NAME=TEXT")
    ] = None,
    inputs: Annotated[str | None, typer.Option("--inputs", help="The same as a JSON object, for values that are no texts.", metavar="JSON")] = None,
) -> None:
    """Do the steps of a pipeline as one transaction: all of them, or nothing."""
    if (name is None) is (file is None):
        raise Invalid("pipelines run: give the name of a pipeline, or its steps with --file FILE (one of them)")
    wanted = {**({} if inputs is None else json_object(inputs, "--inputs")), **dict(_pair(text) for text in given or ())}
    steps = None if file is None else _steps(file)
    with session.open(create=steps is not None, embeds=True) as mem:
        pipeline = mem.pipeline(name) if name is not None else mem.pipeline(steps or [], space=session.space_name)
        done = pipeline.run(**wanted)
    if session.json:
        print_json({**done.as_json(), "gave": {key: _plain(value) for key, value in done.state.items() if key not in wanted}})
    else:
        _tell(session, done)


@command
def remove(session: Session, name: NameArgument) -> None:
    """Take a pipeline away. The log keeps what it was."""
    from mnemos.kernel.pipelines.pipeline import TEMPLATES

    with session.open() as mem:
        mem.pipeline(name)  # raises where there is none
        mem.set_setting(TEMPLATES + name, None)
    if session.json:
        print_json({"removed": name})
    session.tell(f"Removed the pipeline {name!r}.")


def _steps(file: str) -> Any:
    """The JSON of a file, or of standard input. Raises `Invalid`."""
    if file == "-":
        data = given_text("-")
    else:
        try:
            data = Path(file).expanduser().read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise Invalid(f"{file}: cannot be read as steps ({error})") from None
    try:
        return orjson.loads(data)
    except ValueError as error:
        raise Invalid(f'{file}: is not JSON ({error}); write a list of steps such as [{{"step": "add", "text": "…"}}]') from None


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise Invalid(f"--input: expected NAME=TEXT, not {text[:60]!r}")
    return name, value


def _plain(value: Any) -> Any:
    """What a step gave, as JSON."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.as_json() if hasattr(value, "as_json") else value


def _tell(session: Session, done: Run) -> None:
    """What each step did; where nobody watches, tab-separated."""
    columns = ("step", "kind", "outcome", "gave", "log")
    rows = [
        (step.number, step.step, step.outcome, shortened(step.error or step.gave, _TEXT_WIDTH), "–".join(map(str, step.entries or ())))
        for step in done.steps
    ]
    table(session.out, columns, rows, flexible="gave")
    if session.out.is_terminal:
        session.tell(clean(f"Done, as one transaction; the log ends at position {done.position:,}."))


app = typer.Typer(help="Declared steps, done as one transaction.", no_args_is_help=True)
for _name, _function in (("list", list_), ("show", show), ("save", save), ("run", run), ("remove", remove)):
    app.command(_name)(_function)
