"""The command `mnemos`: how a run ends.

Exit codes: 0 done; 1 an error, said in one line on stderr (as JSON with --json); 2 wrong usage; 130 interrupted; 141 the reader of the
output went away. MNEMOS_DEBUG=1 shows the traceback of an error.
"""

from __future__ import annotations

import contextlib
import sys

INTERRUPTED, BROKEN_PIPE = 130, 141


def run(arguments: list[str]) -> int:
    """Run one command line; give its exit code."""
    try:
        return _run(arguments)
    except KeyboardInterrupt:  # before a command began: the commands say themselves what an interruption left behind
        return INTERRUPTED


def _run(arguments: list[str]) -> int:
    import typer

    from mnemos.cli.app import app

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
    import orjson

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
