"""Programs as typed terms: routines applied to the input, to constants, and to functions; read, written, typed and run.

Nothing in a term can do more than the routines of its library: running one needs no sandbox. Steps and sizes are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import orjson

from mnemos.base.errors import Invalid, NotFound, shown
from mnemos.text.concepts.types import Type, fits, function

INPUT, IT = "x", "it"
"""The variable that holds a problem's input, and the one of a function's body."""
MOST_STEPS = 20_000
"""Applications within one run of a term."""
DEEPEST = 60
_TOKEN = re.compile(r'\s*(=>|[(),]|([A-Za-z_][\w]*):("(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?|true|false)|[^\s(),=:"]+)')


class Failed(Exception):
    """A term has no value for this input: a routine does not apply, a value is too large, or it takes too many steps."""


@dataclass(frozen=True)
class Term:
    """A node: a variable, a constant of a type, a function of one parameter (`it`), or a routine with its arguments."""

    op: str
    args: tuple[Term, ...] = ()
    kind: str = "call"
    """`call`, `variable`, `constant` or `function`."""
    value: Any = None
    """Of a constant; of plain JSON."""

    def __str__(self) -> str:
        if self.kind == "variable":
            return self.op
        if self.kind == "constant":
            return f"{self.op}:{orjson.dumps(self.value).decode()}"
        if self.kind == "function":
            return f"it => {self.args[0]}"
        return f"{self.op}({', '.join(map(str, self.args))})"

    @cached_property
    def size(self) -> int:
        """Nodes, but for the marks of functions."""
        return (self.kind != "function") + sum(one.size for one in self.args)

    @cached_property
    def _hash(self) -> int:
        return hash((self.op, self.args, self.kind, str(self.value)))

    def __hash__(self) -> int:
        return self._hash

    def subterms(self) -> Iterator[Term]:
        """This term and all within it, outermost first."""
        yield self
        for one in self.args:
            yield from one.subterms()

    def routines(self) -> list[str]:
        """The names of the routines that it applies, each once, outermost first."""
        return list(dict.fromkeys(one.op for one in self.subterms() if one.kind == "call"))

    def free(self) -> list[str]:
        """Variables that no function within binds, in the order of their first use."""
        out: list[str] = []
        for one in self.args:
            out += [name for name in one.free() if not (self.kind == "function" and name == IT)]
        return [self.op] if self.kind == "variable" else list(dict.fromkeys(out))

    def put(self, values: Mapping[str, Term]) -> Term:
        """With terms in the place of variables."""
        if self.kind == "variable":
            return values.get(self.op, self)
        inner = {name: one for name, one in values.items() if name != IT} if self.kind == "function" else values
        return Term(self.op, tuple(one.put(inner) for one in self.args), self.kind, self.value) if self.args else self


def variable(name: str) -> Term:
    return Term(name, kind="variable")


def constant(type: str, value: Any) -> Term:
    return Term(type, kind="constant", value=value)


def function_of(body: Term) -> Term:
    return Term("=>", (body,), "function")


def read_term(text: str) -> Term:
    """The term that `str` of one wrote: `flip(crop(x))`, `recolour(x, Colour:3)`, `each(x, it => flip(it))`. Raises `Invalid`."""
    tokens, at = [], 0
    text = text.strip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.end() == at:
            raise Invalid(f"term: {shown(text)} cannot be read from character {at + 1} on")
        tokens.append(match)
        at = match.end()
    reader = _Reader(text, tokens)
    term = reader.term(0)
    if reader.at != len(tokens):
        raise Invalid(f"term: {shown(text)} goes on after {shown(str(term))}")
    return term


class _Reader:
    def __init__(self, text: str, tokens: Sequence[re.Match[str]]) -> None:
        self.text, self.tokens, self.at = text, tokens, 0

    def _take(self, token: str) -> bool:
        if self.at < len(self.tokens) and self.tokens[self.at][1] == token:
            self.at += 1
            return True
        return False

    def term(self, depth: int) -> Term:
        if self.at >= len(self.tokens) or depth > DEEPEST:
            raise Invalid(f"term: {shown(self.text)} ends too early, or is nested more than {DEEPEST} deep")
        match = self.tokens[self.at]
        self.at += 1
        if match[2] is not None:
            return constant(match[2], orjson.loads(match[3]))
        name = match[1]
        if name in ("(", ")", ",", "=>"):
            raise Invalid(f"term: {shown(self.text)} has {name!r} where a name is needed")
        if name == IT and self._take("=>"):
            return function_of(self.term(depth + 1))
        if not self._take("("):
            return variable(name)
        args = []
        while not self._take(")"):
            args.append(self.term(depth + 1))
            if not self._take(",") and not (self.at < len(self.tokens) and self.tokens[self.at][1] == ")"):
                raise Invalid(f"term: {shown(self.text)} lacks a bracket or a comma")
        return Term(name, tuple(args))


@dataclass(frozen=True)
class Routine:
    """What terms are made of: a primitive (`run`, which raises `Failed` where it does not apply) or a concept with a body over `parameters`."""

    name: str
    parameters: tuple[tuple[str, Type], ...]
    result: Type
    run: Callable[..., Any] | None = None
    body: Term | None = None
    about: str = ""

    @property
    def types(self) -> tuple[Type, ...]:
        return tuple(type for _, type in self.parameters)


class Library:
    """Routines by name, and how terms over them are typed and run. `check` raises `Failed` for a value that is too large."""

    def __init__(self, routines: Sequence[Routine] = (), check: Callable[[Any], None] | None = None) -> None:
        self.routines: dict[str, Routine] = {one.name: one for one in routines}
        self.check = check

    def __contains__(self, name: object) -> bool:
        return name in self.routines

    def __getitem__(self, name: str) -> Routine:
        try:
            return self.routines[name]
        except KeyError:
            raise NotFound(f"term: there is no routine {shown(name)} in this library") from None

    def with_routines(self, more: Sequence[Routine]) -> Library:
        return Library([*self.routines.values(), *more], self.check)

    def type_of(self, term: Term, variables: Mapping[str, Type]) -> Type:
        """The type of a term; every argument is checked. Raises `Invalid` for a misfit, `NotFound` for an unknown routine."""
        if term.kind == "variable":
            if term.op not in variables:
                raise Invalid(f"term: {term.op!r} is no variable here; there are {', '.join(variables)}")
            return variables[term.op]
        if term.kind == "constant":
            return Type(term.op)
        if term.kind == "function":
            raise Invalid(f"term: a function stands only where a routine takes one, not alone: {shown(str(term))}")
        routine = self[term.op]
        if len(term.args) != len(routine.parameters):
            raise Invalid(f"term: {term.op} takes {len(routine.parameters)} arguments, not {len(term.args)}")
        for (name, wanted), given in zip(routine.parameters, term.args, strict=True):
            found = self._argument(given, wanted, variables)
            if not fits(found, wanted):
                raise Invalid(f"term: {term.op} takes a {wanted} as {name}, not a {found}: {shown(str(given))}")
        return routine.result

    def _argument(self, given: Term, wanted: Type, variables: Mapping[str, Type]) -> Type:
        if given.kind != "function":
            return self.type_of(given, variables)
        if not wanted.callable or len(wanted.parameters) != 1:
            raise Invalid(f"term: a {wanted} is needed, not a function: {shown(str(given))}")
        return function(wanted.parameters, self.type_of(given.args[0], {**variables, IT: wanted.parameters[0]}))

    def run(self, term: Term, values: Mapping[str, Any]) -> Any:
        """The value of a term. Raises `Failed` where it has none."""
        return self._run(term, dict(values), [MOST_STEPS], 0)

    def function(self, term: Term) -> Callable[[Any], Any]:
        """A closed function as a Python callable."""
        return lambda value: self.run(term.args[0], {IT: value})

    def apply(self, routine: Routine, args: Sequence[Any]) -> Any:
        """A routine's value for these arguments. Raises `Failed`."""
        return self._apply(routine, args, [MOST_STEPS], 0)

    def _run(self, term: Term, values: dict[str, Any], fuel: list[int], depth: int) -> Any:
        if term.kind == "constant":
            return term.value
        if term.kind == "variable":
            return values[term.op]
        if term.kind == "function":
            return lambda value: self._run(term.args[0], {**values, IT: value}, fuel, depth + 1)
        return self._apply(self[term.op], [self._run(one, values, fuel, depth + 1) for one in term.args], fuel, depth)

    def _apply(self, routine: Routine, args: Sequence[Any], fuel: list[int], depth: int) -> Any:
        fuel[0] -= 1
        if fuel[0] < 0 or depth > 4 * DEEPEST:
            raise Failed("too many steps")
        if routine.body is not None:
            named = {name: value for (name, _), value in zip(routine.parameters, args, strict=True)}
            return self._run(routine.body, named, fuel, depth + 1)
        assert routine.run is not None
        value = routine.run(*args)
        if self.check is not None:
            self.check(value)
        return value
