"""What a step of a pipeline can do. A new kind of step is a function and a line in `STEPS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from mnemos.base import predicate
from mnemos.base.cube import MemCube, check_word
from mnemos.base.errors import Conflict, Invalid, NotFound, shown
from mnemos.base.ids import parse_id
from mnemos.base.lineage import ABSORBS, ASSOCIATIONS, BRANCHED_FROM, MERGED, PART_OF, SUPERSEDES
from mnemos.kernel.lineage import ancestors
from mnemos.kernel.pipelines.values import as_text, refers, rendered, resolved
from mnemos.kernel.reading.conditions import conditions, count
from mnemos.kernel.reading.results import Hit
from mnemos.kernel.reading.viewing import Viewing
from mnemos.kernel.writing.drafts import FIELDS, draft

if TYPE_CHECKING:
    from mnemos.kernel.space import Space
    from mnemos.kernel.system import Mnemos

_SEARCH = ("types", "tags", "author", "source", "since", "until", "valid_at", "as_of", "filter", "stale", "strategy")
_LIST = ("types", "tags", "author", "source", "since", "until", "valid_at", "as_of", "filter", "stale", "states", "parts")
_FORGET = ("types", "tags", "author", "source", "since", "until", "filter")
_WRITTEN = tuple(name for name in FIELDS if name != "id")
_OWN_VERBS = (PART_OF, BRANCHED_FROM, MERGED, ABSORBS, SUPERSEDES)


class Scene:
    """Where the steps of one run act: the store, and the space that is meant where none is named."""

    def __init__(self, system: Mnemos, space: str | None) -> None:
        self.system = system
        self.default = space
        self._spaces: dict[str, Space] = {}

    def space(self, name: Any = None, *, create: bool = False) -> Space:
        """The space called `name`, or the pipeline's own."""
        chosen = self.default if name is None else name
        if chosen is None:
            raise Invalid("space: none is named, by the step or by the pipeline")
        found = self._spaces.get(chosen) if isinstance(chosen, str) else None
        if found is None:
            found = self.system.space(chosen) if create else self.system.existing_space(chosen)
            self._spaces[found.name] = found
        return found

    def cubes(self, value: Any, space: Any = None) -> list[tuple[Space, str]]:
        """(space, id) of each memory that `value` means: a memory, a hit, an id, or a list of them. An id is looked for in `space`."""
        if isinstance(value, (list, tuple)):
            return [pair for item in value for pair in self.cubes(item, space)]
        if isinstance(value, Hit):
            value = value.cube
        if isinstance(value, MemCube):
            return [(self.space(value.space), value.id)]
        return [(self.space(space), str(parse_id(value)))]


@dataclass(frozen=True)
class Step:
    """A kind of step: `run(scene, **arguments)` gives what the step gives. `texts` are arguments in which names stand in braces; `check` looks
    at those arguments that are known beforehand, and raises `Invalid`."""

    run: Callable[..., Any]
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    check: Callable[[Mapping[str, Any]], object] = lambda known: None


# ---- reading --------------------------------------------------------------------------------------------------------


def _retrieve(scene: Scene, query: str, k: int = 10, space: Any = None, min_score: float | None = None, **where: Any) -> list[MemCube]:
    hits = scene.space(space).search(query, k, **where)
    return [hit.cube for hit in hits if min_score is None or hit.score >= min_score]


def _list(scene: Scene, space: Any = None, limit: int = 100, **where: Any) -> list[MemCube]:
    return list(scene.space(space).list(limit=limit, **where))


def _get(scene: Scene, id: Any, space: Any = None, version: int | None = None) -> MemCube:
    found = scene.cubes(id, space)
    if len(found) != 1:
        raise Invalid(f"id: expected one memory, not {len(found)}")
    return found[0][0].get(found[0][1], version)


def _context(scene: Scene, query: str, budget_tokens: int = 1500, space: Any = None, **where: Any) -> str:
    return scene.space(space).context(query, budget_tokens, **where).text


