"""What two stores or archives have in common, and what not."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

from mnemos.base.cube import Content, State
from mnemos.base.ids import parse_id
from mnemos.base.lineage import ASSOCIATIONS
from mnemos.kernel.exchange.importing import KeyLike, open_archive
from mnemos.kernel.exchange.lines import Told
from mnemos.kernel.exchange.transfer import Line

if TYPE_CHECKING:
    from mnemos.kernel.system import Mnemos


@dataclass(slots=True)
class Figure:
    """One cube, as far as comparing needs it. `versions` and `standing` are digests, oldest first: of what each version says without its links,
    and of each change of standing."""

    space: str
    versions: list[bytes] = field(default_factory=list)
    links: list[frozenset[tuple[UUID, int, str]]] = field(default_factory=list)
    standing: list[bytes] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    """How many versions there were at each change of standing."""
    state: str = State.GENERATED.word
    frozen: bool = False
    acl: Any = None


@dataclass(slots=True)
class Picture:
    """A store or an archive: its spaces' settings, its cubes in the order of their first versions, and what was forgotten."""

    spaces: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    cubes: dict[UUID, Figure] = field(default_factory=dict)
    forgotten: set[UUID] = field(default_factory=set)

    @classmethod
    def of(cls, lines: Iterable[Line], forgotten: Iterable[tuple[UUID, str]]) -> Picture:
        """What the lines of an export say."""
        picture = cls(forgotten={cube for cube, _ in forgotten})
        for line in lines:
            if "settings" in line:
                picture.spaces[line["space"]] = line["settings"]
            elif "record" in line:
                picture._version(line)
            else:
                picture._standing(line)
        return picture

    def _version(self, line: Line) -> None:
        content = Content.from_json(line["record"])
        figure = self.cubes.setdefault(content.id, Figure(line["space"]))
        plain = {name: value for name, value in content.as_json().items() if name != "derived_from"}
        figure.versions.append(hashlib.sha256(orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)).digest())
        figure.links.append(frozenset((link.id, link.version, link.relation) for link in content.derived_from))

    def _standing(self, line: Line) -> None:
        figure = self.cubes[parse_id(line["cube"])]
        figure.standing.append(standing_digest(line))
        figure.held.append(len(figure.versions))
        if "state" in line:
            figure.state = line["state"]
        elif "frozen" in line:
            figure.frozen = bool(line["frozen"])
        elif "acl" in line:
            figure.acl = line["acl"]

    def sources(self, cube: UUID) -> set[UUID]:
        """What any version of a cube was derived from."""
        return {id for links in self.cubes[cube].links for id, _, relation in links if relation not in ASSOCIATIONS}


def standing_digest(line: Line) -> bytes:
    """What stands for a change of standing, whatever its space is called."""
    plain = {name: value for name, value in line.items() if name != "space"}
    return hashlib.sha256(orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)).digest()


def common(a: Figure, b: Figure) -> int:
    """How many versions two cubes have in common, from the first on. Links whose other end stayed behind may lack on one side."""
    count = 0
    for x, y, of_x, of_y in zip(a.versions, b.versions, a.links, b.links, strict=False):
        if x != y or not (of_x <= of_y or of_y <= of_x):
            break
        count += 1
    return count


def common_standing(a: Figure, b: Figure) -> int:
    """How many changes of standing two cubes have in common, from the first on."""
    count = 0
    for x, y in zip(a.standing, b.standing, strict=False):
        if x != y:
            break
        count += 1
    return count


