"""Commands for procedures: procedures list, learn, guide, report, prune, export, load."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from mnemos.base.errors import Invalid, NotFound
from mnemos.cli.output import clean, counted, print_json, shortened, table
from mnemos.cli.session import Session, command

if TYPE_CHECKING:
    from mnemos.text.trajectories.trajectory import Trajectory

_WIDTH = 70

FileArgument = Annotated[Path, typer.Argument(help="A file of JSON lines.", metavar="FILE")]


@command
def list_(session: Session) -> None:
    """List the procedures of the space, with how often they were used and how those runs ended."""
    with session.open() as mem:
        procedures = session.view(mem).procedures
        found = [(id, one, procedures.counts(id)) for id, one in procedures.entries().items()]
    if session.json:
        print_json({"procedures": [{"id": id, **one.as_json(), "counts": asdict(counts)} for id, one, counts in found]})
        return
    rows = [(id, one.category, counts.f, counts.u, shortened(one.scenario, _WIDTH), shortened(one.content, _WIDTH)) for id, one, counts in found]
    table(session.out, ("id", "from", "used", "succeeded", "when to use", "what to do"), rows, flexible="what to do")


@command
def learn(session: Session, file: FileArgument) -> None:
    """Learn from runs: each line has "messages", as a chat API or an agent framework writes them, "reward" from 0 to 1, and, where there are,
    "task", "task_id" and "tools". Runs of one task belong into one file."""
    runs = _runs(file.expanduser())
    with session.open(create=True) as mem:
        learnt = mem.space(session.space_name).procedures.learn(runs)
    if session.json:
        rejected = [{"scenario": one.scenario, "reason": reason} for one, reason in learnt.rejected]
        print_json({"added": learnt.added, "revised": learnt.revised, "reinforced": learnt.reinforced, "rejected": rejected})
        return
    said = f"Learnt from {counted(len(runs), 'run', 'runs')}: {len(learnt.added)} new, {len(learnt.revised)} revised, "
    session.tell(f"{said}{len(learnt.reinforced)} found again, {len(learnt.rejected)} not kept.")


@command
def guide(
    session: Session,
    task: Annotated[str, typer.Argument(help="What is to be done.", metavar="TASK")],
    tools: Annotated[str | None, typer.Option("--tools", help="The tools at hand, with commas between.", metavar="NAMES")] = None,
) -> None:
    """Begin a run: what is known for a task, as text for its prompt, and the id to report its outcome under."""
    named = [name.strip() for name in (tools or "").split(",") if name.strip()]
    with session.open() as mem:
        given = session.view(mem).procedures.guide(task, tools=named)
    if session.json:
        print_json({"run": given.run_id, "text": given.text, "procedures": [one.id for one in given.injected]})
        return
    session.tell(clean(given.text) if given.text else "Nothing is known for this task.")
    session.tell(f"Report how it ended: mnemos procedures report {given.run_id} REWARD")


@command
def report(
    session: Session,
    run: Annotated[str, typer.Argument(help="The id that `mnemos procedures guide` gave.", metavar="RUN")],
    reward: Annotated[float, typer.Argument(help="From 0 to 1; 1 is success.")],
) -> None:
    """Say how a run ended, once: what it was given is credited."""
    with session.open() as mem:
        session.view(mem).procedures.report(run, reward)
    if session.json:
        print_json({"run": run, "reward": reward})
        return
    session.tell("Counted.")


@command
def prune(
    session: Session,
    forget: Annotated[bool, typer.Option("--forget", help="Remove them for good, instead of archiving them.")] = False,
    absolute: Annotated[
        bool, typer.Option("--absolute", help="By the paper's rule: used five times, and less than half of the runs succeeded.")
    ] = False,
) -> None:
    """Let go of procedures that lower the success of runs."""
    from mnemos.kernel.procedures import Procedures, Settings

    with session.open() as mem:
        gone = Procedures(session.view(mem), Settings(rule="absolute" if absolute else "uplift")).prune(forget=forget)
    if session.json:
        print_json({"pruned": [{"id": one.id, "reason": one.reason} for one in gone]})
        return
    for one in gone:
        session.tell(f"{one.id}  {one.reason}")
    session.tell(f"{counted(len(gone), 'procedure', 'procedures')} {'forgotten' if forget else 'archived'}.")


@command
def export(session: Session, file: FileArgument) -> None:
    """Write the procedures with their runs and counts."""
    with session.open() as mem:
        count = session.view(mem).procedures.export(file.expanduser())
    if session.json:
        print_json({"file": str(file), "procedures": count})
        return
    session.tell(f"{counted(count, 'procedure', 'procedures')} written to {file}.")


@command
def load(session: Session, file: FileArgument) -> None:
    """Take in what `export` wrote, or a pool with when_to_use and content, all or nothing."""
    with session.open(create=True) as mem:
        ids = mem.space(session.space_name).procedures.load(file.expanduser())
    if session.json:
        print_json({"ids": ids})
        return
    session.tell(f"{counted(len(ids), 'procedure', 'procedures')} taken in.")


def _runs(file: Path) -> list[Trajectory]:
    from mnemos.text.trajectories.importing import trajectory

    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise NotFound(f"{file}: cannot be read ({error.strerror})") from None
    out: list[Trajectory] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record: Any = orjson.loads(line)
            if not isinstance(record, dict) or not {"messages", "reward"} <= record.keys():
                raise Invalid('expected an object with "messages" and "reward"')
            out.append(trajectory(record["messages"], record["reward"], task=record.get("task"), task_id=record.get("task_id"),
                                  tools=record.get("tools") or ()))  # fmt: skip
        except (orjson.JSONDecodeError, Invalid) as error:
            raise Invalid(f"{file}, line {number}: {error}; nothing was learnt") from None
    return out


app = typer.Typer(name="procedures", help="What agents learnt to do, from their own runs.", no_args_is_help=True)
_COMMANDS = {"list": list_, "learn": learn, "guide": guide, "report": report, "prune": prune, "export": export, "load": load}
for _name, _function in _COMMANDS.items():
    app.command(_name)(_function)
