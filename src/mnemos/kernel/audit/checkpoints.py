"""Signed checkpoints of the log: what its head was at a time, vouched for by a key that need not lie beside the store.

The log's own chain shows damage, and a change in its middle. Whoever can write all files could compute the chain anew, cut the log, or put
another store in its place; they cannot sign. A checkpoint says which entry stood where, how many entries of each kind there were, and which
checkpoint came before. They lie in `memory.db-checkpoints`, one signed document (`base.signing`) a line, only ever appended to; a copy of the
file, or of its last line, kept elsewhere shows also that none was taken from its end.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnemos.base.chain import GENESIS, verify_entry
from mnemos.base.clock import iso
from mnemos.base.errors import Corrupt, Invalid, MnemosError, NotFound, PermissionDenied, StoreUnavailable
from mnemos.base.signing import PublicKey, SignedDocument, SigningKey
from mnemos.kernel.forgetting import Verdict
from mnemos.store.base import Snapshot

if TYPE_CHECKING:
    from mnemos.kernel.system import Mnemos

try:
    import fcntl
except ImportError:  # no advisory locks here: two processes must not make checkpoints at the same time
    fcntl = None  # type: ignore[assignment]

CHECKPOINT = "checkpoint"
"""The purpose that checkpoints are signed for."""

_FORMAT = 1
_FIELDS = frozenset(("format", "store", "number", "position", "head", "at", "counts", "previous"))
_TAIL_BYTES = 1 << 16  # more than the longest line


def checkpoints_path(store: str | Path) -> Path:
    """The file of a store's checkpoints."""
    return Path(f"{store}-checkpoints")


def checkpoint(memory: Mnemos, key: SigningKey, *, repeat: bool = True) -> SignedDocument:
    """Sign where the log stands now, and append that to the file beside the store, durably; of a store in memory it is only given.

    Without `repeat` none is made where the last one, signed with this key too, stands at the end of the log already: that one is given. What was
    written since the checkpoint before is checked to follow from it. Raises `Corrupt` where it does not, or where the file is not what was
    written, `PermissionDenied`, `StoreUnavailable`.
    """
    if memory.principal is not None:
        raise PermissionDenied("a checkpoint covers every space; open the store without a principal")
    if memory.path == ":memory:":
        with memory.snapshot() as snapshot:
            return _made(snapshot, memory.clock(), key, None)
    path = checkpoints_path(memory.path)
    try:
        with _locked(path) as handle:
            last = _last_line(handle, path)
            with memory.snapshot() as snapshot:
                made = _made(snapshot, memory.clock(), key, last)
            if not repeat and last is not None and _says_the_same(before := SignedDocument.from_bytes(last), made):
                return before
            os.write(handle, made.as_bytes())
            os.fsync(handle)
    except OSError as error:
        if isinstance(error, MnemosError):
            raise
        raise StoreUnavailable(f"{path}: the checkpoint cannot be kept ({error.strerror}); free space, or check its permissions") from error
    return made


def _says_the_same(one: SignedDocument, other: SignedDocument) -> bool:
    """Whether two checkpoints, of one store, stand at the same end of the log and are of the same key."""
    return (one.key, one.document["position"], one.document["head"]) == (other.key, other.document["position"], other.document["head"])


def _made(snapshot: Snapshot, now: int, key: SigningKey, last: bytes | None) -> SignedDocument:
    before = _document(SignedDocument.from_bytes(last)) if last is not None else None
    position, head, counts = 0, GENESIS, Counter[str]()
    if before is not None:
        position, head, counts = before["position"], bytes.fromhex(before["head"]), Counter(before["counts"])
    if before is not None and before["store"] != snapshot.store_id():
        raise Corrupt("the checkpoints beside this store are another store's; move their file away if that is meant")
    if position:
        found = next(snapshot.log(position - 1, 1), None)
        if found is None or found.hash != head:
            raise Corrupt(f"the log does not run through the checkpoint at position {position}: it was cut or rewritten; see `verify_checkpoints`")
    for entry in snapshot.log(position):
        if not verify_entry(head, entry):
            raise Corrupt(f"the log's chain breaks at entry {entry.seq}; run `mnemos doctor`")
        head = entry.hash
        counts[entry.kind] += 1
    document = {
        "format": _FORMAT,
        "store": snapshot.store_id(),
        "number": before["number"] + 1 if before else 1,
        "position": snapshot.position,
        "head": head.hex(),
        "at": now,
        "counts": dict(counts),
        "previous": hashlib.sha256(last).hexdigest() if last is not None else None,
    }
    return SignedDocument.sign(CHECKPOINT, document, key)


