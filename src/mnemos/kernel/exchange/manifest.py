"""The manifest of an archive: what is in it, where it comes from, and what keeps it honest: counts, bytes and SHA-256 of every other file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from mnemos.base.cube import Json
from mnemos.base.errors import Invalid, shown
from mnemos.base.signing import SignedDocument, SigningKey

ARCHIVE = "archive"
"""The purpose that manifests are signed for."""

FORMAT = "mnemos-archive"
VERSION = 1


@dataclass(frozen=True)
class Payload:
    """A file of an archive. `count` says how many lines (of JSON lines), vectors, or 1 (a blob) it holds."""

    path: str
    sha256: str
    bytes: int
    count: int


@dataclass(frozen=True)
class SpaceEntry:
    """A space of an archive, with its rules, as far as whoever exported it may share them."""

    name: str
    settings: Json
    cubes: int
    versions: int
    forgotten: int


@dataclass(frozen=True)
class Vectors:
    """Vectors of one embedder, in a file of their own: of those versions whose texts are in the archive as they were embedded."""

    fingerprint: str
    dimensions: int
    path: str


@dataclass(frozen=True)
class Manifest:
    """What an archive says of itself.

    `store` and `position`: which store it was taken from, and where its log stood; `head` is the hash there (hex) and `at` the time of that entry
    (microseconds since 1970). `models`: fingerprint → how many cubes of which kinds are of use to that model alone. `lineage`: how many links there
    are by relation, and how many lead to what is not in the archive. `redactions`: what was taken out, as counts by kind; None where nothing was
    to be. `chosen`: whether only a part of the spaces' cubes was asked for.
    """

    store: str
    position: int
    head: str
    at: int
    spaces: tuple[SpaceEntry, ...]
    payloads: tuple[Payload, ...]
    embedders: tuple[Vectors, ...] = ()
    models: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    lineage: Mapping[str, int] = field(default_factory=dict)
    redactions: Mapping[str, Any] | None = None
    chosen: bool = False
    format: str = FORMAT
    version: int = VERSION

    def signed(self, key: SigningKey | None) -> SignedDocument:
        """The manifest as it stands in the archive; without a key it has a checksum only."""
        return SignedDocument.sign(ARCHIVE, asdict(self), key)

    @classmethod
    def of(cls, document: Json) -> Manifest:
        """The manifest that a signed document holds. Raises `Invalid` for anything else."""
        if document.get("format") != FORMAT or document.get("version") != VERSION:
            found = f"{shown(document.get('format'))} {shown(document.get('version'))}"
            raise Invalid(f"manifest: the format {found} is not known; this version reads {FORMAT} {VERSION}")
        known = {f.name for f in fields(cls)}
        if set(document) != known:
            raise Invalid(f"manifest: has the fields {shown(sorted(document), 300)}, where {', '.join(sorted(known))} are known")
        try:
            plain = dict(document)
            spaces = tuple(SpaceEntry(**_typed(entry, SpaceEntry)) for entry in plain.pop("spaces"))
            payloads = tuple(Payload(**_typed(entry, Payload)) for entry in plain.pop("payloads"))
            embedders = tuple(Vectors(**_typed(entry, Vectors)) for entry in plain.pop("embedders"))
        except (TypeError, KeyError, ValueError) as error:
            raise Invalid(f"manifest: cannot be read ({error})") from None
        texts = all(isinstance(plain[name], str) for name in ("store", "head"))
        numbers = all(type(plain[name]) is int and plain[name] >= 0 for name in ("position", "at"))
        tables = all(isinstance(plain[name], Mapping) for name in ("models", "lineage")) and isinstance(plain["redactions"], Mapping | None)
        if not (texts and numbers and tables and isinstance(plain["chosen"], bool)):
            raise Invalid("manifest: a field has another type than it should")
        return cls(spaces=spaces, payloads=payloads, embedders=embedders, **plain)


_TYPES: dict[str, type] = {"str": str, "int": int, "Json": Mapping}


def _typed(entry: Any, kind: Any) -> dict[str, Any]:
    """The fields of an entry, each of the type that its dataclass says. Raises `TypeError`, `ValueError`."""
    wanted = {f.name: _TYPES[str(f.type)] for f in fields(kind)}
    if not isinstance(entry, Mapping) or set(entry) != set(wanted):
        raise ValueError(f"an entry has not the fields {', '.join(wanted)}")
    for name, expected in wanted.items():
        value = entry[name]
        if not isinstance(value, expected) or isinstance(value, bool) or (isinstance(value, int) and value < 0):
            raise TypeError(f"{name} is {shown(value)}")
    return dict(entry)
