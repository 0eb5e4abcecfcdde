"""Commands for KV memories: kv list, inspect, warm, drop."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mnemos.base.errors import NotFound
from mnemos.cli.output import counted, print_json, shortened, size, table
from mnemos.cli.session import Session, command
from mnemos.kernel.vector_memory import bytes_of

if TYPE_CHECKING:
    from mnemos.kernel.kv import Entry
    from mnemos.kernel.space import Space
    from mnemos.kernel.system import Mnemos

VARIABLE, ROOM, FORM = "MNEMOS_LANGUAGE_MODEL", "MNEMOS_KV_MEMORY", "MNEMOS_KV_POLICY"
_SAYS = 200
"""Characters of a text that are shown."""

ModelOption = Annotated[str | None, typer.Option("--model", help=f"Folder of the local language model. Else {VARIABLE}.", metavar="PATH")]
RoomOption = Annotated[
    str | None,
    typer.Option("--room", help=f"What all KV memories of the store may take, such as 8G; those worth least give way. Else {ROOM}, else 2 GiB.",
                 metavar="SIZE"),
]  # fmt: skip
PolicyOption = Annotated[
    str | None,
    typer.Option("--policy", help=f"The KV policy by which texts are kept, such as shadowkv:near=0.125. Else {FORM}, else full.", metavar="POLICY"),
]  # fmt: skip
IdArgument = Annotated[str, typer.Argument(help="The id of a KV memory, or of its text.", metavar="ID")]


def _with_model(mem: Mnemos, model: str | None, needed: bool = False) -> None:
    """Gives the open store its language model, where one is named. Raises `NotFound` where one is needed and none is named."""
    path = model or os.environ.get(VARIABLE)
    if path:
        from mnemos.models.local.model import LocalModel  # torch, only where it is needed

        mem.language_model = LocalModel.load(Path(path).expanduser())
    elif needed:
        raise NotFound(f"no language model is named: give --model PATH, or set {VARIABLE}")


def _of(space: Space, entry: Entry) -> str:
    """What a KV memory is of, for reading: how its text begins, or which part of a prompt it is."""
    if entry.source is None and entry.start is None:
        return f"what is remembered of {counted(len(entry.sources), 'memory', 'memories')}"
    if entry.source is None:
        start = entry.start or 0
        texts = f", with {counted(len(entry.sources), 'text', 'texts')} of memories" if entry.sources else ""
        return f"a prompt's tokens {start} to {start + entry.tokens}{texts}"
    return shortened(space.get(entry.source).text, _SAYS)


def _state(entry: Entry) -> str:
    return f"{entry.state}, frozen" if entry.frozen else entry.state


@command
def list_(session: Session, model: ModelOption = None) -> None:
    """List what a language model need not read again: texts, and the beginnings of prompts. `state` says whether it can be used."""
    with session.open() as mem:
        _with_model(mem, model)
        space = session.view(mem)
        entries = space.kv.entries()
        then = space.at(mem.position())  # to look at a text so is no use of it
        shown = [] if session.json else [_of(then, entry) for entry in entries]
    total = sum(entry.bytes for entry in entries)
    if session.json:
        print_json({"kv": [entry.as_json() for entry in entries], "bytes": total})
        return
    if entries and session.out.is_terminal:
        rows = [(e.id, f"{e.tokens:,}", size(e.bytes), e.policy, _state(e), of) for e, of in zip(entries, shown, strict=True)]
        table(session.out, ("id", "tokens", "size", "policy", "state", "of"), rows, flexible="of")
    elif not session.out.is_terminal:
        columns = ("id", "text", "tokens", "bytes", "state", "model", "of", "policy")
        table(session.out, columns, [(e.id, e.source or "", e.tokens, e.bytes, _state(e), e.fingerprint, of, e.policy)
                                     for e, of in zip(entries, shown, strict=True)])  # fmt: skip
    session.tell(f"{counted(len(entries), 'KV memory', 'KV memories')}, {size(total)}.")
    if not entries:
        session.tell("Make some: mnemos kv warm IDS --model PATH")


@command
def inspect(session: Session, id: IdArgument, model: ModelOption = None) -> None:
    """Show one KV memory: what it is of, its model, what it takes, and whether it can be used."""
    with session.open() as mem:
        _with_model(mem, model)
        space = session.view(mem)
        entry = space.kv.inspect(id)
        of = _of(space.at(mem.position()), entry)
    if session.json:
        print_json(entry.as_json())
        return
    rows = [("id", entry.id), ("of", of), *(("memory", source) for source in entry.sources), ("tokens", f"{entry.tokens:,}"),
            ("size", f"{size(entry.bytes)} ({entry.bytes:,} bytes)"), ("policy", entry.policy), ("state", _state(entry)),
            ("model", entry.fingerprint)]  # fmt: skip
    table(session.out, ("what", "value"), rows, flexible="value")


@command
def warm(
    session: Session,
    ids: Annotated[list[str], typer.Argument(help="The ids of texts.", metavar="IDS")],
    model: ModelOption = None,
    uses: Annotated[int | None, typer.Option("--uses", help="How often each will be needed; what does not pay then is declined.", min=0)] = None,
    room: RoomOption = None,
    policy: PolicyOption = None,
) -> None:
    """Let a local language model read texts, and keep its keys and values: `Space.kv.take` need not read them again."""
    with session.open() as mem:
        if said := room or os.environ.get(ROOM):
            mem.kv_memory = bytes_of(said, "room")
        _with_model(mem, model, needed=True)
        kv = session.view(mem).kv
        before = {entry.id for entry in kv.entries()}
        outcomes = kv.warm(ids, uses=uses, policy=policy or os.environ.get(FORM))
        gone = len(before - {entry.id for entry in kv.entries()})
    if session.json:
        print_json({"warmed": [outcome.as_json() for outcome in outcomes], "kept already": len(ids) - len(outcomes), "gave way": gone})
        return
    for outcome in outcomes:
        if outcome.accepted and outcome.cube is not None:
            session.tell(f"{outcome.cube.id}: {size(outcome.spent.bytes_out)}, {outcome.spent.seconds:.2f} s.")
        else:
            session.tell(f"Declined: {'; '.join(outcome.reasons)}.")
    if kept := len(ids) - len(outcomes):
        session.tell(f"{counted(kept, 'text was', 'texts were')} kept already.")
    if gone:
        session.tell(f"{counted(gone, 'KV memory', 'KV memories')} gave way: out of date, or for room ({size(mem.kv_memory)}).")


@command
def drop(session: Session, id: IdArgument) -> None:
    """Let go of a KV memory, or of all those of a text; the text stays. A prompt's part goes with all that follow it."""
    with session.open() as mem:
        kv = session.view(mem).kv
        of_text = kv.inspect(id).source is not None
        certificate = kv.drop(id)
    if session.json:
        print_json(certificate.as_json())
        return
    more = len(certificate.cubes) - 1
    if more and of_text:
        session.tell(f"Dropped, in {more + 1} forms. The text is still there.")
    else:
        session.tell(f"Dropped, with {counted(more, 'part that follows', 'parts that follow')}." if more else "Dropped. The text is still there.")