def _document(signed: SignedDocument) -> dict[str, Any]:
    """What a checkpoint says. Raises `Invalid` where it is none."""
    found = dict(signed.document)
    numbers = all(type(found.get(name)) is int and found[name] >= 0 for name in ("number", "position", "at"))
    texts = all(isinstance(found.get(name), str) for name in ("store", "head"))
    counted = isinstance(found.get("counts"), Mapping)
    if signed.purpose != CHECKPOINT or set(found) != _FIELDS or found["format"] != _FORMAT or not (numbers and texts and counted):
        raise Invalid("is no checkpoint of the form that this version knows")
    return found


# ---- the file ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The file, open for reading and appending, with nobody else appending to it."""
    new = not path.exists()
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0), 0o600)
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX)
        if new:
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        yield handle
    finally:
        os.close(handle)


def _last_line(handle: int, path: Path) -> bytes | None:
    """The last whole line; what a stop in the middle of writing left behind it, and nobody was told of, is cut away."""
    size = os.fstat(handle).st_size
    start = max(0, size - _TAIL_BYTES)
    tail = os.pread(handle, size - start, start)
    if tail and not tail.endswith(b"\n"):
        whole, _, torn = tail.rpartition(b"\n")
        if _is_sound(torn + b"\n"):  # all of it was written but its end
            os.write(handle, b"\n")
            tail += b"\n"
        else:
            tail = whole + b"\n" if whole else b""
            os.ftruncate(handle, start + len(tail))
    if not tail:
        if start:
            raise Corrupt(f"{path}: its last {_TAIL_BYTES:,} bytes are no lines; restore it from a copy")
        return None
    line = tail[:-1].rpartition(b"\n")[2] + b"\n"
    if not _is_sound(line):
        raise Corrupt(f"{path}: its last line is no checkpoint as it was written; see `verify_checkpoints`, and restore the file from a copy")
    return line


def _is_sound(line: bytes) -> bool:
    try:
        _document(SignedDocument.from_bytes(line))
    except (Invalid, Corrupt):
        return False
    return True


def read_checkpoints(path: str | Path) -> list[SignedDocument]:
    """The checkpoints of a file, oldest first. Raises `NotFound`, `Invalid`, `Corrupt`, naming the line."""
    out = []
    for number, line in enumerate(_lines(Path(path)), 1):
        try:
            out.append(SignedDocument.from_bytes(line))
            _document(out[-1])
        except (Invalid, Corrupt) as error:
            raise type(error)(f"{path}: line {number}: {error}") from None
    return out


