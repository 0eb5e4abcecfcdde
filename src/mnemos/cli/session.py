"""What every command shares: the store, the space, the embedder, how to print, and how a failure ends."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import orjson
import typer
from rich.console import Console
from rich.text import Text

from mnemos.base.errors import Invalid, MnemosError, ModelUnavailable, NotFound
from mnemos.cli.main import BROKEN_PIPE, INTERRUPTED
from mnemos.cli.output import clean, progress

if TYPE_CHECKING:
    from mnemos.kernel.space import Space
    from mnemos.kernel.system import Mnemos
    from mnemos.kernel.writing.embedding import Embedding

DEFAULT_STORE = "memory.db"

_PANEL = "Which memory"
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store", "-s", help=f"The store's file. Else MNEMOS_STORE, else {DEFAULT_STORE} in this folder.", metavar="FILE", rich_help_panel=_PANEL
    ),
]
SpaceOption = Annotated[
    str | None,
    typer.Option("--space", help="The space inside the store. Else MNEMOS_SPACE, else default.", metavar="NAME", rich_help_panel=_PANEL),
]
EmbedderOption = Annotated[
    str | None,
    typer.Option(
        "--embedder",
        help="minilm, hashed, openai:MODEL, sentence-transformers:NAME or none. Else MNEMOS_EMBEDDER, else the one that made the store, else minilm.",
        metavar="NAME",
        rich_help_panel=_PANEL,
    ),
]
KeyOption = Annotated[
    str | None,
    typer.Option(
        "--key-file",
        help="The key of a sealed store: 32 bytes, 64 hexadecimal digits, or a passphrase. Else MNEMOS_KEY, else MNEMOS_KEY_FILE.",
        metavar="FILE",
        rich_help_panel=_PANEL,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object; errors too, on stderr.")]


@dataclass
class Session:
    """One run of the command line. `None` where an option was not given."""

    store: str | None = None
    space: str | None = None
    embedder: str | None = None
    key_file: str | None = None
    json: bool = False
    out: Console = field(default_factory=lambda: Console(highlight=False, emoji=False))
    err: Console = field(default_factory=lambda: Console(stderr=True, highlight=False, emoji=False))

    def take(self, store: str | None, space: str | None, embedder: str | None, key_file: str | None, as_json: bool = False) -> None:
        """Options given after the command win over those before it."""
        self.store, self.space = store or self.store, space if space is not None else self.space
        self.embedder, self.json = embedder or self.embedder, as_json or self.json
        self.key_file = key_file or self.key_file

    @property
    def path(self) -> str:
        """The store's file."""
        return self.store or os.environ.get("MNEMOS_STORE") or DEFAULT_STORE

    @property
    def chosen_space(self) -> str | None:
        """The space that was asked for, by option or environment."""
        return self.space if self.space is not None else os.environ.get("MNEMOS_SPACE") or None

    @property
    def space_name(self) -> str:
        return self.chosen_space if self.chosen_space is not None else "default"

    @property
    def chosen_embedder(self) -> str | None:
        return self.embedder or os.environ.get("MNEMOS_EMBEDDER") or None

    @property
    def key(self) -> bytes | str | None:
        """The key that was given for the store; None where it is not sealed. Raises `Invalid`, `NotFound`."""
        if not (self.key_file or os.environ.get("MNEMOS_KEY") or os.environ.get("MNEMOS_KEY_FILE")):
            return None
        from mnemos.kernel.sealing import key_from_environment, key_in

        return key_in(self.key_file) if self.key_file else key_from_environment(os.environ)

    @property
    def vector_memory(self) -> int:
        """Bytes of vectors of one space that are held in memory, by MNEMOS_VECTOR_MEMORY. Raises `Invalid`."""
        from mnemos.kernel.vector_memory import memory_from_environment

        return memory_from_environment(os.environ)

    @contextlib.contextmanager
    def open(self, *, create: bool = False, embeds: bool = False, wait: bool = True) -> Iterator[Mnemos]:
        """The store. `create` makes it where there is none; `embeds` says that the command needs vectors.

        The store's own embedder is used unless another is asked for; then all memories are embedded anew first, with progress, or, without
        `wait`, while the command goes on.
        """
        from mnemos.kernel.system import Mnemos

        path = self.path if create and "\x00" not in self.path else existing(self.path)
        if not embeds:
            with Mnemos(path, embedder="none", key=self.key, vector_memory=self.vector_memory) as mem:
                yield mem
            return
        with Mnemos(path, embedder=self.right_embedder(), key=self.key, vector_memory=self.vector_memory) as mem:
            if wait:
                self.reembed(mem)
            yield mem

    def right_embedder(self) -> Any:
        """The embedder asked for, else the one whose vectors the store holds, else None for the default."""
        from mnemos.kernel.system import Mnemos
        from mnemos.models.catalog import from_fingerprint

        if self.chosen_embedder or self.path == ":memory:" or not Path(self.path).expanduser().exists():
            return self.chosen_embedder
        with Mnemos(self.path, embedder="none", key=self.key) as mem:
            known = stored_embedder(mem)
        if known is None:
            return None
        embedder = from_fingerprint(known)
        if embedder is None:
            raise ModelUnavailable(
                f"{self.path}: its vectors were made by {known}, which cannot be opened from its name alone; name it with --embedder, "
                "or search by words alone with --embedder none"
            )
        return embedder

    def reembed(self, mem: Mnemos) -> None:
        """Wait for vectors that are being made anew, showing how far that is."""
        embedding = mem.embedding
        waiting = threading.Thread(target=_until_done, args=(embedding,), daemon=True)
        waiting.start()
        waiting.join(0.1)  # nothing to do, or next to nothing: no bar
        if waiting.is_alive():
            with progress(self.err, "embedding anew", "texts", quiet=self.json) as tick:
                while waiting.is_alive():
                    tick(embedding.done, embedding.total)
                    waiting.join(0.1)
        embedding.wait()

    def view(self, mem: Mnemos) -> Space:
        """The chosen space, which must exist."""
        return mem.existing_space(self.space_name)

    def tell(self, text: str) -> None:
        """A line of success for a person; nothing with `--json`."""
        if not self.json:
            self.out.print(clean(text), markup=False, soft_wrap=True)

    def confirm(self, question: str, yes: bool) -> None:
        """Ask before something that cannot be undone. Raises `Invalid` where nobody can answer, ends with 1 on a no."""
        if yes:
            return
        try:
            agreed = typer.confirm(clean(question), default=False, err=True)
        except typer.Abort:
            self.err.print()
            raise Invalid("nobody answered, and nothing was done; say --yes to do it without asking") from None
        if not agreed:
            self.err.print("Nothing was done.")
            raise typer.Exit(1)


