"""Bulk import: lines of JSON in, written in chunks as they arrive, lines of JSON out that say how far it is."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mnemos.base.errors import MnemosError, QuotaExceeded, StoreUnavailable
from mnemos.kernel.space import Space
from mnemos.kernel.writing.writes import CHUNK
from mnemos.server import models, problems
from mnemos.server.guard import NDJSON
from mnemos.server.routing import parse_json

CHUNK_BYTES = 4 * 2**20
"""A chunk is written when it has this many bytes, also where it has fewer than `CHUNK` lines."""
REPORT_SECONDS = 1.0
"""At most one progress line in this time: a client that reads only when it has sent everything must not fill the socket, and stop both."""

log = logging.getLogger("mnemos.server")
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Import:
    """What an import needs: the space, opened at the first chunk; the path, for problems; the longest line; whether ids are told."""

    space: Callable[[], Space]
    instance: str
    max_line_bytes: int
    ids: bool


class _BadLine(Exception):
    def __init__(self, line: int, document: dict[str, Any]) -> None:
        self.line = line
        self.document = document


class _Duplex(Response):
    """An answer that is sent while the request is still read. Starlette's own streaming response would listen for the client's leaving,
    and so take the request's body away from its reader."""

    media_type = NDJSON

    def __init__(self, lines: AsyncIterator[bytes]) -> None:
        super().__init__(media_type=NDJSON)
        del self.headers["content-length"]
        self._lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for line in self._lines:
            await send({"type": "http.response.body", "body": line, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def importing(job: Import, stream: AsyncIterator[bytes], wrote: Callable[[int], None]) -> Response:
    """Do `job` over the body `stream`. Where nothing at all can be written, the answer is a problem document."""
    reports = _run(job, stream, wrote)
    first = await anext(reports)
    if "problem" in first and not first["written"]:
        return problems.response({**first["problem"], "line": first["line"], "written": 0})

    async def lines() -> AsyncIterator[bytes]:
        yield orjson.dumps(first) + b"\n"
        async for report in reports:
            yield orjson.dumps(report) + b"\n"

    return _Duplex(lines())


async def _run(job: Import, stream: AsyncIterator[bytes], wrote: Callable[[int], None]) -> AsyncIterator[dict[str, Any]]:
    """Reports of an import; the last one has `done`."""
    written = 0
    chunk: list[tuple[int, Record]] = []
    size = 0
    told = time.monotonic()
    untold: list[str] = []
    space: Space | None = None

    async def write() -> None:
        nonlocal written, size, space
        if not chunk:
            return
        if space is None:
            try:
                space = await run_in_threadpool(job.space)
            except MnemosError as error:
                raise _BadLine(chunk[0][0], problems.of_error(error, job.instance)) from error
        try:
            async for ids in _write(space, list(chunk), job.instance):
                written += len(ids)
                wrote(len(ids))
                untold.extend(ids if job.ids else ())
        finally:
            chunk.clear()
            size = 0

    def report(**more: Any) -> dict[str, Any]:
        out = {"written": written, **({"ids": list(untold)} if job.ids else {}), **more}
        untold.clear()
        return out

    try:
        try:
            async for number, line in _lines(stream, job):
                if not line.strip():
                    continue
                chunk.append((number, _record(number, line, job.instance)))
                size += len(line)
                if len(chunk) >= CHUNK or size >= CHUNK_BYTES:
                    await write()
                    if job.ids or time.monotonic() - told >= REPORT_SECONDS:
                        told = time.monotonic()
                        yield report()
            await write()
        except _BadLine as bad:
            await write()
            await _drain(stream)
            yield report(done=False, line=bad.line, problem=bad.document)
            return
    except _BadLine as earlier:
        await _drain(stream)
        yield report(done=False, line=earlier.line, problem=earlier.document)
        return
    except ClientDisconnect:
        log.warning("%s: the client left in the middle of an import; %d memories were written", job.instance, written)
        yield report(done=False, line=0, problem=problems.document(400, "The client left.", job.instance))
        return
    yield report(done=True)


def _record(number: int, line: bytes, instance: str) -> Record:
    try:
        return models.NewMemory.model_validate(parse_json(line)).given()
    except HTTPException as error:
        detail = f"Line {number}: {error.detail}".replace("The body", "It")
        raise _BadLine(number, problems.document(422, detail, instance, kind="invalid")) from None
    except ValidationError as error:
        found = problems.faults(error.errors())
        detail = f"Line {number}: {found[0]['where']}: {found[0]['problem']}"
        raise _BadLine(number, problems.document(422, detail, instance, kind="invalid", errors=found)) from None


async def _write(space: Space, chunk: list[tuple[int, Record]], instance: str) -> AsyncIterator[list[str]]:
    """Write the records; where they cannot be written together, one by one up to the one that cannot."""
    try:
        yield [cube.id for cube in await run_in_threadpool(space.add_many, [record for _, record in chunk])]
        return
    except QuotaExceeded:
        pass  # the first of the records may still fit
    except (StoreUnavailable, OSError) as error:
        raise _BadLine(chunk[0][0], problems.of_error(error, instance)) from error
    except MnemosError:
        pass  # one of the records is refused: below it is found, and told
    for number, record in chunk:
        try:
            cubes = await run_in_threadpool(space.add_many, [record])
        except MnemosError as error:
            document = problems.of_error(error, instance)
            detail = f"Line {number}: {document['detail'].removeprefix('record 1: ')}"
            raise _BadLine(number, {**document, "detail": detail}) from error
        yield [cubes[0].id]


async def _lines(stream: AsyncIterator[bytes], job: Import) -> AsyncIterator[tuple[int, bytes]]:
    """Numbered lines of a body, however it is cut. Raises `_BadLine` for one that is too long."""
    number = 0
    kept: list[bytes] = []
    length = 0
    async for piece in stream:
        *ended, rest = piece.split(b"\n")
        for end in ended:
            number += 1
            yield number, b"".join([*kept, end])
            kept, length = [], 0
        kept.append(rest)
        length += len(rest)
        if length > job.max_line_bytes:
            detail = f"Line {number + 1}: is longer than the {job.max_line_bytes:,} bytes that are accepted."
            raise _BadLine(number + 1, problems.document(413, detail, job.instance))
    if length:
        yield number + 1, b"".join(kept)


async def _drain(stream: AsyncIterator[bytes]) -> None:
    """Read what the client still sends, so that it comes to read the answer."""
    async for _ in stream:
        pass
