"""Transforming memories: make one from others, check it at its gates, and accept or decline it; make it again when its sources have changed.

What was accepted carries its recipe (`metadata["transformation"]`): name, options, the conditions its sources were chosen by, what its gates
found, and what it cost. What was declined leaves a `setting` entry in the log, with the ids of the sources and the gates that did not hold.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from mnemos.base.clock import optional_datetime
from mnemos.base.cube import Content, Link, MemCube, State, plain_json
from mnemos.base.errors import Invalid, NotFound, shown
from mnemos.base.ids import parse_id
from mnemos.base.lineage import ABSORBS, MERGED
from mnemos.kernel.life import lifecycle
from mnemos.kernel.reading.viewing import Viewing
from mnemos.kernel.rights.governance import LABELS, label_level
from mnemos.kernel.transforms import texts
from mnemos.kernel.transforms.gates import Checked, Product, Source, Trial
from mnemos.kernel.transforms.transformation import Transformation, Transformations
from mnemos.kernel.writing import writes
from mnemos.store.base import Snapshot, VersionRow

if TYPE_CHECKING:
    from mnemos.kernel.space import Space
    from mnemos.kernel.system import Mnemos

RECIPE = "transformation"
"""The key of `metadata` under which a product keeps how it was made."""
MOST_SOURCES = 10_000
TRANSFORMATIONS = Transformations((texts.SUMMARY, texts.MERGE, texts.PROFILE))
"""The transformations of every open store. A tier registers its own."""
_CONDITIONS = ("types", "tags", "author", "source", "since", "until", "valid_at", "filter")


@dataclass(frozen=True, slots=True)
class Spent:
    """What a transformation took."""

    seconds: float
    bytes_in: int
    bytes_out: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether a transformation was accepted, and why. `cube` is the product, or, where a new one was declined or none was needed, what was
    there before; None where there is nothing."""

    name: str
    accepted: bool
    changed: bool
    """Whether something was written."""
    cube: MemCube | None
    gates: tuple[Checked, ...]
    spent: Spent

    @property
    def reasons(self) -> list[str]:
        """Why it was declined."""
        return [f"{one.gate}: {one.why}" for one in self.gates if not one.held]

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name, "accepted": self.accepted, "changed": self.changed, "cube": self.cube.as_json() if self.cube else None,
            "gates": [{**one.kept(), **({"why": one.why} if one.why else {})} for one in self.gates], "reasons": self.reasons,
            "seconds": self.spent.seconds, "bytes_in": self.spent.bytes_in, "bytes_out": self.spent.bytes_out,
        }  # fmt: skip


