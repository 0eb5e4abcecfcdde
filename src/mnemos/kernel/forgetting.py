"""Forgetting, and proving it: the deletion runs down the lineage, is looked for in the file, and is certified."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

from mnemos.base.chain import GENESIS, Entry, verify_entry
from mnemos.base.clock import iso
from mnemos.base.cube import Content, State
from mnemos.base.errors import Invalid, NotFound, PermissionDenied
from mnemos.base.signing import PublicKey, SignedDocument, SigningKey
from mnemos.kernel.life.lifecycle import revive_merged
from mnemos.kernel.life.reasons import check_reason, refuse_repetition, strings_of
from mnemos.kernel.life.views import note_losses
from mnemos.kernel.lineage import descendants, is_reading
from mnemos.kernel.prompted import count_forgetting, prompts_with
from mnemos.kernel.reading.viewing import Viewing, whole_of
from mnemos.kernel.rights.governance import Access
from mnemos.store.base import Filter, Snapshot, Standing
from mnemos.store.sqlite_write import Writer, openings_digest
from mnemos.text.encoding import terms_text

if TYPE_CHECKING:
    from mnemos.kernel.system import Mnemos

@dataclass(frozen=True, slots=True)
class ForgottenCube:
    """One forgotten cube: where the log says that it was forgotten, and what its versions' entries commit to.

    `openings` (hex), one for each digest, are kept by nobody but the holder of the certificate: with an opening and the original record,
    and only with both, one can show that this record is what a digest stood for.
    """

    id: str
    space: str
    position: int
    digests: tuple[str, ...]
    openings: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    """Of a sealed store: the names of the keys that were destroyed, without which no older copy of its files can be read."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """Says what was forgotten, when, and in which store. `verify_certificate` checks it against the store."""

    store: str
    position: int
    head: str
    forgotten_at: str
    reason: str | None
    cubes: tuple[ForgottenCube, ...]
    format: str = "mnemos-forget-1"

    def as_json(self) -> dict[str, Any]:
        record = asdict(self)
        for cube in record["cubes"]:
            if not cube["keys"]:
                del cube["keys"]
        return record

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Certificate:
        """The certificate that `as_json` wrote, or the one that a signed document of it holds. Raises `Invalid`, `Corrupt`."""
        if "checksum" in record:
            record = SignedDocument.from_json(record).document
        try:
            cubes = tuple(
                ForgottenCube(
                    str(UUID(c["id"])), c["space"], int(c["position"]), _hex(c["digests"]), _hex(c.get("openings", ())),
                    tuple(str(name) for name in c.get("keys", ())),
                )
                for c in record["cubes"]
            )
            certificate = cls(
                record["store"], int(record["position"]), record["head"], record["forgotten_at"], record.get("reason"), cubes, record["format"]
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Invalid(f"certificate: {error!r}; give the JSON that `forget` wrote, unchanged") from None
        if certificate.format != "mnemos-forget-1":
            raise Invalid(f"certificate: format {str(certificate.format)[:40]!r} is not known to this version")
        return certificate


FORGOTTEN = "forget-certificate"
"""The purpose that certificates are signed for."""


def sign_certificate(certificate: Certificate, key: SigningKey) -> SignedDocument:
    """The certificate signed, so that it can be told apart from a forged one without the store. `verify_certificate` takes it in its place."""
    return SignedDocument.sign(FORGOTTEN, certificate.as_json(), key)


def _hex(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(bytes.fromhex(value).hex() for value in values)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a certificate holds for a store; `reasons` says why not. True where it holds."""

    ok: bool
    reasons: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.ok


