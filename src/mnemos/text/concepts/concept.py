"""What is remembered: concepts as programs are made of (name, kind, typing, parameters, cues, implementation), open-ended lessons, and solutions.

ArcMemo (arXiv 2509.04439, section 3): the program-synthesis and the open-ended format.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from mnemos.base.cube import check_text
from mnemos.base.errors import Invalid, shown
from mnemos.text.concepts.types import Type, fits, parse_type

KINDS = ("structure", "routine")
GRID_MANIPULATION = "grid manipulation"
INTERMEDIATE = "intermediate"
LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a concept is given: a name, a typing (which may be that of a callable), and what it is for."""

    name: str
    typing: str | None = None
    description: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {name: value for name in ("name", "typing", "description") if (value := getattr(self, name)) is not None}

    @classmethod
    def from_json(cls, record: object) -> Parameter:
        if isinstance(record, str):
            record = {"name": record}
        if not isinstance(record, Mapping) or not isinstance(record.get("name"), str) or not record["name"].strip():
            raise Invalid(f"concept: a parameter is a dict with name, typing and description, not {shown(record)}")
        return cls(record["name"].strip(), _optional(record.get("typing"), "typing"), _optional(record.get("description"), "description"))


@dataclass(frozen=True, slots=True)
class Concept:
    """A concept. `kind`: a structure is recognised in a problem, a routine transforms it. `routine_subtype`: "grid manipulation", "intermediate", or
    the name of a callable type. `cues`: what in a problem suggests it. `used_in`: ids of the solutions that use it. `program`: where it can be run,
    its body as `terms.read_term` reads it, or its own name where it is a primitive of a domain. `aliases`: other names under which it was met.
    """

    name: str
    kind: str = "routine"
    routine_subtype: str | None = None
    output_typing: str | None = None
    parameters: tuple[Parameter, ...] = ()
    description: str | None = None
    cues: tuple[str, ...] = ()
    implementation: tuple[str, ...] = ()
    used_in: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    program: str | None = None

    # What `trajectories.validation.by_rules` looks at.
    @property
    def scenario(self) -> str:
        return "; ".join(self.cues) or self.description or self.name

    @property
    def content(self) -> str:
        return "; ".join(self.implementation) or self.description or ("" if self.program is None else self.name)

    @property
    def actions(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def support(self) -> int:
        return len(self.used_in)

    def contradicts(self, other: Concept) -> bool:
        """Whether both claim one name for things that cannot be the same."""
        return self.name == other.name and not compatible(self, other)

    @property
    def text(self) -> str:
        """The concept in words: what is searched and shown."""
        lines = [f"{self.name} ({self.routine_subtype or self.kind})"]
        if self.description:
            lines.append(self.description)
        if self.parameters or self.output_typing:
            given = ", ".join(f"{one.name}: {one.typing}" if one.typing else one.name for one in self.parameters)
            lines.append(f"({given}) -> {self.output_typing or '?'}")
        lines += [f"Cue: {cue}" for cue in self.cues]
        lines += [f"How: {line}" for line in self.implementation]
        return "\n".join(lines)

    @property
    def output(self) -> Type | None:
        """The type of what it gives; None where it is not said, or cannot be read as one."""
        return read_type(self.output_typing)

    def parameter_types(self) -> tuple[Type | None, ...]:
        return tuple(read_type(one.typing) for one in self.parameters)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values; fields that say nothing are left out."""
        out: dict[str, Any] = {"name": self.name, "kind": self.kind}
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name not in out and value not in (None, ()):
                out[one.name] = list(value) if isinstance(value, tuple) else value
        if self.parameters:
            out["parameters"] = [one.as_json() for one in self.parameters]
        return out

    @classmethod
    def from_json(cls, record: object) -> Concept:
        """The concept that a record describes, kindly read: texts for lists of one, mappings of one key in a list of lines as "key: value", keys
        that it does not know left out. Raises `Invalid` for no name and for an unknown kind."""
        if not isinstance(record, Mapping):
            raise Invalid(f"concept: expected a dict with name and kind, not {shown(record)}")
        name = record.get("name", record.get("concept"))
        if not isinstance(name, str) or not name.strip() or len(name) > LONGEST_NAME:
            raise Invalid(f"concept: name: expected a text of at most {LONGEST_NAME} characters, not {shown(name)}")
        kind = record.get("kind", "routine")
        if kind not in KINDS:
            raise Invalid(f"concept {name!r}: kind {shown(kind)} is none of {', '.join(KINDS)}")
        given = record.get("parameters") or ()
        if not isinstance(given, (list, tuple)):
            raise Invalid(f"concept {name!r}: parameters: expected a list, not {type(given).__name__}")
        return cls(
            name=check_text(" ".join(name.split()), "concept: name"), kind=kind,
            routine_subtype=_optional(record.get("routine_subtype"), "routine_subtype") if kind == "routine" else None,
            output_typing=_optional(record.get("output_typing"), "output_typing"), parameters=tuple(map(Parameter.from_json, given)),
            description=_optional(record.get("description"), "description"), cues=lines_of(record.get("cues"), "cues"),
            implementation=lines_of(record.get("implementation"), "implementation"), used_in=lines_of(record.get("used_in"), "used_in"),
            aliases=lines_of(record.get("aliases"), "aliases"), program=_optional(record.get("program"), "program"),
        )  # fmt: skip

    def merged(self, new: Concept) -> Concept:
        """This concept with what an annotation of the same says, too (ArcMemo's rule): the first description, output typing and subtype that are
        given stay; parameters go by name, the newer definition in the place of the older; lines are added once."""
        parameters = {one.name: one for one in self.parameters} | {one.name: one for one in new.parameters}
        aliases = [*self.aliases, *([new.name] if new.name != self.name else []), *new.aliases]
        return replace(
            self, routine_subtype=self.routine_subtype or new.routine_subtype, output_typing=self.output_typing or new.output_typing,
            parameters=tuple(parameters.values()), description=self.description or new.description, cues=_once(self.cues + new.cues),
            implementation=_once(self.implementation + new.implementation), used_in=_once(self.used_in + new.used_in),
            aliases=tuple(one for one in _once(aliases) if one != self.name), program=self.program if self.program is not None else new.program,
        )  # fmt: skip


def compatible(one: Concept, other: Concept) -> bool:
    """Whether two annotations can be of one concept: the same kind, subtypes and outputs that fit where both are given, parameters of the same name
    that fit, and not two different programs."""
    if one.kind != other.kind or (one.program is not None and other.program is not None and one.program != other.program):
        return False
    pairs = [(one.output, other.output)]
    theirs = {parameter.name: read_type(parameter.typing) for parameter in other.parameters}
    pairs += [(read_type(parameter.typing), theirs.get(parameter.name)) for parameter in one.parameters]
    return all(a is None or b is None or fits(a, b) or fits(b, a) for a, b in pairs)


def same_signature(one: Concept, other: Concept) -> bool:
    """Whether two concepts take and give the same: as many parameters, each fitting, in this order, and the same output."""
    if one.kind != other.kind or len(one.parameters) != len(other.parameters) or (one.output is None) is not (other.output is None):
        return False
    pairs = zip((one.output, *one.parameter_types()), (other.output, *other.parameter_types()), strict=True)
    return all(a == b for a, b in pairs) and (one.program is None or other.program is None or one.program == other.program)


def read_type(typing: str | None) -> Type | None:
    """The type that a typing writes, None where it is written in words that are none."""
    if not typing:
        return None
    try:
        return parse_type(typing)
    except Invalid:
        return None


@dataclass(frozen=True, slots=True)
class Lesson:
    """An open-ended entry: what to look for, what to try, and the solution that taught it."""

    situation: str
    suggestion: str
    source: str

    def as_json(self) -> dict[str, Any]:
        return {"situation": self.situation, "suggestion": self.suggestion, "source": self.source}

    @classmethod
    def from_json(cls, record: object) -> Lesson:
        if not isinstance(record, Mapping):
            raise Invalid(f"lesson: expected a dict with situation, suggestion and source, not {shown(record)}")
        values = {name: record.get(name) for name in ("situation", "suggestion", "source")}
        for name, value in values.items():
            if not isinstance(value, str) or not value.strip():
                raise Invalid(f"lesson: {name}: expected a text, not {shown(value)}")
        return cls(**{name: " ".join(str(value).split()) for name, value in values.items()})


@dataclass(frozen=True, slots=True)
class Solution:
    """A problem that was solved, as its own pairs verified: the code or the term, the pseudocode, a line on it, the features of the problem, and the
    names of the concepts that the solution uses."""

    id: str
    solution: str = ""
    pseudocode: str = ""
    summary: str = ""
    term: str = ""
    features: tuple[str, ...] = ()
    concepts: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        out = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in out.items() if value not in ("", None, ())}

    @classmethod
    def from_json(cls, record: object) -> Solution:
        if not isinstance(record, Mapping) or not isinstance(record.get("id"), str) or not record["id"]:
            raise Invalid(f"solution: expected a dict with an id, not {shown(record)}")
        texts = {name: _optional(record.get(name), name) or "" for name in ("solution", "pseudocode", "summary", "term")}
        return cls(record["id"], features=lines_of(record.get("features"), "features"),
                   concepts=lines_of(record.get("concepts"), "concepts"), **texts)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pair:
    """An input and the output that belongs to it; None where it is not known."""

    input: Any
    output: Any = None


@dataclass(frozen=True, slots=True)
class Problem:
    """What is to be solved: pairs that show the rule, and inputs that it is asked for. Outputs of `test` are for scoring alone: no solver reads
    them."""

    id: str
    train: tuple[Pair, ...]
    test: tuple[Pair, ...] = field(default=())
    description: str = ""

    @property
    def inputs(self) -> list[Any]:
        """The inputs of all pairs, those that show the rule first."""
        return [pair.input for pair in (*self.train, *self.test)]


def lines_of(value: object, name: str) -> tuple[str, ...]:
    """Lines of text, trimmed, each once. A text is one line; a mapping of one key is "key: value"."""
    if value is None:
        return ()
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, (list, tuple)):
        raise Invalid(f"concept: {name}: expected a list of lines, not {type(value).__name__}")
    out = []
    for line in value:
        if isinstance(line, Mapping) and len(line) == 1:
            ((key, inner),) = line.items()
            line = f"{key}: {inner}"
        if line is None or isinstance(line, (list, tuple, Mapping)):
            raise Invalid(f"concept: {name}: expected lines of text, not {shown(line)}")
        out.append(check_text(str(line), f"concept: {name}").strip())
    return _once(out)


def _once(lines: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(line for one in lines if (line := one.strip())))


def _optional(value: object, name: str) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise Invalid(f"concept: {name}: expected a text, not {shown(value)}")
    text = check_text(str(value), f"concept: {name}").strip()
    return text or None