def transform(
    space: Space,
    name: str,
    ids: Iterable[str | UUID] | str | UUID | None = None,
    *,
    where: Mapping[str, Any] | None = None,
    fields: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Outcome:
    """Make one memory from those given by `ids`, or chosen by `where` (conditions of `Space.list`); what transformations made is not chosen.

    `fields` are keywords of `Space.add` for the product; `options` those of the transformation, and `gates`: {gate: bound}. Raises `NotFound`,
    `Invalid`, `PermissionDenied` (it takes the rights to write, and to derive from each source), `ModelUnavailable`.
    """
    transformation = TRANSFORMATIONS.find(name)
    chosen, given = _checked_options(transformation, options), dict(fields or {})
    space.admit("write")
    space.admit("read", counted=False)
    if (ids is None) is (not where):
        raise Invalid("transform: say what to transform, by ids or by conditions (one of them)")
    if where is not None and where.keys() - set(_CONDITIONS):
        raise Invalid(f"transform: unknown condition {sorted(where.keys() - set(_CONDITIONS))[0]!r}; known are {', '.join(_CONDITIONS)}")
    cubes = _selected(space, where) if ids is None else [parse_id(id) for id in ([ids] if isinstance(ids, (str, UUID)) else ids)]
    with space.system.snapshot() as snapshot:
        sources = _sources(space, snapshot, list(dict.fromkeys(cubes)))
    if len(sources) < transformation.fewest:
        raise Invalid(f"{name}: takes {transformation.fewest} or more memories, {len(sources)} are chosen")
    for source in sources:
        if source.content.blob is not None and source.content.kind != transformation.source_kind:
            kind, wanted = source.content.kind, transformation.source_kind
            raise Invalid(f"{name}: cube {source.content.id} is of kind {kind!r}; it takes those of kind {wanted!r}")
    made = _made(space.system, transformation, sources, chosen, given)
    if not made.held:
        return _declined(space, transformation, sources, made, None)
    recipe = _recipe(transformation, chosen, where, made)
    cube = _write(space, transformation, sources, made.product, recipe)
    return Outcome(name, True, True, cube, made.gates, made.spent)


def rederive(space: Space, id: str | UUID, *, force: bool = False) -> Outcome:
    """Make a product of a transformation again, by its recipe, from its sources as they are now: its next version. Nothing is written where it
    is not stale (without `force`), or where a gate does not hold; doing it twice is the same as once.

    Raises `NotFound`, `Invalid` (it was not made by a transformation), `Frozen`, `Conflict`, `PermissionDenied`.
    """
    space.admit("write")
    space.admit("read", counted=False)
    cube = parse_id(id)
    with space.system.snapshot() as snapshot:
        viewing = Viewing.of(space, snapshot)
        row = viewing.changeable(cube)
        recipe = _recipe_of(row)
        transformation = TRANSFORMATIONS.find(recipe["name"])
        links = [link for link in row.content.derived_from if link.relation == transformation.relation]
        known = [link.id for link in links]
        wanted = known if not recipe.get("where") else _selected(space, recipe["where"])
        if transformation.absorbs:  # what it has absorbed is in no selection
            wanted = list(dict.fromkeys([*known, *wanted]))
        if row.stale is None and not force and set(known) == set(wanted):
            return Outcome(transformation.name, True, False, viewing.cube(row), (), Spent(0.0, 0, 0))
        sources = _sources(space, snapshot, [one for one in wanted if one != cube])
    own = {name: row.content.metadata[name] for name in row.content.metadata if name != RECIPE}
    made = _made(space.system, transformation, sources, recipe["options"], {"metadata": own} if own else {})
    if len(sources) < transformation.fewest:
        enough = Checked("enough sources", False, float(len(sources)), float(transformation.fewest), "too few of its sources are left")
        made = replace(made, gates=(*made.gates, enough))
    if not made.held:
        return _declined(space, transformation, sources, made, space.get(cube))
    written = _revise(space, transformation, row, sources, made.product, _recipe(transformation, recipe["options"], recipe.get("where"), made))
    return Outcome(transformation.name, True, True, written, made.gates, made.spent)


def rederive_stale(system: Mnemos, spaces: Iterable[str] | None = None, limit: int = 1000) -> list[Outcome]:
    """Make again what transformations made of something that has changed since, in the spaces that may be written (a job calls this). At most
    `limit` products; those that depend on others of them after these. What cannot be made again stays stale, and is in the result as declined."""
    out: list[Outcome] = []
    tried: set[tuple[str, int]] = set()
    names = list(system.spaces() if spaces is None else spaces)
    while True:
        before = len(out)
        for name in names:
            space = system.existing_space(name)
            while len(out) < limit:
                products = space.list(stale=True, filter={RECIPE: {"exists": True}}, limit=1000)
                stale = [c for c in products if c.kind == "text" and (c.id, c.version) not in tried]  # other kinds their tier makes anew
                waiting = {cube.id for cube in stale}
                ready = [cube for cube in stale if not {str(link.id) for link in cube.derived_from} & waiting] or stale[:1]
                if not ready:
                    break
                for cube in ready[: limit - len(out)]:
                    tried.add((cube.id, cube.version))
                    out.append(rederive(space, cube.id))
        if len(out) in (before, limit):  # what was made again may have outdated products in a space that was looked at before
            return out


def demote(space: Space, id: str | UUID, reason: str | None = None) -> MemCube:
    """Let go of a product: it goes to the archive, and what had been merged into it is in use again. The texts that it was made of stay.

    Raises `NotFound`, `Invalid` (it was not made by a transformation), `Frozen`, `Conflict`, `PermissionDenied`.
    """
    cube = parse_id(id)
    space.admit("write")
    with space.system.snapshot() as snapshot:
        row = Viewing.of(space, snapshot).changeable(cube)
        _recipe_of(row)
        merged = [edge.parent for edge in snapshot.derivations(cube) if edge.child == cube and edge.relation in (MERGED, ABSORBS)]
        held = {one: snapshot.standing(one) for one in merged}
    with space.system.transaction():
        for one, standing in held.items():
            if standing is not None and standing.state is State.MERGED and not standing.frozen:
                lifecycle.restore(space, one, None)
        return lifecycle.archive(space, cube, reason)


# ---- choosing and reading the sources -------------------------------------------------------------------------------


def _checked_options(transformation: Transformation, options: Mapping[str, Any] | None) -> dict[str, Any]:
    chosen: dict[str, Any] = plain_json(dict(options or {}), "options")
    unknown = chosen.keys() - {*transformation.options, "gates", "reuse"}
    if unknown:
        known = ", ".join((*transformation.options, "gates"))
        raise Invalid(f"{transformation.name}: unknown option {sorted(unknown)[0]!r}; known are {known}")
    bounds = chosen.get("gates", {})
    names = {gate.name for gate in (*transformation.before, *transformation.after)}
    if not isinstance(bounds, dict) or not bounds.keys() <= names:
        raise Invalid(f"{transformation.name}: gates: expected a dict of bounds; there are {', '.join(sorted(names))}")
    if any(isinstance(bound, bool) or not isinstance(bound, (int, float)) for bound in bounds.values()):
        raise Invalid(f"{transformation.name}: gates: each bound is a number")
    budget = chosen.get("budget")
    if budget is not None and (isinstance(budget, bool) or not isinstance(budget, int) or budget < 1):
        raise Invalid(f"{transformation.name}: budget: expected a number of tokens, 1 or more, not {shown(budget)}")
    return chosen


def _selected(space: Space, where: Mapping[str, Any] | None) -> list[UUID]:
    """The memories that conditions choose, without what transformations made: or a summary would be summarised with what it stands for."""
    conditions = dict(where or {})
    own = {"not": {RECIPE: {"exists": True}}}
    given = conditions.pop("filter", None)
    conditions["filter"] = own if given is None else {"all": [given, own]}
    out: list[UUID] = []
    cursor: str | None = None
    while True:
        page = space.list(limit=1000, cursor=cursor, **conditions)
        out += [parse_id(cube.id) for cube in page]
        if len(out) > MOST_SOURCES:
            raise Invalid(f"transform: more than {MOST_SOURCES:,} memories are chosen; choose fewer, or transform them in portions")
        cursor = page.cursor
        if cursor is None:
            return out


def _sources(space: Space, snapshot: Snapshot, cubes: Sequence[UUID]) -> list[Source]:
    """The present versions of memories that the caller may derive from. Raises `NotFound`."""
    viewing = Viewing.of(space, snapshot)
    out = []
    for cube in cubes:
        row = viewing.current(cube)
        if not viewing.derivable(cube):
            raise NotFound(f"cube {cube} is not in space {space.name!r}, or may not be derived from")
        out.append(Source(row.content, viewing.text(row), row.state, row.stale is not None, row.acl))
    return out


# ---- making and writing ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Made:
    product: Product
    gates: tuple[Checked, ...]
    spent: Spent

    @property
    def held(self) -> bool:
        return all(one.held for one in self.gates)


def _made(
    system: Mnemos, transformation: Transformation, sources: Sequence[Source], options: Mapping[str, Any], fields: Mapping[str, Any]
) -> _Made:
    """Make the product where the sources pass their gates, give it what it inherits, and look at it at the gates of products."""
    start = time.perf_counter()
    size = sum(len(source.text.encode()) for source in sources)
    before = [gate.look(Trial(sources, Product(), options)) for gate in transformation.before]
    if not all(one.held for one in before) or not sources:
        return _Made(Product(), tuple(before), Spent(time.perf_counter() - start, size, 0))
    product = transformation.make(system, sources, options)
    product = replace(product, fields={**_inherited([source.content for source in sources]), **product.fields, **fields})
    after = [gate.look(Trial(sources, product, options)) for gate in transformation.after]
    return _Made(product, (*before, *after), Spent(time.perf_counter() - start, size, product.size))


def _inherited(contents: Sequence[Content]) -> dict[str, Any]:
    """What a product has of its sources: what all have in common, the highest label and priority, the newest event, the first end."""
    first = contents[0]
    level = max(label_level(content.sensitivity) for content in contents)
    events = [content.event_at for content in contents if content.event_at is not None]
    ends = [content.expires_at for content in contents if content.expires_at is not None]
    priorities = [content.priority for content in contents if content.priority is not None]
    out: dict[str, Any] = {
        "author": first.author if all(content.author == first.author for content in contents) else None,
        "place": first.place if all(content.place == first.place for content in contents) else None,
        "sensitivity": LABELS[level] if level else None,
        "priority": max(priorities, default=None),
        "event_at": optional_datetime(max(events, default=None)),
        "expires_at": optional_datetime(min(ends, default=None)),
        "tags": [tag for tag in first.tags if all(tag in content.tags for content in contents)],
        "origin": "inference",
    }
    return {name: value for name, value in out.items() if value not in (None, [])}


def _recipe(transformation: Transformation, options: Mapping[str, Any], where: Mapping[str, Any] | None, made: _Made) -> dict[str, Any]:
    recipe: dict[str, Any] = {
        "name": transformation.name, "options": dict(options), "gates": [one.kept() for one in made.gates],
        "seconds": round(made.spent.seconds, 6), "bytes_in": made.spent.bytes_in, "bytes_out": made.spent.bytes_out,
    }  # fmt: skip
    if where:
        recipe["where"] = plain_json({name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in where.items()}, "where")
    return recipe


def _recipe_of(row: VersionRow) -> Mapping[str, Any]:
    recipe = row.content.metadata.get(RECIPE)
    if not isinstance(recipe, Mapping) or "name" not in recipe:
        raise Invalid(f"cube {row.content.id} was not made by a transformation; correct it with `update`")
    return {"options": {}, **recipe}


def _links(transformation: Transformation, sources: Sequence[Source]) -> list[Link]:
    return [Link(source.content.id, source.content.version, transformation.relation) for source in sources]


def _write(space: Space, transformation: Transformation, sources: Sequence[Source], product: Product, recipe: Mapping[str, Any]) -> MemCube:
    """Store an accepted product."""
    fields = {**product.fields, "metadata": {**product.fields.get("metadata", {}), RECIPE: recipe}}
    if product.kind != "text":
        if transformation.write is None:
            raise Invalid(f"{transformation.name}: makes {product.kind!r} and does not say how it is stored")
        return transformation.write(space, product, {**fields, "derived_from": _links(transformation, sources)})
    assert product.text is not None
    acl = sources[0].acl
    if transformation.absorbs:
        return lifecycle.merge(space, [source.content.id for source in sources], product.text, fields)
    if acl is None:
        return writes.add(space, product.text, {**fields, "derived_from": _links(transformation, sources)})
    with space.system.transaction():
        cube = writes.add(space, product.text, {**fields, "derived_from": _links(transformation, sources)})
        return lifecycle.set_acl(space, parse_id(cube.id), acl)


def _revise(
    space: Space, transformation: Transformation, row: VersionRow, sources: Sequence[Source], product: Product, recipe: Mapping[str, Any]
) -> MemCube:
    """The next version of a product: what it says and what protects it; type, tags and what else was given to it stay. Sources that it absorbs
    and that were in use again (they were corrected) are merged into it again."""
    if product.kind != "text":
        raise Invalid(f"{transformation.name}: products of kind {product.kind!r} are made anew by the tier that holds them")
    kept = tuple(link for link in row.content.derived_from if link.relation != transformation.relation)
    level = max(label_level(row.content.sensitivity), label_level(product.fields.get("sensitivity")))
    ends = [end for end in (optional_datetime(row.content.expires_at), product.fields.get("expires_at")) if end is not None]
    fields: dict[str, Any] = {
        **{name: product.fields[name] for name in ("event_at", "entities") if name in product.fields},
        "text": product.text, "metadata": {**product.fields.get("metadata", {}), RECIPE: recipe},
        "sensitivity": LABELS[level] if level else None, "expires_at": min(ends, default=None),
        "derived_from": [*_links(transformation, sources), *kept], "if_version": row.content.version,
    }  # fmt: skip
    if not transformation.absorbs:
        return writes.revise(space, row.content.id, fields)
    with space.system.transaction():
        with space.system.writing() as transaction:
            for source in sources:
                standing = transaction.standing(source.content.id)
                if standing is not None and standing.state in lifecycle.VISIBLE:
                    lifecycle.move(transaction, standing, State.MERGED, {"into": str(row.content.id)})
        return writes.revise(space, row.content.id, fields)


def _declined(space: Space, transformation: Transformation, sources: Sequence[Source], made: _Made, cube: MemCube | None) -> Outcome:
    """Note that a transformation was declined, in the log: with ids and numbers, and no word of any memory."""
    record = {
        "name": transformation.name, "space": space.num, "sources": [str(source.content.id) for source in sources[:100]],
        "cube": cube.id if cube else None, "gates": [one.kept() for one in made.gates if not one.held], "at": space.system.clock(),
    }  # fmt: skip
    with space.system.writing() as transaction:
        space.settings_for(transaction, "write")
        transaction.set_setting(f"declined/{space.num}", record)
    return Outcome(transformation.name, False, False, cube, made.gates, made.spent)


def last_declined(space: Space) -> dict[str, Any] | None:
    """The newest decision in a space not to accept a transformation; the log keeps all of them as `setting` entries. None where there is none."""
    space.admit("read")
    with space.system.snapshot() as snapshot:
        found: dict[str, Any] | None = snapshot.setting(f"declined/{space.num}")
    return found