def forget(
    system: Mnemos, space: int, name: str, ids: Sequence[UUID] | None, where: Filter, reason: str | None
) -> Certificate:
    """Forget the chosen cubes of a space and everything derived from them, in one transaction; then leave no trace in the files."""
    reason = check_reason(reason)
    with system.writing(alone=True) as transaction:
        viewing = Viewing(transaction, system.space_row(transaction, space), system.access(transaction))
        access = viewing.access
        if ids is None:
            everything = viewing.narrowed(replace(where, states=tuple(State)))  # what searches hide is forgotten with the rest
            seqs = transaction.query(space, everything, after=0, limit=2**31, now=-(2**62))
            ids = [row.content.id for row in transaction.versions(seqs).values()]
        else:
            for cube in ids:
                standing = transaction.standing(cube)
                hidden = standing is not None and standing.acl is not None and not access.listed(standing.acl, "read", absent=True)
                if standing is None or standing.space != space or hidden:
                    gone = transaction.forgotten(cube) and any(entry.space == space for entry in transaction.entries_of(cube))
                    raise NotFound(f"cube {cube} {'was forgotten already' if gone else f'is not in space {name!r}'}")
                row = transaction.versions([standing.seq])[standing.seq]
                if (whole := whole_of(row.content)) != cube and whole not in ids:
                    raise Invalid(f"cube {cube} is a part of document {whole}; forget the document, or update it to a text without that part")
        family, chosen = descendants(transaction, ids), set(ids)
        names = {row.num: row for row in transaction.spaces()}
        for cube in family:
            standing = transaction.standing(cube)
            assert standing is not None
            home = names[standing.space]
            if cube not in chosen and _is_reading(transaction, standing):  # who may forget a text may forget what a model has read of it
                continue
            if not access.may("forget", home.settings, standing.acl):
                where_ = f"in space {name!r}" if home.num == space else "something derived from these memories, in a space of somebody else's"
                raise PermissionDenied(f"principal {system.principal!r} may not forget {where_}; ask its owner")
            if reason and not access.may("read", home.settings, standing.acl):  # or reasons could be tried until one is refused
                raise PermissionDenied(f"principal {system.principal!r} may not give a reason for memories that it may not read; leave it out")
        finish = _forget_family(system, transaction, family, reason, access)
    return finish()


def forget_again(system: Mnemos, cubes: Iterable[UUID]) -> Certificate | None:
    """Forget those of `cubes` that are in the store, frozen or not, with everything derived from them: an older backup brought them back.
    None where nothing of them is there."""
    with system.writing(alone=True) as transaction:
        family = descendants(transaction, [cube for cube in cubes if transaction.standing(cube) is not None])
        if not family:
            return None
        for cube in family:
            standing = transaction.standing(cube)
            if standing is not None and standing.frozen:
                transaction.set_frozen(cube, False)
        finish = _forget_family(system, transaction, family, "forgotten before", Access(None))
    return finish()


def _forget_family(
    system: Mnemos, transaction: Writer, family: Sequence[UUID], reason: str | None, access: Access
) -> Callable[[], Certificate]:
    """Forget these cubes, and the prompts that a language model has read with their texts; give what is to be called when that is durable: it erases
    the traces and makes the certificate, which names what the caller may know of, whose entries are the last ones."""
    names = {row.num: row for row in transaction.spaces()}
    standings = [standing for cube in family if (standing := transaction.standing(cube)) is not None]
    viewings = {num: Viewing(transaction, names[num], access) for num in {standing.space for standing in standings}}
    texts, strings, kinds = _traces(transaction, family)
    refuse_repetition(reason, texts, strings)
    mine, others = (descendants(transaction, found) for found in prompts_with(transaction, family, viewings))
    others += [each.id for each in standings if _is_reading(transaction, each) and not _shown(transaction, each, viewings[each.space])]
    hidden = list(dict.fromkeys(others))
    whole = [cube for cube in dict.fromkeys([*family, *mine]) if cube not in set(hidden)]
    more = _traces(transaction, [cube for cube in (*hidden, *whole) if cube not in set(family)])
    texts, strings, kinds = ([*had, *new] for had, new in zip((texts, strings, kinds), more, strict=True))
    for cube in set(hidden).union(set(mine) - set(family)):
        standing = transaction.standing(cube)
        if standing is not None and standing.frozen:  # it can be made again; what is forgotten is to stay nowhere
            transaction.set_frozen(cube, False)
    for space in {standing.space for standing in standings if not _is_reading(transaction, standing)}:
        count_forgetting(transaction, space)
    revive_merged(transaction, family)
    note_losses(transaction, family)
    unnamed = transaction.forget(hidden, None)
    tombstones = transaction.forget(whole, reason)
    position, head, at = transaction.newest()

    def finish() -> Certificate:
        system.embedding.drop(texts)
        system.tracker.drop([*hidden, *whole])
        system.handed.drop(whole)
        system.scheduler.forgotten(whole)
        try:
            for space in {stone.space for stone in (*unnamed, *tombstones)}:
                system.joined.pop(space, None)
            system.indexes.drop_forgotten({stone.space for stone in (*unnamed, *tombstones)})
        finally:
            system.store.erase([text.encode() for text in (*texts, *strings, *kinds)])
        return Certificate(
            store=system.store_id,
            position=position,
            head=head.hex(),
            forgotten_at=iso(at) or "",
            reason=reason,
            cubes=tuple(
                ForgottenCube(str(t.id), names[t.space].name, t.seq, tuple(d.hex() for d in t.digests), tuple(s.hex() for s in t.salts), t.keys)
                for t in tombstones
            ),
        )

    return finish


