"""Commands that run something: serve, mcp, bench, demo."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from mnemos.base.errors import Invalid, ModelUnavailable
from mnemos.cli.kv import FORM, ROOM, VARIABLE, RoomOption
from mnemos.cli.output import clean, print_json, table
from mnemos.cli.session import Session, command

if TYPE_CHECKING:
    from mnemos.base.protocols import Recaller
    from mnemos.base.signing import SigningKey


def _need(packages: tuple[str, ...], what: str, extra: str) -> None:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise ModelUnavailable(f"{what} needs {', '.join(missing)}, which is not installed; type: pip install 'mnemos[{extra}]'")


def _benchmarks() -> list[str]:
    from mnemos.bench import list_rows

    return [row["name"] for row in list_rows()]


@command
def bench(
    session: Session,
    name: Annotated[
        str | None, typer.Argument(help="Which benchmark; without it they are listed.", metavar="NAME", autocompletion=_benchmarks)
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A seeded sample that ends within a minute.")] = False,
    data: Annotated[Path | None, typer.Option("--data", help="The folder with the data sets. Else MNEMOS_DATA.")] = None,
    peer: Annotated[list[str] | None, typer.Option("--peer", help="Another system to run on the same texts; repeat for more.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="For samples and intervals.")] = 0,
    listing: Annotated[bool, typer.Option("--list", help="List the benchmarks.")] = False,
    gate: Annotated[bool, typer.Option("--gate", help="Exit with 1 where a bound is missed.")] = False,
    own: Annotated[
        list[str] | None, typer.Argument(help="Options of the benchmark's own; `bench NAME --list` shows them.", metavar="[OPTIONS OF NAME]")
    ] = None,
) -> None:
    """Measure a claim beside its baselines."""
    from mnemos.bench import list_rows, run_cli
    from mnemos.bench.run import own_options

    if name is not None and listing:
        _list_one(session, name)
        return
    if name is not None:
        try:
            chosen = own_options(name, own or ())
        except Invalid as wrong:
            raise typer.BadParameter(str(wrong)) from None
        raise typer.Exit(run_cli(name, quick=quick, json=session.json, data=data, peer=tuple(peer or ()), seed=seed, gate=gate, own=chosen))
    if session.json:
        print_json({"benchmarks": list_rows()})
        return
    if not session.out.is_terminal:
        table(session.out, ("name", "paper", "claim"), [[row["name"], row["paper"], row["claim"]] for row in list_rows()])
        return
    rows = [[row["name"], Text.assemble(row["claim"], "\n", (row["paper"], "dim"))] for row in list_rows()]
    table(session.out, ("name", "claim"), rows, flexible="claim")
    session.out.print(Text("run one with: mnemos bench NAME [--quick]", style="dim"))


def _list_one(session: Session, name: str) -> None:
    """A benchmark with the options of its own. Raises `NotFound`."""
    from mnemos.bench.registry import find

    found = find(name)
    if session.json:
        print_json({"name": found.name, "paper": found.paper, "claim": found.claim, "options": dict(found.takes)})
        return
    rows = [("claim", found.claim), ("paper", found.paper), *((f"--{option}", text) for option, text in found.takes.items())]
    table(session.out, (found.name, ""), [list(row) for row in rows], flexible="")


@command
def demo(
    session: Session,
    input: Annotated[Path | None, typer.Option("--input", "-i", help="Try it on your own file or folder instead.", metavar="FILE")] = None,
    question: Annotated[list[str] | None, typer.Option("--question", "-q", help="With --input: what to ask; repeat for more.")] = None,
    keep: Annotated[Path | None, typer.Option("--keep", help="Leave the store here, to go on with.", metavar="FILE")] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Leave the second collection out, and do not pause.")] = False,
    pause: Annotated[bool, typer.Option("--pause/--no-pause", help="Stop a moment after each step, at a terminal.")] = True,
) -> None:
    """See a year of conversation remembered, asked, corrected and forgotten, in seconds and offline."""
    from mnemos.cli import demo as show

    if question and input is None:
        raise Invalid("--question: goes with --input FILE; the shipped sample brings its own questions")
    code = show.run(session, input=input, questions=question or [], keep=keep, fast=fast, pause=pause and not fast)
    raise typer.Exit(code)


@command
def serve(
    session: Session,
    host: Annotated[str, typer.Option("--host", help="Where to listen. Beyond this machine only with tokens (see below).")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", "-p", help="The port; 0 takes a free one.", min=0, max=65535)] = 7077,
    upstream: Annotated[
        str | None, typer.Option("--upstream", help="The OpenAI-compatible service that the proxy asks. Else MNEMOS_UPSTREAM_URL.", metavar="URL")
    ] = None,
    sign: Annotated[
        Path | None,
        typer.Option("--sign", help="Sign checkpoints of the log with this key, daily. Else MNEMOS_SIGNING_KEY_FILE.", metavar="FILE"),
    ] = None,
    vector_memory: Annotated[
        str | None,
        typer.Option("--vector-memory", help="Memory for a space's vectors; more go to disk. Else MNEMOS_VECTOR_MEMORY, else 512M.", metavar="SIZE"),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help=f"Folder of a local language model whose KV memories are kept. Else {VARIABLE}.", metavar="PATH"),
    ] = None,
    room: RoomOption = None,
    kv_policy: Annotated[
        str | None,
        typer.Option("--kv-policy", help=f"The KV policy by which texts are kept, such as shadowkv:near=0.125. Else {FORM}, else full.",
                     metavar="POLICY"),
    ] = None,
    kv_ahead: Annotated[
        bool,
        typer.Option("--kv-ahead/--no-kv-ahead", help="Let that model read texts ahead, in idle time, that callers are likely to need next."),
    ] = True,
    memory_tokens: Annotated[
        Path | None,
        typer.Option("--memory-tokens", help="Memory tokens of that model: it is asked what it remembers of spaces with the strategy clues.",
                     metavar="FILE"),
    ] = None,
    memory_windows: Annotated[
        str,
        typer.Option("--memory-windows", help="Tokens that are read together, and for how many of them one memory token stands.",
                     metavar="SIZE/RATIO"),
    ] = "2048/4",
) -> None:
    """Serve the store over REST, MCP and an OpenAI-compatible proxy.

    Tokens: MNEMOS_TOKEN is the owner's, MNEMOS_TOKENS_FILE has a line "PRINCIPAL TOKEN" for each. MNEMOS_UPSTREAM_KEY goes to the upstream.
    """
    _need(("fastapi", "uvicorn", "httpx", "mcp", "prometheus_client", "opentelemetry"), "serve", "server")
    from mnemos.kernel.vector_memory import bytes_of
    from mnemos.server.proxy import Upstream
    from mnemos.server.run import serve as run
    from mnemos.server.run import tokens_from_environment

    service = Upstream(upstream, key=os.environ.get("MNEMOS_UPSTREAM_KEY")) if upstream else Upstream.from_environment(os.environ)
    tokens = tokens_from_environment(os.environ)

    def ready(address: str) -> None:
        if session.json:
            print_json({"address": address, "store": session.path})
            sys.stdout.flush()
            return
        rows = [("REST", f"{address}/docs"), ("MCP", f"{address}/mcp"), ("store", str(Path(session.path).expanduser().absolute()))]
        rows.insert(2, ("proxy", f"{address}/v1 → {service.url}" if service else "off; give --upstream URL"))
        rows.append(("access", f"{len(tokens)} tokens" if tokens else "this machine only, without tokens"))
        for name, what in rows:
            session.out.print(Text.assemble((f"{name:<8}", "bold cyan"), clean(what)), soft_wrap=True)
        session.out.print(Text("Ctrl-C stops it.", style="dim"))

    signer = _signer(sign)
    store: dict[str, Any] = {"embedder": session.right_embedder(), "key": session.key, "signing_key": signer}
    store["vector_memory"] = session.vector_memory if vector_memory is None else bytes_of(vector_memory)
    if path := model or os.environ.get(VARIABLE):
        from mnemos.models.local.model import LocalModel  # torch, only where it is needed

        store["language_model"] = LocalModel.load(Path(path).expanduser())
    if said := room or os.environ.get(ROOM):
        store["kv_memory"] = bytes_of(said, "room")
    if form := kv_policy or os.environ.get(FORM):
        store["kv_policy"] = form
    if not kv_ahead:
        store["kv_ahead"] = None
    if memory_tokens is not None:
        store["recaller"] = _recaller(path, memory_tokens, memory_windows)
    run(session.path, host=host, port=port, tokens=tokens, upstream=service, ready=ready, **store)


def _recaller(model: str | None, file: Path, windows: str) -> Recaller:
    """A model of its own that remembers by the memory tokens of a file. Raises `Invalid`."""
    size, slash, ratio = windows.partition("/")
    if not model:
        raise Invalid(f"--memory-tokens: those of {file} need the model that they were trained on; give --model PATH")
    if not (slash and size.isdecimal() and ratio.isdecimal()):
        raise Invalid(f"--memory-windows: expected SIZE/RATIO, such as 2048/4, not {windows!r}")
    if not file.expanduser().is_file():
        raise Invalid(f"--memory-tokens: there is no file {file}")
    from mnemos.activation.beacon.recaller import BeaconRecaller  # torch, only where it is needed
    from mnemos.activation.beacon.windows import Windows

    return BeaconRecaller.load(Path(model).expanduser(), file.expanduser(), Windows(int(size), int(ratio)))


def _signer(file: Path | None) -> SigningKey | None:
    """The key that signs checkpoints, of the file that is named here or in the environment."""
    from mnemos.base.signing import SigningKey

    named = file or os.environ.get("MNEMOS_SIGNING_KEY_FILE")
    return SigningKey.load(Path(named).expanduser()) if named else None


@command
def mcp(session: Session) -> None:
    """Serve the store to an assistant over MCP on standard input and output."""
    _need(("mcp", "anyio", "fastapi"), "mcp", "server")
    from mnemos.server.mcp import run_stdio

    with session.open(create=True, embeds=True, wait=False) as mem:
        run_stdio(mem)