@dataclass(frozen=True)
class Difference:
    """How `b` differs from `a`. Ids of cubes (parts of documents among them) are texts, in the order of their first versions.

    `versions`: cube → (how many both have in common, how many `a` has, how many `b`). `states`, `frozen`, `rules`: cube → (in `a`, in `b`).
    `settings`: space → rule → (in `a`, in `b`). `forgotten_only_a`: forgotten in `a`, there in `b`.
    """

    spaces_only_a: tuple[str, ...]
    spaces_only_b: tuple[str, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    versions: Mapping[str, tuple[int, int, int]]
    moved: Mapping[str, tuple[str, str]]
    states: Mapping[str, tuple[str, str]]
    frozen: Mapping[str, tuple[bool, bool]]
    rules: Mapping[str, tuple[Any, Any]]
    settings: Mapping[str, Mapping[str, tuple[Any, Any]]]
    forgotten_only_a: tuple[str, ...]
    forgotten_only_b: tuple[str, ...]

    def __bool__(self) -> bool:
        """Whether there is any difference."""
        return any(asdict(self).values())

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        plain: dict[str, Any] = orjson.loads(orjson.dumps(asdict(self)))
        return plain


def diff(a: Mnemos | str | Path, b: Mnemos | str | Path, *, spaces: Iterable[str] | None = None, public_key: KeyLike = None) -> Difference:
    """How two memories differ: each an open store, or the path of an archive, which is verified first (with `public_key`, its signature too).

    `spaces` (None: all) are looked at in both. Raises `NotFound`, `Corrupt`, `PermissionDenied`.
    """
    wanted = None if spaces is None else list(spaces)
    one, two = picture(a, wanted, public_key), picture(b, wanted, public_key)
    return compare(one, two)


def picture(source: Mnemos | str | Path, spaces: list[str] | None = None, public_key: KeyLike = None) -> Picture:
    """The picture of a store or an archive."""
    with told(source, spaces, public_key) as (lines, forgotten):
        return Picture.of(lines, forgotten)


@contextmanager
def told(source: Mnemos | str | Path, spaces: list[str] | None, public_key: KeyLike) -> Iterator[tuple[Iterator[Line], Iterator[tuple[UUID, str]]]]:
    """What a store or an archive says: its lines, and what was forgotten in it."""
    from mnemos.kernel.system import Mnemos

    if isinstance(source, Mnemos):
        with source.snapshot() as snapshot:
            view = Told(source, snapshot, spaces)
            yield view.lines(), view.forgotten()
        return
    archive = open_archive(source, public_key)
    wanted = None if spaces is None else set(spaces)
    yield (
        (line for line in archive.lines() if wanted is None or line["space"] in wanted),
        ((cube, space) for cube, space in archive.forgotten() if wanted is None or space in wanted),
    )


def compare(a: Picture, b: Picture) -> Difference:
    """How two pictures differ."""
    both = [(cube, figure, b.cubes[cube]) for cube, figure in a.cubes.items() if cube in b.cubes]
    counts = {str(cube): (common(x, y), len(x.versions), len(y.versions)) for cube, x, y in both}
    settings = {name: _rules(a.spaces[name], b.spaces[name]) for name in a.spaces if name in b.spaces}
    return Difference(
        spaces_only_a=tuple(name for name in a.spaces if name not in b.spaces),
        spaces_only_b=tuple(name for name in b.spaces if name not in a.spaces),
        only_a=tuple(str(cube) for cube in a.cubes if cube not in b.cubes),
        only_b=tuple(str(cube) for cube in b.cubes if cube not in a.cubes),
        versions={cube: numbers for cube, numbers in counts.items() if len(set(numbers)) > 1},
        moved={str(cube): (x.space, y.space) for cube, x, y in both if x.space != y.space},
        states={str(cube): (x.state, y.state) for cube, x, y in both if x.state != y.state},
        frozen={str(cube): (x.frozen, y.frozen) for cube, x, y in both if x.frozen != y.frozen},
        rules={str(cube): (x.acl, y.acl) for cube, x, y in both if x.acl != y.acl},
        settings={name: rules for name, rules in settings.items() if rules},
        forgotten_only_a=tuple(sorted(str(cube) for cube in a.forgotten if cube in b.cubes)),
        forgotten_only_b=tuple(sorted(str(cube) for cube in b.forgotten if cube in a.cubes)),
    )


def _rules(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {name: (a.get(name), b.get(name)) for name in sorted({*a, *b}) if a.get(name) != b.get(name)}