def _lines(path: Path) -> list[bytes]:
    try:
        *lines, rest = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        raise NotFound(f"{path}: there are no checkpoints here; make one with `mnemos checkpoint`") from None
    except OSError as error:
        raise StoreUnavailable(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
    return [line + b"\n" for line in lines] + ([rest] if rest else [])


# ---- checking ---------------------------------------------------------------------------------------------------------


def verify_checkpoints(
    target: Any,
    public_key: PublicKey | Iterable[PublicKey] | str | Path | bytes,
    *,
    checkpoints: str | Path | None = None,
    known: Iterable[SignedDocument | Mapping[str, Any]] = (),
    key: object | None = None,
) -> Verdict:
    """Whether a store's log is the one that its checkpoints speak of. Nothing but the files and the public key is needed.

    `target`: an open `Mnemos`, the path of a store (`key` opens a sealed one), or None to check the checkpoints alone, which `checkpoints` then
    names. Holds where every line of their file is as it was written and signed by `public_key` (one or several), none lacks between the first and
    the last, all are of this store, and the log runs through each of them: it was not cut behind one, nor written anew, nor is it another
    store's. `known` are checkpoints that the caller kept elsewhere: each must be in the file, which so was not cut at its end either.
    """
    from mnemos.kernel.system import Mnemos

    keys = _keys(public_key)
    if target is not None and not isinstance(target, Mnemos):
        if not Path(target).is_file():
            raise NotFound(f"{target}: there is no store to check")
        try:
            with Mnemos(str(target), embedder="none", key=key) as opened:
                return verify_checkpoints(opened, keys, checkpoints=checkpoints or checkpoints_path(target), known=known)
        except Corrupt as damage:
            return Verdict(False, (str(damage),))
    if checkpoints is None and target is None:
        raise Invalid("checkpoints: name their file, or give a store")
    path = Path(checkpoints) if checkpoints is not None else checkpoints_path(target.path)  # type: ignore[union-attr]
    found, reasons = _read_all(path, keys)
    held = {signed.as_bytes() for signed in found}
    for number, one in enumerate(known, 1):
        signed = one if isinstance(one, SignedDocument) else SignedDocument.from_json(one)
        if (faults := signed.faults(CHECKPOINT, keys)) or signed.as_bytes() not in held:
            reasons.append(f"known checkpoint {number} {faults[0] if faults else 'is not in the file: some were removed, or it is of another store'}")
    if target is not None:
        with target.snapshot() as snapshot:
            reasons += _compare(snapshot, [_document(signed) for signed in found])
    return Verdict(not reasons, tuple(reasons))


def _keys(given: Any) -> list[PublicKey]:
    if isinstance(given, (PublicKey, SigningKey, str, Path, bytes)):
        return [PublicKey.of(given)]
    return [PublicKey.of(one) for one in given]


def _read_all(path: Path, keys: list[PublicKey]) -> tuple[list[SignedDocument], list[str]]:
    """(the checkpoints that can be read, what is wrong with the file)."""
    found: list[SignedDocument] = []
    reasons: list[str] = []
    before: dict[str, Any] | None = None
    previous: bytes | None = None
    for number, line in enumerate(_lines(path), 1):
        try:
            signed = SignedDocument.from_bytes(line)
            document = _document(signed)
        except (Invalid, Corrupt) as error:
            reasons.append(f"line {number}: {error}")
            before = previous = None
            continue
        reasons += [f"line {number}: {fault}" for fault in signed.faults(CHECKPOINT, keys)]
        expected = hashlib.sha256(previous).hexdigest() if previous is not None else None
        first = number == 1 and (document["number"] != 1 or document["previous"] is not None)
        if first or (previous is not None and document["previous"] != expected):
            reasons.append(f"line {number}: does not follow the checkpoint before it: one was removed, or put in its place")
        if before is not None:
            orderly = document["number"] == before["number"] + 1 and document["position"] >= before["position"] and document["at"] >= before["at"]
            if not orderly or document["store"] != before["store"]:
                reasons.append(f"line {number}: goes back behind the checkpoint before it, or is another store's")
        found.append(signed)
        before, previous = document, line
    if not found and not reasons:
        reasons.append("the file holds no checkpoint")
    return found, reasons


def _compare(snapshot: Snapshot, documents: list[dict[str, Any]]) -> list[str]:
    """Why the log is not the one that the checkpoints speak of: one pass over it."""
    reasons = [f"checkpoint {d['number']}: is of store {d['store'][:16]}…, not of this one" for d in documents if d["store"] != snapshot.store_id()]
    waiting = sorted((d for d in documents if d["store"] == snapshot.store_id()), key=lambda d: d["position"], reverse=True)
    head, counts, position = GENESIS, Counter[str](), 0

    def pass_by() -> None:
        while waiting and waiting[-1]["position"] == position:
            document = waiting.pop()
            if document["head"] != head.hex():
                reasons.append(f"checkpoint {document['number']}: entry {position} of the log is another one: the history was rewritten")
            elif dict(document["counts"]) != dict(counts):
                reasons.append(f"checkpoint {document['number']}: counts other entries up to position {position}")

    pass_by()
    for entry in snapshot.log(0):
        if entry.seq != position + 1 or not verify_entry(head, entry):
            return [*reasons, f"the log's chain breaks at entry {entry.seq}"]
        head, position = entry.hash, entry.seq
        counts[entry.kind] += 1
        pass_by()
    for document in reversed(waiting):
        when = f"position {document['position']}, where it stood at {iso(document['at'])}"
        reasons.append(f"checkpoint {document['number']}: the log ends at position {position}, before {when}: it was cut")
    return reasons