def existing(path: str) -> str:
    """`path`, where a store can be. Raises `Invalid`, and `NotFound` where nothing is."""
    if "\x00" in path:
        raise Invalid("--store: the path holds a NUL character")
    if path != ":memory:" and not Path(path).expanduser().exists():
        raise NotFound(f"{path}: there is no store here; make one with `mnemos init`, or name another with --store FILE")
    return path


def _until_done(embedding: Embedding) -> None:
    with contextlib.suppress(Exception):  # `wait` raises it again, in the main thread
        embedding.wait()


def stored_embedder(mem: Mnemos) -> str | None:
    """The fingerprint of the embedder that made the store's vectors: the latest for which none is missing, else the latest."""
    with mem.snapshot() as snapshot:
        known = sorted(snapshot.embedders().items(), reverse=True)
        for number, (fingerprint, _) in known if len(known) > 1 else ():
            if not snapshot.unembedded(number, 0, 1):
                return fingerprint
        return known[0][1][0] if known else None


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Make a command of `function(session, …)`: adds the shared options, and turns every failure into one line and an exit code."""
    hints = get_type_hints(function, include_extras=True)
    own = [p.replace(annotation=hints[p.name]) for p in list(inspect.signature(function).parameters.values())[1:]]
    keyword = inspect.Parameter.KEYWORD_ONLY
    shared = [
        inspect.Parameter("store", keyword, default=None, annotation=StoreOption),
        inspect.Parameter("space", keyword, default=None, annotation=SpaceOption),
        inspect.Parameter("embedder", keyword, default=None, annotation=EmbedderOption),
        inspect.Parameter("key_file", keyword, default=None, annotation=KeyOption),
        inspect.Parameter("as_json", keyword, default=False, annotation=JsonOption),
    ]

    @functools.wraps(function)
    def run(ctx: typer.Context, **given: Any) -> None:
        session = ctx.ensure_object(Session)
        session.take(given.pop("store"), given.pop("space"), given.pop("embedder"), given.pop("key_file"), given.pop("as_json"))
        with ending(session):
            function(session, **given)

    context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    parameters = [context, *(p.replace(kind=keyword) for p in own), *shared]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    del run.__wrapped__  # else the signature of the function inside would be read
    return run


@contextlib.contextmanager
def ending(session: Session) -> Iterator[None]:
    """Turn whatever goes wrong inside into a line on stderr and the exit code that stands for it."""
    try:
        yield
        sys.stdout.flush()
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise
    except MnemosError as error:
        report(session, type(error).__name__, str(error))
        raise typer.Exit(1) from None
    except KeyboardInterrupt as interrupted:
        if session.err.is_terminal:
            session.err.print()  # the terminal has written ^C
        report(session, "Interrupted", str(interrupted) or "what was stored before is safe", label="Interrupted: ")
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        # Whoever read the output has gone; the rest goes nowhere, without the complaint that Python would make at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(BROKEN_PIPE) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        report(session, type(error).__name__, f"{where}{error.strerror or error}; check the path, its permissions and the disk")
        raise typer.Exit(1) from None
    except Exception as error:  # noqa: BLE001  (the last line of defence: a person gets a sentence, MNEMOS_DEBUG the traceback)
        report(session, type(error).__name__, f"{error}; this is a fault of Mnemos: please report it with what MNEMOS_DEBUG=1 shows")
        raise typer.Exit(1) from None


def report(session: Session, kind: str, message: str, *, label: str = "error: ") -> None:
    """One line on stderr: what went wrong, where, and what to do; as JSON where the output is."""
    if os.environ.get("MNEMOS_DEBUG"):
        traceback.print_exc()
    line = " ".join(clean(message).split())
    if session.json:
        sys.stderr.write(orjson.dumps({"error": {"kind": kind, "message": line}}).decode() + "\n")
    else:
        session.err.print(Text.assemble((label, "bold red"), line), soft_wrap=True)
