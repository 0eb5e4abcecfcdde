"""Commands for work that waits in the store: jobs list, run, pause, resume, retry, cancel, drop."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Annotated

import typer

from mnemos.cli.output import counted, moment, one_line, print_json, shortened, table
from mnemos.cli.session import Session, command

if TYPE_CHECKING:
    from collections.abc import Callable

    from mnemos.kernel.work.jobs import Job, Jobs

NumberArgument = Annotated[int, typer.Argument(help="The job's number, as `mnemos jobs list` shows it.", metavar="NUMBER")]
KindArgument = Annotated[str | None, typer.Argument(help="Only jobs of this kind.", metavar="KIND")]
_ERROR_WIDTH = 60


@command
def list_(
    session: Session,
    state: Annotated[str | None, typer.Option("--state", help="waiting, running, done, dead or cancelled.")] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="Only of this kind.")] = None,
    after: Annotated[int, typer.Option("--after", help="Only beyond this number.")] = 0,
    limit: Annotated[int, typer.Option("--limit", "-k", help="How many.")] = 100,
) -> None:
    """List jobs in the order in which they were asked for."""
    with session.open() as mem:
        jobs = mem.jobs
        found, counts, paused = jobs.list(state, kind=kind, after=after, limit=limit), jobs.counts(), jobs.paused()
    if session.json:
        print_json({"jobs": [job.as_json() for job in found], "counts": counts, "paused": list(paused)})
        return
    columns = ("number", "kind", "key", "state", "when", "attempts", "progress", "error")
    table(session.out, columns, [_row(job) for job in found], flexible="error")
    if paused:
        session.tell(f"Paused: {'all kinds' if paused == ('*',) else ', '.join(paused)}; go on with: mnemos jobs resume")


def _row(job: Job) -> list[str]:
    told = job.progress if isinstance(job.progress, dict) else {}
    progress = "/".join(str(told[name]) for name in ("done", "total") if name in told)
    return [
        str(job.id), job.kind, shortened(job.key, 40), job.state, moment(job.run_at), str(job.attempts), progress,
        shortened(job.error or "", _ERROR_WIDTH),
    ]  # fmt: skip


@command
def run(
    session: Session,
    forever: Annotated[bool, typer.Option("--forever", help="Go on with what comes, until Ctrl-C.")] = False,
    threads: Annotated[int, typer.Option("--threads", help="With --forever: how many at a time.", min=1, max=64)] = 1,
) -> None:
    """Run the jobs that are due, one after the other."""
    ran: list[Job] = []
    with session.open(embeds=True, wait=False) as mem:
        jobs = mem.jobs
        if forever:
            with jobs.work(threads=threads):
                session.tell("Working. Ctrl-C stops it.")
                threading.Event().wait()
        while (job := jobs.run_once()) is not None:
            ran.append(job)
            session.tell(f"{job.state}: {_label(job)}{f' ({one_line(job.error)})' if job.error else ''}")
        counts = jobs.counts()
    if session.json:
        print_json({"ran": [job.as_json() for job in ran], "counts": counts})
        return
    left = ", ".join(f"{count:,} {state}" for state, count in counts.items() if count)
    session.tell(f"Ran {counted(len(ran), 'job', 'jobs')}. In the store: {left or 'none'}.")


@command
def pause(session: Session, kind: KindArgument = None) -> None:
    """Let no process begin another job, until resume."""
    _set_paused(session, kind, lambda jobs: jobs.pause(kind))


@command
def resume(session: Session, kind: KindArgument = None) -> None:
    """Take back a pause."""
    _set_paused(session, kind, lambda jobs: jobs.resume(kind))


def _set_paused(session: Session, kind: str | None, change: Callable[[Jobs], None]) -> None:
    with session.open() as mem:
        change(mem.jobs)
        paused = mem.jobs.paused()
    if session.json:
        print_json({"paused": list(paused)})
    session.tell(f"Paused: {'all kinds' if paused == ('*',) else ', '.join(paused) or 'none'}.")


@command
def retry(session: Session, number: NumberArgument) -> None:
    """Let a job that is dead or cancelled wait again."""
    _changed(session, lambda jobs: jobs.retry(number), "Waits again")


@command
def cancel(session: Session, number: NumberArgument) -> None:
    """Cancel a job that waits, or ask one that runs to stop."""
    _changed(session, lambda jobs: jobs.cancel(number), "Cancelled")


@command
def drop(session: Session, number: NumberArgument) -> None:
    """Remove a job that came to an end."""
    _changed(session, lambda jobs: jobs.drop(number), "Dropped")


def _changed(session: Session, change: Callable[[Jobs], Job], what: str) -> None:
    with session.open() as mem:
        job = change(mem.jobs)
    if session.json:
        print_json(job.as_json())
    session.tell(f"{what}: job {job.id}, {_label(job)}.")


def _label(job: Job) -> str:
    return f"{job.kind} {job.key}".rstrip()


app = typer.Typer(help="Work that waits in the store, and what became of it.", no_args_is_help=True)
for _name, _function in (
    ("list", list_), ("run", run), ("pause", pause), ("resume", resume), ("retry", retry), ("cancel", cancel), ("drop", drop)
):  # fmt: skip
    app.command(_name)(_function)
