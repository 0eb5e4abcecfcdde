"""Types of concepts: annotations as a tree, which fits which, and the table of types that annotations declare (`Name := definition`).

ArcMemo (arXiv 2509.04439, section 3): typings are annotation-like and may be higher-order; new types are declared inline.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mnemos.base.errors import Invalid, shown

_DECLARED = re.compile(r"\b([A-Za-z_]\w*)[ \t]*:=[ \t]*([^\n;]+?)[ \t]*(?=[;\n]|,[ \t]*[A-Za-z_]\w*[ \t]*:=|$)")
_TOKENS = re.compile(r"\s*(?:(->|[\[\],|()])|([A-Za-z_][\w.]*))")
_PARAMETERS = "[]"
"""Name of the node that holds the parameters of a callable."""
_SAME = {"List": "list", "Tuple": "tuple", "Dict": "dict", "Set": "set", "Optional": "Optional", "typing.Callable": "Callable"}
MOST_NESTED = 20


@dataclass(frozen=True, slots=True)
class Type:
    """A type: a name, and what stands in its brackets. A callable is `Callable` of its parameters (a node named "[]") and its result."""

    name: str
    args: tuple[Type, ...] = ()

    @property
    def callable(self) -> bool:
        return self.name == "Callable" and len(self.args) == 2 and self.args[0].name == _PARAMETERS

    @property
    def variable(self) -> bool:
        """Whether it stands for any type: one capital letter."""
        return not self.args and len(self.name) == 1 and self.name.isupper()

    @property
    def parameters(self) -> tuple[Type, ...]:
        """Of a callable: what it takes."""
        return self.args[0].args if self.callable else ()

    @property
    def result(self) -> Type:
        """Of a callable: what it gives; else the type itself."""
        return self.args[1] if self.callable else self

    def __str__(self) -> str:
        if self.callable:
            return f"Callable[[{', '.join(map(str, self.parameters))}], {self.result}]"
        if self.name == "|":
            return " | ".join(map(str, self.args))
        return f"{self.name}[{', '.join(map(str, self.args))}]" if self.args else self.name


def function(parameters: Iterable[Type], result: Type) -> Type:
    """The type of a callable."""
    return Type("Callable", (Type(_PARAMETERS, tuple(parameters)), result))


def parse_type(text: str) -> Type:
    """The type that an annotation writes: `Grid`, `list[Object]`, `Callable[[Grid], Grid]`, `(Grid, Colour) -> Grid`, `int | None`.

    Of an annotation that also declares (`Object := list[Cell]`) it is the name. Raises `Invalid`.
    """
    declared = _DECLARED.match(text.strip())
    if declared:
        return Type(declared[1])
    reader = _Reader(text)
    found = reader.union(0)
    if reader.here() is not None:
        raise Invalid(f"type: {shown(text)} goes on after {str(found)!r}; write it as an annotation, such as Callable[[Grid], Grid]")
    return found


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[str] = []
        at = 0
        text = text.rstrip()
        while at < len(text):
            match = _TOKENS.match(text, at)
            if match is None:
                raise Invalid(f"type: {shown(text)} cannot be read from character {at + 1} on; write it as an annotation, such as list[Object]")
            self.tokens.append(match[1] or match[2])
            at = match.end()
        self.at = 0

    def here(self) -> str | None:
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def _take(self, token: str) -> bool:
        if self.here() == token:
            self.at += 1
            return True
        return False

    def _need(self, token: str) -> None:
        if not self._take(token):
            raise Invalid(f"type: {shown(self.text)} lacks {token!r}")

    def union(self, depth: int) -> Type:
        if depth > MOST_NESTED:
            raise Invalid(f"type: {shown(self.text)} is nested more than {MOST_NESTED} deep")
        parts = [self._one(depth)]
        while self._take("|"):
            parts.append(self._one(depth))
        return parts[0] if len(parts) == 1 else Type("|", tuple(parts))

    def _one(self, depth: int) -> Type:
        if self._take("("):
            inside = self._list(")", depth)
            if self._take("->"):
                return function(inside, self.union(depth + 1))
            if len(inside) != 1:
                raise Invalid(f"type: {shown(self.text)} has brackets around {len(inside)} types; write tuple[…], or (…) -> …")
            return inside[0]
        name = self.here()
        if name is None or not (name[0].isalpha() or name[0] == "_"):
            raise Invalid(f"type: {shown(self.text)} lacks the name of a type")
        self.at += 1
        name = _SAME.get(name, name)
        if not self._take("["):
            return Type(name)
        if name == "Callable" and self._take("["):
            parameters = self._list("]", depth)
            self._need(",")
            made = function(parameters, self.union(depth + 1))
            self._need("]")
            return made
        return Type(name, tuple(self._list("]", depth)))

    def _list(self, closing: str, depth: int) -> list[Type]:
        out: list[Type] = []
        if self._take(closing):
            return out
        while True:
            out.append(self.union(depth + 1))
            if self._take(closing):
                return out
            self._need(",")


def fits(given: Type, wanted: Type, bound: dict[str, Type] | None = None) -> bool:
    """Whether what has type `given` may stand where `wanted` is asked for; type variables of either are bound in `bound` as they are met."""
    bound = {} if bound is None else bound
    if wanted.variable:
        if wanted.name in bound and bound[wanted.name] != wanted:
            return fits(given, bound[wanted.name], bound)
        bound[wanted.name] = given
        return True
    if given.variable:
        return fits(wanted, given, bound)
    if wanted.name == "|":
        return any(fits(given, one, bound) for one in wanted.args)
    if wanted.name == "Any" or given.name == "Any":
        return True
    if given.name != wanted.name or (given.args and wanted.args and len(given.args) != len(wanted.args)):
        return False
    return all(fits(one, other, bound) for one, other in zip(given.args, wanted.args, strict=False))


def declarations(text: str) -> list[tuple[str, str]]:
    """The types that an annotation declares, each with its definition."""
    return [(match[1], match[2].rstrip(" ,")) for match in _DECLARED.finditer(text)]


class TypeTable:
    """Types by name, as typings declared them. The first declaration of a name holds; others of it are kept beside it."""

    def __init__(self, declared: Mapping[str, Iterable[str]] | None = None) -> None:
        self._declared: dict[str, list[str]] = {name: list(ones) for name, ones in (declared or {}).items()}

    def __contains__(self, name: object) -> bool:
        return name in self._declared

    def __len__(self) -> int:
        return len(self._declared)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TypeTable) and self._declared == other._declared

    __hash__ = None  # type: ignore[assignment]

    def harvest(self, *typings: str | None) -> None:
        """Take in what these typings declare."""
        for typing in typings:
            for name, definition in declarations(typing or ""):
                known = self._declared.setdefault(name, [])
                if definition not in known:
                    known.append(definition)

    def definition(self, name: str) -> str | None:
        """How a type was declared; None where it never was."""
        known = self._declared.get(name)
        return known[0] if known else None

    def others(self, name: str) -> list[str]:
        """Later declarations of the same name that say something else."""
        return self._declared.get(name, [])[1:]

    def names(self) -> list[str]:
        return sorted(self._declared)

    def as_json(self) -> dict[str, list[str]]:
        return {name: list(ones) for name, ones in self._declared.items()}
