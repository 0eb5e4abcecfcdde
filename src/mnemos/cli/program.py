"""Commands for programs: program run, resume, list, show, export."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnemos.base.errors import Invalid, NotFound
from mnemos.cli.output import counted, one_line, print_json, progress, shortened, table
from mnemos.cli.session import Session, command

if TYPE_CHECKING:
    from mnemos.kernel.program import Outcome, Program

_TASK_WIDTH = 60

IdArgument = Annotated[str, typer.Argument(help="The program's id, as `mnemos program list` shows it.", metavar="ID")]
OutOption = Annotated[
    Path | None, typer.Option("--out", "-o", help="Write the files to this new folder, or .zip file, when it is done.", metavar="DIR")
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="A chat model behind an OpenAI-compatible server (OPENAI_BASE_URL, OPENAI_API_KEY). Without one, the task's own requirements are "
        "assembled into a document that can be ticked off.",
        metavar="NAME",
    ),
]
CallsOption = Annotated[int | None, typer.Option("--calls", help="Stop after so many calls; resume goes on.", min=1)]


@command
def run(
    session: Session,
    task: Annotated[Path, typer.Argument(help="A file that says what is to be made: Markdown or plain text.", metavar="SPEC")],
    out: OutOption = None,
    window: Annotated[int, typer.Option("--window", help="Tokens that a request may have, tools included.")] = 8192,
    per_step: Annotated[int, typer.Option("--per-step", help="Requirements of one instruction, at most.", min=1)] = 4,
    model: ModelOption = None,
    checks: Annotated[
        str | None,
        typer.Option("--checks", help="What must hold of the files, with commas between: python, json, yaml, markdown, pytest (these), links."),
    ] = None,
    calls: CallsOption = None,
) -> None:
    """Do a task instruction by instruction, each in a context of its own, with all state in files of the space."""
    text = _read(task.expanduser())
    options: dict[str, Any] = {"window": window, "per_step": per_step}
    if checks is not None:
        options["evaluators"] = [name.strip() for name in checks.split(",") if name.strip()]
    _check_out(out)
    chat = _chat(model, window)
    with session.open(create=True) as mem:
        program = mem.space(session.space_name).program(text, "rules" if chat is None else "model", chat=chat, **options)
        _run(session, program, chat, out, calls)


@command
def resume(session: Session, id: IdArgument, out: OutOption = None, model: ModelOption = None, calls: CallsOption = None) -> None:
    """Go on with a program that was interrupted, or, from the instruction that failed, with one that failed."""
    _check_out(out)
    with session.open() as mem:
        program = session.view(mem).program(id=id)
        state = program.state()
        if state.status == "failed":
            program.retry()
        _run(session, program, _chat(model, state.settings.window), out, calls)


@command
def list_(session: Session) -> None:
    """List the programs of the space, oldest first."""
    with session.open() as mem:
        space = session.view(mem)
        found = [(cube, space.program(id=cube.id).outcome()) for cube in space.programs()]
    if session.json:
        print_json({"programs": [{"id": cube.id, "task": cube.text, **outcome.as_json()} for cube, outcome in found]})
        return
    rows = [
        [cube.id, outcome.ended, f"{outcome.instructions.get('done', 0)}/{sum(outcome.instructions.values())}", str(outcome.files),
         shortened(cube.text, _TASK_WIDTH)]
        for cube, outcome in found
    ]  # fmt: skip
    table(session.out, ("program", "status", "instructions", "files", "task"), rows, flexible="task")


@command
def show(session: Session, id: IdArgument) -> None:
    """Show the instructions of a program, with their states and what they cost."""
    with session.open() as mem:
        state = session.view(mem).program(id=id).state()
    if session.json:
        instructions = [{**one.as_json(), "state": one.state, "summary": one.summary, **one.cost.as_json()} for one in state.registry]
        print_json({"id": id, "status": state.status, "reason": state.reason, "instructions": instructions, "files": sorted(state.files)})
        return
    rows = [
        [str(address), one.state, str(one.cost.calls), f"{one.cost.tokens_in + one.cost.tokens_out:,}", str(one.cost.restarts),
         shortened(one.text or f"go to {one.to}", _TASK_WIDTH)]
        for address, one in enumerate(state.registry)
    ]  # fmt: skip
    table(session.out, ("address", "state", "calls", "tokens", "restarts", "instruction"), rows, flexible="instruction")
    session.tell(f"{state.status}{f': {one_line(state.reason)}' if state.reason else ''}. {counted(len(state.files), 'file', 'files')}.")


@command
def export(
    session: Session, id: IdArgument, out: Annotated[Path, typer.Argument(help="A new folder, or a file that ends in .zip.", metavar="DIR")]
) -> None:
    """Write the files of a program to a new folder or .zip file."""
    with session.open() as mem:
        program = session.view(mem).program(id=id)
        path, count = program.export(out), len(program.files())
    if session.json:
        print_json({"out": str(path), "files": count})
    session.tell(f"Wrote {counted(count, 'file', 'files')} to {path}.")


def _run(session: Session, program: Program, chat: Any, out: Path | None, calls: int | None) -> None:
    from mnemos.text.program.workers import Assembler

    worker = Assembler() if chat is None else chat
    try:
        with progress(session.err, "instructions", "instructions", quiet=session.json) as tick:
            outcome = program.run(worker, calls=calls, progress=tick)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"what was done is kept; go on with: mnemos program resume {program.id}") from None
    if out is not None and outcome.done:
        program.export(out)
    _tell(session, program, outcome, out if outcome.done else None)


def _tell(session: Session, program: Program, outcome: Outcome, out: Path | None) -> None:
    if session.json:
        print_json({"id": program.id, **outcome.as_json(), **({"out": str(out)} if out else {})})
    spent = outcome.cost
    done, total = outcome.instructions.get("done", 0), sum(outcome.instructions.values())
    session.tell(
        f"{done} of {counted(total, 'instruction', 'instructions')} done in {counted(spent.calls, 'call', 'calls')}, "
        f"{spent.tokens_in + spent.tokens_out:,} tokens; {counted(outcome.files, 'file', 'files')}{f' in {out}' if out else ''}."
    )
    if outcome.ended == "failed":
        raise Invalid(f"program {program.id} failed: {outcome.reason}; what it wrote is kept, and `mnemos program resume` tries again")
    if not outcome.done:
        session.tell(f"Go on with: mnemos program resume {program.id}")


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        raise NotFound(f"{path}: there is no such file") from None
    except UnicodeDecodeError:
        raise Invalid(f"{path}: is no text in UTF-8") from None


def _check_out(out: Path | None) -> None:
    """Before any work: what cannot be written in the end is said now."""
    if out is not None and out.expanduser().exists():
        raise Invalid(f"{out}: exists already; choose another name, or remove it first")


def _chat(model: str | None, window: int) -> Any:
    if model is None:
        return None
    from mnemos.models.openai_chat import OpenAIChat
    from mnemos.models.openai_endpoint import OPENAI_BASE_URL

    address = os.environ.get("OPENAI_BASE_URL") or OPENAI_BASE_URL
    return OpenAIChat(model, base_url=address, api_key=os.environ.get("OPENAI_API_KEY"), context_window=window)


app = typer.Typer(help="Tasks that are done instruction by instruction, with all state in files.", no_args_is_help=True)
for _name, _function in (("run", run), ("resume", resume), ("list", list_), ("show", show), ("export", export)):
    app.command(_name)(_function)