def _augment(scene: Scene, text: str, sources: Any) -> str:
    """The text, and the sources numbered before it, as it goes to a model."""
    numbered = "\n".join(f"[{number}] {as_text(source)}" for number, source in enumerate(_as_list(sources), 1))
    return f"{numbered}\n\n{text}" if numbered else text


# ---- writing --------------------------------------------------------------------------------------------------------


def _add(scene: Scene, text: str, space: Any = None, **fields: Any) -> MemCube:
    return scene.space(space, create=True).add(text, **_with_sources(fields))


def _update(scene: Scene, cube: Any, space: Any = None, **changes: Any) -> Any:
    return _for_each(scene, cube, space, lambda home, id: home.update(id, **_with_sources(changes)))


def _with_sources(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a memory; `derived_from` may be one memory or several."""
    sources = fields.get("derived_from")
    return {**fields} if sources is None else {**fields, "derived_from": [s.cube if isinstance(s, Hit) else s for s in _as_list(sources)]}


def _for_each(scene: Scene, cubes: Any, space: Any, change: Callable[[Space, str], Any]) -> Any:
    """What `change` gives for one memory, or a list of it for several."""
    done = [change(home, id) for home, id in scene.cubes(cubes, space)]
    return done if isinstance(cubes, (list, tuple)) else done[0]


def _verb(name: str) -> Callable[..., Any]:
    """A step that does a verb of `Space` to each memory."""

    def run(scene: Scene, cubes: Any, space: Any = None, **more: Any) -> Any:
        return _for_each(scene, cubes, space, lambda home, id: getattr(home, name)(id, **more))

    return run


def _link(scene: Scene, cube: Any, to: Any, relation: str = "related", space: Any = None) -> list[dict[str, Any]]:
    """Edges from one or more memories to others, in their present versions."""
    system, out = scene.system, []
    with system.writing() as transaction:
        for home, child in scene.cubes(cube, space):
            home.admit("write")
            row = Viewing.of(home, transaction).changeable(parse_id(child))
            for other, parent in scene.cubes(to, space):
                source = parse_id(parent)
                viewing = Viewing(transaction, system.space_row(transaction, other.num), system.access(transaction))
                if not viewing.derivable(source):
                    raise NotFound(f"to: cube {source} is not in space {other.name!r}")
                if relation not in ASSOCIATIONS and row.content.id in ancestors(transaction, source):
                    raise Invalid(f"to: cube {source} comes from cube {child} itself, which would make a circle")
                version = viewing.current(source).content.version
                transaction.link(row.content.id, row.content.version, source, version, relation)
                out.append({"from": child, "to": parent, "version": version, "relation": relation})
    return out


def _merge(scene: Scene, cubes: Any, text: str | None = None, space: Any = None, **fields: Any) -> MemCube:
    home, ids = _of_one_space(scene, cubes, space)
    return home.merge(ids, text, **fields)


def _transform(
    scene: Scene, name: str, cubes: Any, options: Mapping[str, Any] | None = None, fields: Mapping[str, Any] | None = None, space: Any = None
) -> MemCube:
    """What a transformation makes of memories of one space. Raises `Conflict` where it is declined."""
    home, ids = _of_one_space(scene, cubes, space)
    outcome = home.transform(name, ids, fields=fields, **(options or {}))
    if not outcome.accepted or outcome.cube is None:
        raise Conflict(f"the {name} is declined: {'; '.join(outcome.reasons)}")
    return outcome.cube


def _summarise(scene: Scene, cubes: Any, budget: int | None = None, by: str | None = None, space: Any = None, **fields: Any) -> MemCube:
    options = {name: value for name, value in (("budget", budget), ("by", by)) if value is not None}
    return _transform(scene, "summary", cubes, options, {name: value for name, value in fields.items() if value is not None}, space)


def _of_one_space(scene: Scene, cubes: Any, space: Any) -> tuple[Space, list[str]]:
    found = scene.cubes(cubes, space)
    if len({home.num for home, _ in found}) > 1:
        raise Invalid("cubes: they lie in different spaces; give those of one")
    return found[0][0] if found else scene.space(space), [id for _, id in found]


def _supersede(scene: Scene, newer: Any, older: Any, reason: str | None = None, space: Any = None) -> MemCube:
    news, olds = scene.cubes(newer, space), scene.cubes(older, space)
    if len(news) != 1 or len(olds) != 1:
        raise Invalid("supersede: expected one memory that holds, and one that does not any more")
    return news[0][0].supersede(news[0][1], olds[0][1], reason)


def _forget(scene: Scene, cubes: Any = None, reason: str | None = None, space: Any = None, **where: Any) -> list[dict[str, Any]]:
    """Certificates, one for each space."""
    if cubes is None:
        return [scene.space(space).forget(reason=reason, **where).as_json()]
    homes: dict[str, tuple[Space, list[str]]] = {}
    for home, id in scene.cubes(cubes, space):
        homes.setdefault(home.name, (home, []))[1].append(id)
    return [home.forget(ids, reason=reason).as_json() for home, ids in homes.values()]


def _enqueue(scene: Scene, kind: str, key: str = "", payload: Any = None, **how: Any) -> dict[str, Any]:
    return scene.system.jobs.enqueue(kind, key=key, payload=payload, **how).as_json()


# ---- values ---------------------------------------------------------------------------------------------------------


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [] if value is None else [value]


def _facts(value: Any) -> dict[str, Any]:
    """What conditions on a value speak of: the fields of a memory, the keys of a dict; `value` itself, and `count` where it is a list."""
    if isinstance(value, Hit):
        value = value.cube
    if isinstance(value, MemCube):
        return {**value.as_json(), "value": value.text}
    return {**(value if isinstance(value, Mapping) else {}), "value": value, **({"count": len(value)} if isinstance(value, (list, tuple)) else {})}


def _filter(scene: Scene, items: Any, where: Any) -> list[Any]:
    condition = predicate.checked(where)
    return [item for item in _as_list(items) if predicate.matches(_facts(item), condition)]


def _assert(scene: Scene, that: Any, where: Any, message: str | None = None) -> Any:
    if not predicate.matches(_facts(that), predicate.checked(where)):
        raise Conflict(message or f"what was expected does not hold: {shown(where, 200)}")
    return that


def _unique(value: Any) -> list[Any]:
    """Each once, by id where it is a memory, in the order in which they came."""
    return list({getattr(item, "id", None) or shown(item, 10_000): item for item in _as_list(value)}.values())


def _id(value: Any) -> str:
    if isinstance(value, Hit):
        value = value.cube
    if not isinstance(value, MemCube):
        raise Invalid(f"value: expected memories, not {shown(value)}")
    return value.id


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "texts": lambda value: [as_text(item) for item in _as_list(value)],
    "lines": as_text,
    "ids": lambda value: [_id(item) for item in _as_list(value)],
    "count": lambda value: len(_as_list(value)),
    "first": lambda value: next(iter(_as_list(value)), None),
    "last": lambda value: next(iter(reversed(_as_list(value))), None),
    "reversed": lambda value: _as_list(value)[::-1],
    "unique": _unique,
}
"""The pure functions that a `map` step names. A program that runs its own pipelines may give a function instead of a name."""


def _map(scene: Scene, value: Any, function: Any) -> Any:
    return (function if callable(function) else FUNCTIONS[function])(value)


# ---- what is known beforehand ---------------------------------------------------------------------------------------


def _check_fields(known: Mapping[str, Any]) -> None:
    fields = _with_sources({name: value for name, value in known.items() if name in _WRITTEN})
    draft("text", fields, 0, lambda: UUID(int=0))


def _check_where(known: Mapping[str, Any]) -> None:
    conditions(**{name: known[name] for name in _LIST if name in known and name not in ("as_of", "parts")})
    for name in ("k", "limit", "budget_tokens"):
        if name in known:
            count(known[name], name)
    least = known.get("min_score")
    if least is not None and (isinstance(least, bool) or not isinstance(least, (int, float))):
        raise Invalid(f"min_score: expected a number, not {shown(least)}")


def _check_condition(known: Mapping[str, Any]) -> None:
    if "where" in known:
        predicate.checked(known["where"])


def _check_function(known: Mapping[str, Any]) -> None:
    function = known.get("function", "texts")
    if not callable(function) and (not isinstance(function, str) or function not in FUNCTIONS):
        raise Invalid(f"function: there is none called {shown(function)}; there are {', '.join(FUNCTIONS)}")


def _check_transformation(known: Mapping[str, Any]) -> None:
    from mnemos.kernel.transforms.transform import TRANSFORMATIONS  # only where it is needed: it reads word lists

    if "name" in known:
        TRANSFORMATIONS.find(known["name"])
    for name in ("options", "fields"):
        if not isinstance(known.get(name) or {}, Mapping):
            raise Invalid(f"{name}: expected an object, not {shown(known[name])}")
    if own := sorted({"name", "ids", "fields"} & set(known.get("options") or {})):
        raise Invalid(f"options: {own[0]!r} is an argument of the step itself")
    _check_fields(known.get("fields") or {})


def _check_relation(known: Mapping[str, Any]) -> None:
    relation = check_word(known.get("relation", "related"), "relation")
    if not relation or relation in _OWN_VERBS:
        raise Invalid(f"relation: {shown(relation)} is made by a verb of its own, not by a link; use another word, such as 'related'")


_OF_SPACE = ("space", "reason")
STEPS: dict[str, Step] = {
    "retrieve": Step(_retrieve, ("query",), ("space", "k", "min_score", *_SEARCH), ("query",), _check_where),
    "list": Step(_list, (), ("space", "limit", *_LIST), (), _check_where),
    "get": Step(_get, ("id",), ("space", "version")),
    "context": Step(_context, ("query",), ("space", "budget_tokens", *_SEARCH), ("query",), _check_where),
    "augment": Step(_augment, ("text", "sources"), (), ("text",)),
    "add": Step(_add, ("text",), ("space", *FIELDS), ("text",), _check_fields),
    "update": Step(_update, ("cube",), ("space", "text", "if_version", *_WRITTEN), ("text",), _check_fields),
    "link": Step(_link, ("cube", "to"), ("relation", "space"), (), _check_relation),
    "merge": Step(_merge, ("cubes",), ("space", "text", *_WRITTEN), ("text",), _check_fields),
    "transform": Step(_transform, ("name", "cubes"), ("options", "fields", "space"), (), _check_transformation),
    "summarise": Step(_summarise, ("cubes",), ("budget", "by", "space", *_WRITTEN), (), _check_fields),
    "supersede": Step(_supersede, ("newer", "older"), _OF_SPACE),
    **{name: Step(_verb(name), ("cubes",), _OF_SPACE) for name in ("archive", "restore", "quarantine", "release")},
    **{name: Step(_verb(name), ("cubes",), ("space",)) for name in ("freeze", "unfreeze")},
    "forget": Step(_forget, (), ("cubes", *_OF_SPACE, *_FORGET), (), _check_where),
    "filter": Step(_filter, ("items", "where"), (), (), _check_condition),
    "map": Step(_map, ("value", "function"), (), (), _check_function),
    "assert": Step(_assert, ("that", "where"), ("message",), ("message",), _check_condition),
    "enqueue": Step(_enqueue, ("kind",), ("key", "payload", "priority", "run_at", "every")),
}
"""The kinds of steps, by the name that a pipeline calls them."""


def known_arguments(arguments: Mapping[str, Any], texts: Sequence[str]) -> dict[str, Any]:
    """Those arguments that do not depend on what earlier steps give."""
    return {name: value for name, value in arguments.items() if name not in texts and not refers(value)}


def done(step: Step, scene: Scene, arguments: Mapping[str, Any], state: Mapping[str, Any]) -> Any:
    """What a step gives, with everything that its arguments refer to in its place, and checked there."""
    filled = {name: rendered(value, state) if name in step.texts else resolved(value, state) for name, value in arguments.items()}
    step.check({name: value for name, value in filled.items() if name not in step.texts})
    return step.run(scene, **filled)
