"""Conditions on metadata: `{"session": 3}`, `{"price": {"gte": 10, "lt": 20}}`, `{"any": [{"a": 1}, {"b": {"exists": True}}]}`.

A key is a dotted path into the metadata. A plain value asks for equality (or, where the metadata holds a list, for membership); a dict of
operators asks for all of them; `any` and `all` take lists of conditions and `not` takes one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mnemos.base.cube import Json, plain_json
from mnemos.base.errors import Invalid, shown

_MISSING = object()


def lookup(metadata: Json, path: str) -> Any:
    """The value at a dotted path, or a marker for "not there" that equals nothing. A key that holds dots itself is found whole first."""
    if path in metadata:
        return metadata[path]
    value: Any = metadata
    for step in path.split("."):
        if not isinstance(value, Mapping) or step not in value:
            return _MISSING
        value = value[step]
    return value


def _equal(value: Any, wanted: Any) -> bool:
    if isinstance(value, bool) is not isinstance(wanted, bool):
        return False
    return bool(value == wanted)


def _equal_or_in(value: Any, wanted: Any) -> bool:
    return _equal(value, wanted) or (isinstance(value, list) and any(_equal(item, wanted) for item in value))


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def test(value: Any, bound: Any) -> bool:
        comparable = isinstance(value, str) == isinstance(bound, str) and isinstance(value, (int, float, str))
        return comparable and compare(value, bound)

    return test


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": _equal_or_in,
    "ne": lambda value, wanted: not _equal_or_in(value, wanted),
    "in": lambda value, wanted: any(_equal_or_in(value, item) for item in wanted),
    "lt": _ordered(lambda a, b: a < b),
    "lte": _ordered(lambda a, b: a <= b),
    "gt": _ordered(lambda a, b: a > b),
    "gte": _ordered(lambda a, b: a >= b),
    "exists": lambda value, wanted: (value is not _MISSING) is bool(wanted),
}


def checked(where: Any) -> Json:
    """The condition `where` as plain JSON. Raises `Invalid`, naming the place, where it is none."""
    _check(where, 0)
    plain: Json = plain_json(where, "filter")
    return plain


def _check(where: Any, depth: int) -> None:
    if not isinstance(where, Mapping):
        raise Invalid(f"filter: expected a dict such as {{'session': 3}}, not {type(where).__name__}")
    if depth > 16:
        raise Invalid("filter: nested more than 16 deep")
    for key, wanted in where.items():
        if not isinstance(key, str):
            raise Invalid(f"filter: keys are texts, not {type(key).__name__}")
        if key in ("any", "all"):
            if not isinstance(wanted, (list, tuple)):
                raise Invalid(f"filter: {key!r} takes a list of conditions")
            for part in wanted:
                _check(part, depth + 1)
        elif key == "not":
            _check(wanted, depth + 1)
        elif isinstance(wanted, Mapping):
            if not wanted:
                raise Invalid(f"filter: {key!r} has no operator; known are {', '.join(_OPERATORS)}")
            for operator, bound in wanted.items():
                if operator not in _OPERATORS:
                    raise Invalid(f"filter: {key!r} has an unknown operator {shown(operator)}; known are {', '.join(_OPERATORS)}")
                if operator == "in" and not isinstance(bound, (list, tuple)):
                    raise Invalid(f"filter: {key!r}: 'in' takes a list")
                if operator in ("lt", "lte", "gt", "gte") and not isinstance(bound, (int, float, str)):
                    raise Invalid(f"filter: {key!r}: {operator!r} takes a number or a text")


def matches(metadata: Json, where: Json) -> bool:
    """Whether `metadata` fulfils every condition of `where` (checked before)."""
    for key, wanted in where.items():
        if key == "any":
            holds = any(matches(metadata, part) for part in wanted)
        elif key == "all":
            holds = all(matches(metadata, part) for part in wanted)
        elif key == "not":
            holds = not matches(metadata, wanted)
        elif isinstance(wanted, Mapping):
            value = lookup(metadata, key)
            holds = all(_OPERATORS[operator](value, bound) for operator, bound in wanted.items())
        else:
            holds = _equal_or_in(lookup(metadata, key), wanted)
        if not holds:
            return False
    return True
