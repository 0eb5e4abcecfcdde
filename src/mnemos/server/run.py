"""Running the server: where it may listen, and how it stops."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType

import uvicorn

from mnemos.base.errors import Invalid, StoreUnavailable
from mnemos.base.protocols import Embedder, LanguageModel, Recaller
from mnemos.base.signing import SigningKey
from mnemos.kernel.scheduling import FORESIGHT, Foresight
from mnemos.kernel.system import KV_MEMORY, Mnemos
from mnemos.kernel.vector_memory import MEMORY as VECTOR_MEMORY
from mnemos.server.app import MAX_BODY_BYTES, create_app
from mnemos.server.guard import is_loopback
from mnemos.server.proxy import Upstream

PORT = 7077
GRACE_SECONDS = 30
"""How long running requests may take to finish after the server was told to stop."""
UPKEEP = {"expire": 3600.0, "tend": 21_600.0, "compact": 86_400.0}
"""Kind of job → seconds after which it recurs while a server runs."""


def serve(
    memory: Mnemos | str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = PORT,
    tokens: Mapping[str, str | None] | None = None,
    upstream: Upstream | None = None,
    embedder: str | Embedder | None = None,
    key: object | None = None,
    signing_key: SigningKey | None = None,
    vector_memory: int = VECTOR_MEMORY,
    language_model: LanguageModel | None = None,
    kv_memory: int = KV_MEMORY,
    kv_policy: str = "full",
    kv_ahead: Foresight | None = FORESIGHT,
    recaller: Recaller | None = None,
    max_body_bytes: int = MAX_BODY_BYTES,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve a store until SIGTERM or SIGINT; then finish running requests, close the store, and return.

    Meanwhile it runs the jobs of the store. `memory`: an open store, or where one is, which `key` opens where it is sealed, of which the vectors of a
    space may take `vector_memory` bytes, whose `language_model` may keep `kv_memory` bytes of what it has read, of texts in the form `kv_policy`, and
    reads ahead as `kv_ahead` says (None: not at all), and whose `recaller` says what it remembers of spaces with the strategy "clues";
    in both cases it is closed at the end. `signing_key` signs a checkpoint of the log every day, and when the owner asks for one. `port` 0 takes a
    free one. `ready` is called with the address once the server answers. Raises `Invalid` where it would listen beyond this machine without tokens,
    `StoreUnavailable` where the address is taken, and what opening the store raises.
    """
    if not tokens and not is_loopback(host):
        raise Invalid(
            f"host: {host!r} can be reached by others, and no token is configured; set MNEMOS_TOKEN or MNEMOS_TOKENS_FILE, "
            "or listen on 127.0.0.1"
        )
    listening = _listen(host, port)
    try:
        store = memory if isinstance(memory, Mnemos) else Mnemos(
            memory, embedder=embedder, key=key, vector_memory=vector_memory, language_model=language_model, kv_memory=kv_memory,
            kv_policy=kv_policy, kv_ahead=kv_ahead, recaller=recaller,
        )  # fmt: skip
    except BaseException:
        listening.close()
        raise
    try:
        _work(store, signing_key)
        app = create_app(store, tokens=tokens, upstream=upstream, max_body_bytes=max_body_bytes)
        options = {"log_level": "warning", "access_log": False, "server_header": False, "ws": "none", "lifespan": "on"}
        config = uvicorn.Config(app, timeout_graceful_shutdown=GRACE_SECONDS, **options)
        name = f"[{host}]" if ":" in host else host
        answering = f"http://{name}:{listening.getsockname()[1]}"
        _Server(config, lambda: ready(answering) if ready else None, lambda: app.state.streams.stop()).run(sockets=[listening])
    finally:
        listening.close()
        store.close()


def _work(store: Mnemos, signing_key: SigningKey | None) -> None:
    """Run jobs while the server runs: those that anybody asks for, and the upkeep that recurs. They stop with the store."""
    if store.principal is None:
        logging.getLogger("mnemos.jobs").addHandler(logging.StreamHandler())
        for kind, seconds in UPKEEP.items():
            store.jobs.enqueue(kind, every=seconds)
        if signing_key is not None:
            store.jobs.sign_checkpoints(signing_key)
        store.jobs.work()


def tokens_from_environment(environ: Mapping[str, str]) -> dict[str, str | None]:
    """Token → principal: that of MNEMOS_TOKEN is the owner; MNEMOS_TOKENS_FILE has a line `PRINCIPAL TOKEN` for each. Raises `Invalid`."""
    found: dict[str, str | None] = {}
    if token := environ.get("MNEMOS_TOKEN"):
        found[token] = None
    if path := environ.get("MNEMOS_TOKENS_FILE"):
        try:
            lines = Path(path).read_text("utf-8").splitlines()
        except (OSError, UnicodeError) as error:
            raise Invalid(f"MNEMOS_TOKENS_FILE: {path} cannot be read: {error}") from None
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            principal, _, token = line.strip().rpartition(" ")
            if not principal.strip() or not token or token in found:
                raise Invalid(f"MNEMOS_TOKENS_FILE: {path}, line {number}: expected PRINCIPAL TOKEN, each token once")
            found[token] = principal.strip()
    return found


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens at the address."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise Invalid(f"host: {host!r} is no address of this machine: {error}") from None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        listening.close()
        raise StoreUnavailable(f"cannot listen on {host}, port {port}: {error.strerror}; choose another with --port") from None
    return listening


class _Server(uvicorn.Server):  # type: ignore[misc]
    """Uvicorn, but that it returns after a signal, instead of dying of it, so that what is left to do gets done."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], stopping: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready
        self._stopping = stopping

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopping()  # or streams without an end would be waited for
        await super().shutdown(sockets=sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(number: int, frame: FrameType | None) -> None:
            self.handle_exit(number, frame)

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
