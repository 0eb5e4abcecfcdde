"""Routes of archives: memories go out as one file that proves that it is whole, and come in from one that does."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import IO, Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse

from mnemos.base.errors import Conflict, FingerprintMismatch, Invalid, PermissionDenied
from mnemos.base.signing import PublicKey
from mnemos.kernel.exchange import export_archive, import_archive, read_manifest, verify_archive
from mnemos.kernel.system import Mnemos
from mnemos.server import models
from mnemos.server.routing import Answer, Memory, StrictRoute, Truth, fails
from mnemos.text.sensitivity import Label, Redactor

router = APIRouter(route_class=StrictRoute, tags=["archives"])
MEDIA_TYPE = "application/zip"
_PORTION = 1 << 18
_KEY_PATTERN = "^[0-9a-f]{64}$"


class Redaction(models.Request):
    """What is taken out of every field."""

    kinds: Annotated[list[models.Word], Field(min_length=1)] | None = Field(None, description='Such as "email", "phone", "card"; all where left out')
    names: Annotated[list[models.Word], Field(max_length=10_000)] = Field([], description="Names to take out, too")
    label: Literal["internal", "personal", "secret"] = Field("internal", description="From which label of sensitivity on")


class Export(models.Conditions):
    """What goes into an archive: whole histories of the memories of these spaces, and of those only that meet all conditions."""

    spaces: Annotated[list[models.SpaceName], Field(min_length=1, max_length=1000)] | None = Field(None, description="Else all that may be read")
    redact: Redaction | None = Field(None, description="Nothing is taken out where left out")
    vectors: bool = Field(True, description="Whether vectors go along")
    kv: bool = Field(False, description="Whether what language models have read goes along; it fits these models alone, and cannot be redacted")
    sign: bool = Field(False, description="Sign it with the server's key. For the owner of the store")


class ImportQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    public_key: Annotated[str, Field(pattern=_KEY_PATTERN)] | None = Field(None, description="It must be signed with this key: 64 hexadecimal digits")
    model: list[models.Word] | None = Field(None, description="Fingerprints of models whose own memories are taken, too")
    vectors: Truth = Field(True, description="Take over the vectors of the store's own embedder, instead of making them anew")


class Imported(BaseModel):
    imported: int = Field(description="Entries that were new: spaces, versions, changes of standing")
    spaces: list[str]
    cubes: int = Field(description="Memories and parts in the archive")
    versions: int


_ZIP: dict[str, Any] = {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}
_EXPORTED: dict[int | str, dict[str, Any]] = {
    200: {"description": "An archive, as docs/exchange.md describes it", "content": _ZIP},
    **fails(404, 409, 413, 415, 422, 429, 507),
}


@router.post("/v1/archives", response_class=StreamingResponse, responses=_EXPORTED)
def export(memory: Memory, what: Export) -> StreamingResponse:
    """Write spaces, as far as the principal may read them, as an archive. What was forgotten is in it by its id alone.

    The archive of a sealed store is not sealed.
    """
    if what.kv and what.redact is not None:
        raise Invalid("kv: keys and values hold what the texts say, and nothing can be taken out of them; leave `kv` or `redact` out")
    key = None
    if what.sign:
        key = _owner(memory, "archives are signed").work.signer
        if key is None:
            raise Conflict("this server holds no signing key; start it with `mnemos serve --sign FILE`, or MNEMOS_SIGNING_KEY_FILE")
    spaces = memory.spaces() if what.spaces is None else list(dict.fromkeys(what.spaces))
    for name in spaces:
        memory.existing_space(name).admit("read")  # rates and licences hold for an export as for any other look
    conditions = {name: value for name, value in what.given("spaces", "redact", "vectors", "kv", "sign").items() if value is not None}
    redact = None if what.redact is None else Redactor(what.redact.kinds, Label.of(what.redact.label), what.redact.names)
    with _folder() as folder:
        target = folder / "archive.zip"
        export_archive(memory, target, spaces=spaces, redact=redact, sign_with=key, vectors=what.vectors, kv=what.kv, **conditions)
        stream = target.open("rb")
    headers = {"Content-Length": str(os.fstat(stream.fileno()).st_size), "Content-Disposition": 'attachment; filename="memories.zip"'}
    return StreamingResponse(iterate_in_threadpool(_portions(stream)), media_type=MEDIA_TYPE, headers=headers)


def _owner(memory: Mnemos, what: str) -> Mnemos:
    if memory.principal is not None:
        raise PermissionDenied(f"{what} by the owner of the store alone")
    return memory


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """A folder for a moment, which nobody else may read. What is still open of it when it goes can be read on."""
    path = Path(tempfile.mkdtemp(prefix="mnemos-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _portions(stream: IO[bytes]) -> Iterator[bytes]:
    with stream:
        while portion := stream.read(_PORTION):
            yield portion


_TAKEN = {"requestBody": {"required": True, "content": _ZIP}}


@router.post("/v1/import-archive", response_model=Imported, openapi_extra=_TAKEN, responses=fails(404, 409, 413, 415, 422, 507))
async def import_(request: Request, memory: Memory, query: Annotated[ImportQuery, Query()]) -> Response:
    """Read an archive, sent as `application/zip`, into the store. It is checked in every part before anything is taken. For the owner of the store.

    Importing again changes nothing. A larger archive than a body may be is for `mnemos import`.
    """
    _owner(memory, "archives are imported")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != MEDIA_TYPE:
        raise HTTPException(415, f"Send the archive as `Content-Type: {MEDIA_TYPE}`.")
    with _folder() as folder:
        path = folder / "archive.zip"
        await _receive(request.stream(), path)
        taken = await run_in_threadpool(_take, memory, path, query)
    request.app.state.metrics.wrote(taken["imported"])
    return Answer(taken)


async def _receive(body: AsyncIterator[bytes], path: Path) -> None:
    with path.open("xb") as file:
        try:
            async for portion in body:
                await run_in_threadpool(file.write, portion)
        except ClientDisconnect:
            raise HTTPException(400, "The client left before the archive was sent.") from None


def _take(memory: Mnemos, path: Path, query: ImportQuery) -> dict[str, Any]:
    key = None if query.public_key is None else PublicKey(bytes.fromhex(query.public_key))
    with _unplaced(path):
        if not (verdict := verify_archive(path, key)):
            raise Invalid(f"the archive does not verify, and nothing was read from it: {'; '.join(verdict.reasons[:3])}")
        manifest = read_manifest(path)
        imported = import_archive(memory, path, public_key=key, models=query.model or (), vectors=query.vectors)
    held = manifest.spaces
    return {
        "imported": imported, "spaces": [space.name for space in held], "cubes": sum(space.cubes for space in held),
        "versions": sum(space.versions for space in held),
    }  # fmt: skip


@contextlib.contextmanager
def _unplaced(path: Path) -> Iterator[None]:
    """Let what is wrong with an archive be told as the caller's, and without the place where it lies for a moment."""
    try:
        yield
    except (Invalid, Conflict, FingerprintMismatch) as error:
        said = str(error).replace(f"{path}/", "").replace(str(path), "archive")
        raise (Conflict(said) if isinstance(error, Conflict) else Invalid(said)) from None