def _is_reading(snapshot: Snapshot, standing: Standing) -> bool:
    return is_reading(snapshot.versions([standing.seq])[standing.seq].content)


def _shown(snapshot: Snapshot, standing: Standing, viewing: Viewing) -> bool:
    """Whether the caller may see a memory."""
    return viewing.access.may("read", viewing.settings) and viewing.shows(snapshot.versions([standing.seq])[standing.seq])


def _traces(snapshot: Snapshot, cubes: Sequence[UUID]) -> tuple[list[str], list[str], list[str]]:
    """(texts, other strings, types and relations) of all versions of the cubes, as the rows hold them: what no file may show afterwards."""
    texts: dict[str, None] = {}
    strings: dict[str, None] = {}
    kinds: dict[str, None] = {}
    for cube in cubes:
        seqs = [entry.seq for entry in snapshot.entries_of(cube) if entry.kind in ("add", "update")]
        for row in snapshot.versions(seqs).values():
            content = row.content
            if content.text:
                texts[content.text] = None
                texts[terms_text(content)] = None
            strings |= dict.fromkeys(strings_of(content))
            for group in (content.tags, content.entities, content.metadata):
                if group:
                    strings[orjson.dumps(group).decode()] = None
            kinds |= dict.fromkeys((content.type, *(link.relation for link in content.derived_from)))
    return list(texts), list(strings), list(kinds)


def verify_certificate(
    certificate: Certificate | SignedDocument | Mapping[str, Any],
    target: Any,
    *,
    records: Sequence[Mapping[str, Any]] = (),
    key: object | None = None,
    public_key: PublicKey | str | Path | bytes | None = None,
) -> Verdict:
    """Check a certificate, signed or not, against a store: an open `Mnemos`, the path of one (`key` opens a sealed one), or None for the
    certificate and its signature alone. With `public_key` it must be signed with that key.

    Holds where the store's log chain is whole and runs through the certified head, the last of the cubes' forget entries; each cube has its
    forget entry at the certified position, its digests stand in the log, and nothing of it is left: no version, vector, edge or standing, nor,
    of a sealed store, a key that opens older copies of them. `records` are exported records of what was forgotten, where somebody kept them:
    each must then open one of the digests. Raises `Invalid` for what is no certificate.
    """
    from mnemos.kernel.system import Mnemos

    certificate, reasons = _read_certificate(certificate, public_key)
    if target is not None and not isinstance(target, Mnemos):
        if not Path(target).is_file():
            raise NotFound(f"{target}: there is no store to check the certificate against")
        with Mnemos(str(target), embedder="none", key=key) as opened:
            found = verify_certificate(certificate, opened, records=records)
            return Verdict(found.ok and not reasons, (*reasons, *found.reasons))
    if target is not None:
        reasons += _check_store(certificate, target)
    digests = {digest: opening for cube in certificate.cubes for digest, opening in zip(cube.digests, cube.openings, strict=False)}
    for number, record in enumerate(records, 1):
        content = Content.from_json(record)
        if not any(content.digest(bytes.fromhex(opening)).hex() == digest for digest, opening in digests.items()):
            reasons.append(f"record {number} is none that the certificate speaks of")
    return Verdict(not reasons, tuple(reasons))


