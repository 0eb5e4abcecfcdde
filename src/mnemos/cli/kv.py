"""Commands for KV memories: kv list, inspect, warm, drop."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mnemos.base.errors import NotFound
from mnemos.cli.output import counted, print_json, table
from mnemos.cli.session import Session, command

if TYPE_CHECKING:
    from mnemos.kernel.system import Mnemos

VARIABLE = "MNEMOS_LANGUAGE_MODEL"

ModelOption = Annotated[
    str | None, typer.Option("--model", help=f"Folder of the local language model; {VARIABLE} where it is left out.", metavar="PATH")
]
IdArgument = Annotated[str, typer.Argument(help="The id of a KV memory, or of its text.", metavar="ID")]


def _with_model(mem: Mnemos, model: str | None, needed: bool = False) -> None:
    """Gives the open store its language model, where one is named. Raises `NotFound` where one is needed and none is named."""
    path = model or os.environ.get(VARIABLE)
    if path:
        from mnemos.models.local.model import LocalModel  # torch, only where it is needed

        mem.language_model = LocalModel.load(Path(path).expanduser())
    elif needed:
        raise NotFound(f"no language model is named: give --model PATH, or set {VARIABLE}")


@command
def list_(session: Session, model: ModelOption = None) -> None:
    """List the texts that a language model need not read again, with what they take; with a model, whether it is the one that has read them."""
    with session.open() as mem:
        _with_model(mem, model)
        entries = session.view(mem).kv.entries()
        fits = mem.language_model is not None
    if session.json:
        print_json({"kv": [entry.as_json() for entry in entries], "bytes": sum(entry.bytes for entry in entries)})
        return
    columns = ("id", "text", "tokens", "bytes", "model", "stale", *(("fits",) if fits else ()))
    rows = [(e.id, e.source, e.tokens, f"{e.bytes:,}", e.fingerprint, "yes" if e.stale else "", *(("yes" if e.fits else "",) if fits else ()))
            for e in entries]  # fmt: skip
    table(session.out, columns, rows, flexible="model")
    session.tell(f"{counted(len(entries), 'KV memory', 'KV memories')}, {sum(entry.bytes for entry in entries):,} bytes.")


@command
def inspect(session: Session, id: IdArgument, model: ModelOption = None) -> None:
    """Show one KV memory: its text, its model, what it takes, and whether it can be used."""
    with session.open() as mem:
        _with_model(mem, model)
        entry = session.view(mem).kv.inspect(id)
    if session.json:
        print_json(entry.as_json())
        return
    table(session.out, ("what", "value"), [(name, str(value)) for name, value in entry.as_json().items()])


@command
def warm(
    session: Session,
    ids: Annotated[list[str], typer.Argument(help="The ids of texts.", metavar="IDS")],
    model: ModelOption = None,
    uses: Annotated[int | None, typer.Option("--uses", help="How often each will be needed; what does not pay then is declined.", min=0)] = None,
) -> None:
    """Let a local language model read texts, and keep its keys and values."""
    with session.open() as mem:
        _with_model(mem, model, needed=True)
        outcomes = session.view(mem).kv.warm(ids, uses=uses)
    if session.json:
        print_json({"warmed": [outcome.as_json() for outcome in outcomes], "kept already": len(ids) - len(outcomes)})
        return
    for outcome in outcomes:
        if outcome.accepted and outcome.cube is not None:
            session.tell(f"{outcome.cube.id}: {outcome.spent.bytes_out:,} bytes, {outcome.spent.seconds:.2f} s.")
        else:
            session.tell(f"Declined: {'; '.join(outcome.reasons)}.")
    if kept := len(ids) - len(outcomes):
        session.tell(f"{counted(kept, 'text was', 'texts were')} kept already.")


@command
def drop(session: Session, id: IdArgument) -> None:
    """Let go of a KV memory; its text stays."""
    with session.open() as mem:
        certificate = session.view(mem).kv.drop(id)
    if session.json:
        print_json(certificate.as_json())
        return
    session.tell("Dropped. The text is still there.")


app = typer.Typer(name="kv", help="What a local language model has read, kept so that it need not read it again.", no_args_is_help=True)
for _name, _function in {"list": list_, "inspect": inspect, "warm": warm, "drop": drop}.items():
    app.command(_name)(_function)
