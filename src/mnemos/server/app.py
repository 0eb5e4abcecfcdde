"""The server's ASGI application: REST, MCP and proxy over one open store."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema
from starlette.concurrency import run_in_threadpool
from starlette.routing import Route, compile_path

import mnemos
from mnemos.kernel.system import Mnemos
from mnemos.server import (
    archives,
    auditing,
    events,
    governing,
    history,
    kv,
    lives,
    mcp,
    memories,
    models,
    operating,
    pipelines,
    problems,
    proxy,
    searching,
    strategies,
)
from mnemos.server.guard import OPEN_PATHS, Guard, Tokens
from mnemos.server.metrics import Measured, Metrics
from mnemos.server.proxy import Upstream

MAX_BODY_BYTES = 64 * 2**20
STREAM_SECONDS = 3600.0
_DESCRIPTION = "A memory for AI: durable, governed, and able to prove where every piece came from and that a forgotten piece is gone."


def create_app(
    memory: Mnemos | Callable[[], Mnemos],
    *,
    tokens: Mapping[str, str | None] | None = None,
    upstream: Upstream | None = None,
    max_body_bytes: int = MAX_BODY_BYTES,
    stream_seconds: float = STREAM_SECONDS,
) -> FastAPI:
    """The application over an open store, which stays the caller's to close, or over one that `memory()` opens at start and the app closes.

    `tokens`: bearer token → principal (None: the owner, who may do everything). Without tokens everybody who reaches the server is the
    owner, so it answers only requests that name this machine. `upstream`: where the proxy sends chats. `max_body_bytes`: the largest body,
    and the longest line of an import. `stream_seconds`: after so long an event stream ends, and its client connects anew. Raises `Invalid` for
    a token that cannot be sent.
    """
    known = Tokens(tokens)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            if not isinstance(memory, Mnemos):
                app.state.memory = await run_in_threadpool(memory)
                stack.callback(app.state.memory.close)
            if upstream is not None:
                app.state.upstream_client = await stack.enter_async_context(upstream.client())
            app.state.mcp = mcp.make_manager(max_body_bytes)
            await stack.enter_async_context(app.state.mcp.run())
            app.state.streams = events.Streams(stream_seconds)
            stack.push_async_callback(app.state.streams.close)
            yield
            app.state.mcp = None

    app = FastAPI(
        title="Mnemos",
        version=mnemos.__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=False,
        generate_unique_id_function=_operation_id,
    )
    app.state.memory = memory if isinstance(memory, Mnemos) else None
    app.state.guarded = bool(known)
    app.state.upstream = upstream
    app.state.max_body_bytes = max_body_bytes
    app.state.mcp = None
    app.state.metrics = Metrics()
    app.state.metrics.watch(lambda: app.state.memory)
    app.state.methods = lambda path: _methods(app, path)
    for part in (memories, lives, searching, strategies, history, pipelines, kv, governing, archives, auditing, operating, events, proxy):
        app.include_router(part.router)
    app.router.routes.append(Route("/mcp", endpoint=mcp.Endpoint(), methods=["POST"]))
    problems.install(app)
    app.add_middleware(Guard, tokens=known, max_body_bytes=max_body_bytes)
    app.add_middleware(Measured, metrics=app.state.metrics)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _operation_id(route: APIRoute) -> str:
    """A name for a route that programs can be generated from: what it does, and to what."""
    place = "_".join(route.path_format.strip("/").split("/")[-2:])
    return "".join(character if character.isalnum() else "_" for character in f"{route.name}_{place}").replace("__", "_").strip("_")


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The description of all routes, with the models and problems that FastAPI does not see by itself. Made once."""
    if app.openapi_schema is None:
        api = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        template = "#/components/schemas/{model}"
        sent = [(models.NewMemory, "validation"), (models.NewMemories, "validation")]
        told = (models.Event, models.Memory, models.Memories, kv.Reused, problems.Problem)
        answered = [(model, "serialization") for model in told]
        _, more = models_json_schema([*sent, *answered], ref_template=template)  # type: ignore[list-item]
        schemas = api.setdefault("components", {}).setdefault("schemas", {})
        schemas.update({name: schema for name, schema in more["$defs"].items() if name not in schemas})
        schemas["Condition"] = models.CONDITION
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        if app.state.guarded:
            api["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            for path, methods in api["paths"].items():
                for operation in methods.values():
                    operation["security"] = [] if path in OPEN_PATHS else [{"token": []}]
        app.openapi_schema = api
    return app.openapi_schema


def _methods(app: FastAPI, path: str) -> set[str]:
    """The methods that a path takes."""
    found: set[str] = {"POST"} if path == "/mcp" else {"GET"} if path in OPEN_PATHS else set()
    for template, methods in _openapi(app)["paths"].items():
        if compile_path(template)[0].match(path):
            found |= {method.upper() for method in methods}
    return found
