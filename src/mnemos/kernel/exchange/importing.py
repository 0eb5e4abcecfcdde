"""Checking an archive, and reading it into a store."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnemos.base.cube import Content
from mnemos.base.errors import Conflict, Corrupt, FingerprintMismatch, Invalid
from mnemos.base.lineage import ASSOCIATIONS
from mnemos.base.protocols import Progress
from mnemos.base.signing import PublicKey
from mnemos.kernel.exchange.archive import DEFAULT_LIMITS, Archive, Limits
from mnemos.kernel.exchange.files import CUBES
from mnemos.kernel.exchange.manifest import Manifest
from mnemos.kernel.exchange.transfer import Incoming, batches
from mnemos.kernel.forgetting import Verdict

if TYPE_CHECKING:
    from mnemos.kernel.system import Mnemos

KeyLike = PublicKey | str | Path | bytes | None


def read_manifest(path: str | Path, limits: Limits = DEFAULT_LIMITS) -> Manifest:
    """What an archive says of itself. Nothing but the manifest is read or checked: `verify_archive` does that.

    Raises `NotFound`, and `Invalid` or `Corrupt` where it is no archive.
    """
    return Archive(path, limits).manifest


def verify_archive(path: str | Path, public_key: KeyLike = None, *, limits: Limits = DEFAULT_LIMITS) -> Verdict:
    """Whether an archive is whole and says nothing that is not so: every byte of every file, every count, every link, vector and payload.

    With `public_key` it must be signed with that key; without, damage is noticed, but not whoever writes a whole archive anew. Needs no store.
    Raises `NotFound` where nothing lies at `path`, `Invalid` for what is no key.
    """
    key = None if public_key is None else PublicKey.of(public_key)
    try:
        reasons = Archive(path, limits).faults(key)
    except (Corrupt, Invalid) as error:
        reasons = [str(error)]
    return Verdict(not reasons, tuple(reasons))


def open_archive(path: str | Path, public_key: KeyLike = None, *, limits: Limits = DEFAULT_LIMITS) -> Archive:
    """The archive, checked as `verify_archive` does. Raises `Corrupt` with what is wrong, `NotFound`."""
    archive = Archive(path, limits)
    reasons = archive.faults(None if public_key is None else PublicKey.of(public_key))
    if reasons:
        raise Corrupt(f"{path}: does not verify, and nothing was read from it: {'; '.join(reasons[:3])}")
    return archive


def import_archive(
    memory: Mnemos,
    path: str | Path,
    *,
    public_key: KeyLike = None,
    models: Collection[str] = (),
    vectors: bool = True,
    limits: Limits = DEFAULT_LIMITS,
    progress: Progress | None = None,
) -> int:
    """Read an archive into the store; give how many of its entries were new.

    It is verified first (with `public_key`, who signed it too), and refused as a whole where something of it was forgotten here, or is of use to
    one model alone that is none of `models` (fingerprints). Then entries become durable in batches, each all or nothing; what is there already,
    word for word, is left, so that an interrupted import is simply repeated. Lineage, states, freezes and rules go along. Vectors are taken over
    where the store's own embedder made them (unless `vectors` is False), and made anew otherwise. Raises `Corrupt`, `Conflict`,
    `FingerprintMismatch`, `Invalid`, `PermissionDenied`, `QuotaExceeded`.
    """
    archive = open_archive(path, public_key, limits=limits)
    check_models(archive.manifest, models, str(path))
    _refuse_forgotten(memory, archive)
    embedder = memory.embedding.embedder
    vector = archive.vectors(embedder.fingerprint) if vectors and embedder is not None else (lambda content: None)
    incoming = Incoming(memory, f"{path}/{CUBES}", vector=vector, blob=archive.blob)
    total = next(payload.count for payload in archive.manifest.payloads if payload.path == CUBES)
    done = new = 0
    for batch in batches(enumerate(archive.lines(), 2)):
        new += incoming.take(batch)
        done += len(batch)
        if progress is not None:
            progress(done, total)
    return new


def check_models(manifest: Manifest, models: Collection[str], name: str) -> None:
    """Raise `FingerprintMismatch` where cubes are of use to a model alone that is none of `models`."""
    for fingerprint, kinds in manifest.models.items():
        if fingerprint not in models:
            what = ", ".join(f"{count} of kind {kind}" for kind, count in sorted(kinds.items()))
            raise FingerprintMismatch(
                f"{name}: holds cubes that are of use to the model {fingerprint} alone ({what}), which is none of those here "
                f"({', '.join(sorted(models)) or 'none'}); export without them, or name the model with models=[…] (`mnemos import --model`)"
            )


def _refuse_forgotten(memory: Mnemos, archive: Archive) -> None:
    """Raise `Conflict` where a cube of the archive, or what it was derived from, was forgotten in this store: nothing is written then."""
    seen: set[Any] = set()
    with memory.snapshot() as snapshot:
        for line in archive.lines():
            if "record" not in line:
                continue
            content = Content.from_json(line["record"])
            own = {content.id, *(link.id for link in content.derived_from if link.relation not in ASSOCIATIONS)}
            gone = [cube for cube in own - seen if snapshot.forgotten(cube)]
            if gone:
                whose = f"cube {content.id}" if content.id in gone else f"cube {gone[0]}, from which cube {content.id} is derived,"
                raise Conflict(f"{archive.path}: {whose} was forgotten here, and what was forgotten does not come back; export without it")
            seen |= own