def _read_certificate(given: Any, public_key: Any) -> tuple[Certificate, list[str]]:
    """(the certificate, what is wrong with its signature). Raises `Invalid`, `Corrupt`."""
    if isinstance(given, Mapping) and "checksum" in given:
        given = SignedDocument.from_json(given)
    if isinstance(given, SignedDocument):
        faults = given.faults(FORGOTTEN, None if public_key is None else PublicKey.of(public_key))
        return Certificate.from_json(given.document), [f"the certificate {fault}" for fault in faults]
    certificate = Certificate.from_json(given.as_json() if isinstance(given, Certificate) else given)
    return certificate, [] if public_key is None else ["the certificate is not signed"]


def _check_store(certificate: Certificate, target: Mnemos) -> list[str]:
    reasons: list[str] = []
    if certificate.store != target.store_id:
        reasons.append("the certificate was given for another store")
    first = certificate.position - len(certificate.cubes) + 1
    if [cube.position for cube in certificate.cubes] != list(range(first, certificate.position + 1)):
        reasons.append("the certified head is not the last of these cubes' forget entries, which follow each other")
    with target.snapshot() as snapshot:
        reasons += _check_chain(snapshot, certificate)
        spaces = {row.num: row.name for row in snapshot.spaces()}
        for cube in certificate.cubes:
            reasons += _check_cube(snapshot, cube, spaces, certificate.reason)
    living = target.store.living_keys([name for cube in certificate.cubes for name in cube.keys])
    return reasons + [f"key {name}, which is certified to be destroyed, is in the store's key file" for name in living]


def _check_chain(snapshot: Snapshot, certificate: Certificate) -> list[str]:
    previous = GENESIS
    passed: Entry | None = None
    for entry in snapshot.log(0):
        if not verify_entry(previous, entry):
            return [f"the log's chain breaks at entry {entry.seq}"]
        previous = entry.hash
        if entry.seq == certificate.position and entry.hash.hex() == certificate.head:
            passed = entry
    if passed is None:
        return ["the store's log does not run through the certified head"]
    return [] if iso(passed.at) == certificate.forgotten_at else ["the time of forgetting is not that of the log"]


def _check_cube(snapshot: Snapshot, cube: ForgottenCube, spaces: Mapping[int, str], reason: str | None) -> list[str]:
    key = UUID(cube.id)
    entries = snapshot.entries_of(key)
    reasons = []
    said = next((e.body_json() for e in entries if e.kind == "forget" and e.seq == cube.position and spaces.get(e.space) == cube.space), None)
    if said is None:
        reasons.append(f"cube {cube.id}: the log has no forget entry at position {cube.position}")
    else:
        if said.get("reason") != reason:
            reasons.append(f"cube {cube.id}: the log gives another reason")
        if said.get("openings") != openings_digest([bytes.fromhex(opening) for opening in cube.openings]):
            reasons.append(f"cube {cube.id}: the openings are not those that were handed out")
    written = [e for e in entries if e.kind in ("add", "update")]
    if said is not None and tuple(said.get("keys", ())) != cube.keys:
        reasons.append(f"cube {cube.id}: the log names other keys")
    if [e.digest.hex() for e in written if e.digest] != list(cube.digests):
        reasons.append(f"cube {cube.id}: the digests are not those of the log")
    if snapshot.standing(key) is not None or snapshot.versions([e.seq for e in written]) or snapshot.children(key):
        reasons.append(f"cube {cube.id}: is still, or again, in the store")
    return reasons

