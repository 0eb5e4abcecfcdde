"""The command `mnemos`: which commands there are, and how a run ends.

Exit codes: 0 done; 1 an error, said in one line on stderr (as JSON with --json); 2 wrong usage; 130 interrupted; 141 the reader of the
output went away. MNEMOS_DEBUG=1 shows the traceback of an error.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Annotated

import orjson
import typer

from mnemos.cli import care, reading, services, writing
from mnemos.cli.session import EmbedderOption, Session, SpaceOption, StoreOption

app = typer.Typer(
    name="mnemos",
    help="A memory for AI: it remembers, answers with its sources, and can prove what it has forgotten.",
    epilog="Start with: mnemos demo",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_COMMANDS = {
    "Start": (("demo", services.demo), ("init", writing.init), ("doctor", care.doctor)),
    "Remember": (("add", writing.add), ("import", writing.import_)),
    "Ask": (("search", reading.search), ("context", reading.context), ("show", reading.show), ("list", reading.list_)),
    "Correct": (
        ("update", writing.update),
        ("history", reading.history),
        ("rollback", writing.rollback),
        ("freeze", writing.freeze),
        ("unfreeze", writing.unfreeze),
    ),
    "Forget and prove": (("forget", writing.forget), ("verify", care.verify)),
    "Share": (("export", reading.export), ("serve", services.serve), ("mcp", services.mcp)),
    "Know": (("spaces", reading.spaces), ("strategies", reading.strategies), ("bench", services.bench)),
}

for _panel, _members in _COMMANDS.items():
    for _name, _function in _members:
        app.command(_name, rich_help_panel=_panel)(_function)


def _version(wanted: bool) -> None:
    if wanted:
        import mnemos

        typer.echo(f"mnemos {mnemos.__version__}")
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    store: StoreOption = None,
    space: SpaceOption = None,
    embedder: EmbedderOption = None,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    """A memory for AI: it remembers, answers with its sources, and can prove what it has forgotten."""
    ctx.ensure_object(Session).take(store, space, embedder)


def run(arguments: list[str]) -> int:
    """Run one command line; give its exit code."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # a stand-in for the stream, in a test
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    # typer's exceptions derive from those of click, whichever click it brings
    usage, problem = typer.BadParameter.__mro__[1:3]
    try:
        code = app(arguments, prog_name="mnemos", standalone_mode=False)
    except typer.Abort:
        return 1
    except problem as error:  # type: ignore[misc]
        _say(error, "--json" in arguments)
        return 2 if isinstance(error, usage) else 1
    return code if isinstance(code, int) else 0


def _say(error: BaseException, as_json: bool) -> None:
    if as_json:
        message = " ".join(str(error.format_message()).split())  # type: ignore[attr-defined]
        sys.stderr.write(orjson.dumps({"error": {"kind": "Usage", "message": message}}).decode() + "\n")
    else:
        error.show()  # type: ignore[attr-defined]


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
