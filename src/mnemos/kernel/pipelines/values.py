"""How steps of a pipeline refer to what earlier steps gave: "$hits" is a value, "$hits.id" something of it, "{name}" a value inside a text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from mnemos.base.cube import MemCube
from mnemos.base.errors import Invalid, shown
from mnemos.kernel.reading.results import Hit

_PATH = r"([A-Za-z]\w*)((?:\.\w+)*)"
_WHOLE = re.compile(r"\$" + _PATH)
_INSIDE = re.compile(r"\{\{|\}\}|\{" + _PATH + r"\}|[{}]")
State = Mapping[str, Any]


def names_in(value: Any, text: bool = False) -> set[str]:
    """The names that a value refers to; `text` says that it is a text with names in braces. Raises `Invalid` for a brace that names nothing."""
    if isinstance(value, str):
        if whole := _WHOLE.fullmatch(value):
            return {whole[1]}
        return {match[1] for match in _braces(value) if match[1]} if text else set()
    if isinstance(value, Mapping):
        return set().union(*(names_in(item) for item in value.values()))
    if isinstance(value, (list, tuple)):
        return set().union(*(names_in(item) for item in value))
    return set()


def refers(value: Any) -> bool:
    """Whether any part of a value refers to something that is known only when the pipeline runs."""
    return bool(names_in(value))


def _braces(text: str) -> Iterator[re.Match[str]]:
    for match in _INSIDE.finditer(text):
        if match[0] in "{}":
            raise Invalid(f"{shown(text)}: the brace at character {match.start()} names nothing; write {{{{ or }}}} for a brace itself")
        yield match


def resolved(value: Any, state: State) -> Any:
    """`value` with everything that it refers to put in its place. "$$…" stands for a text that begins with a dollar sign."""
    if isinstance(value, str):
        if whole := _WHOLE.fullmatch(value):
            return _looked_up(state, whole[1], whole[2])
        return value[1:] if value.startswith("$$") else value
    if isinstance(value, Mapping):
        return {name: resolved(item, state) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [resolved(item, state) for item in value]
    return value


def rendered(text: Any, state: State) -> Any:
    """A text with every name in braces replaced by what it stands for; a text that is one reference ("$name") is that value as a text."""
    if not isinstance(text, str):
        return resolved(text, state)
    if whole := _WHOLE.fullmatch(text):
        return as_text(_looked_up(state, whole[1], whole[2]))
    text = text[1:] if text.startswith("$$") else text
    out, at = [], 0
    for match in _braces(text):
        out += [text[at : match.start()], as_text(_looked_up(state, match[1], match[2])) if match[1] else match[0][0]]
        at = match.end()
    return "".join([*out, text[at:]])


def as_text(value: Any) -> str:
    """What a value says in a text: of a memory its text, of a list one line for each."""
    if isinstance(value, Hit):
        return value.cube.text
    if isinstance(value, MemCube):
        return value.text
    if isinstance(value, (list, tuple)):
        return "\n".join(map(as_text, value))
    return "" if value is None else str(value)


def _looked_up(state: State, name: str, path: str) -> Any:
    value = state[name]
    for step in path.split(".")[1:]:
        value = _part(value, step, f"${name}{path}")
    return value


def _part(value: Any, step: str, whole: str) -> Any:
    """One step of a path: a field of a memory, a key, a place in a list, or that step for each of a list."""
    if isinstance(value, Mapping) and step in value:
        return value[step]
    if isinstance(value, (list, tuple)):
        if not step.isdecimal():
            return [_part(item, step, whole) for item in value]
        if int(step) < len(value):
            return value[int(step)]
        raise Invalid(f"{whole}: there are only {len(value)} of them, counted from 0")
    if is_dataclass(value) and step in {field.name for field in fields(value)}:
        return getattr(value, step)
    raise Invalid(f"{whole}: {type(value).__name__} has no {step!r}")