@command
def ask(
    session: Session,
    question: Annotated[str, typer.Argument(help="What to ask.")],
    model: ModelOption = None,
    order: Annotated[str, typer.Option("--order", help="context: as the context gives its sources; reuse: what was read already first.")] = "context",
    mode: Annotated[
        str, typer.Option("--mode", help="exact; or, in the order reuse, rerotated or blended: all texts that were read, put together.")
    ] = "exact",
    budget: Annotated[int, typer.Option("--budget", help="Tokens that the sources may take.", min=1)] = 1500,
    tokens: Annotated[int, typer.Option("--tokens", help="Tokens of the answer, at most.", min=1)] = 200,
    form: Annotated[str | None, typer.Option("--form", help="What stands after the sources, with the question in place of {question}.")] = None,
) -> None:
    """Ask a local language model about what the space knows; what it has read of that before is not read again."""
    from mnemos.kernel.kv.asking import FORM, Asking  # only where it is needed

    how = Asking(order=order, mode=mode, budget_tokens=budget, form=(form or FORM).replace("\\n", "\n"))
    with session.open() as mem:
        _with_model(mem, model, needed=True)
        told = session.view(mem).kv.ask(question, how, max_tokens=tokens)
        text = "".join(piece.text for piece in told)
    if session.json:
        print_json({"text": text, **told.reused.as_json()})
        return
    session.out.print(text.strip(), markup=False, soft_wrap=True)
    saved = "" if told.reused.saved is None else f", {told.reused.saved:.2f} s saved"
    session.tell(
        f"{told.reused.taken:,} of {told.reused.tokens:,} tokens were read before{saved}; {counted(len(told.reused.sources), 'source', 'sources')}."
    )


app = typer.Typer(name="kv", help="What a local language model has read, kept so that it need not read it again.", no_args_is_help=True)
for _name, _function in {"list": list_, "inspect": inspect, "warm": warm, "ask": ask, "drop": drop}.items():
    app.command(_name)(_function)
