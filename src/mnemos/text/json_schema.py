"""The JSON Schema that answers of language models are held to: a few keywords, checked, left out for servers, and told as faults."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mnemos.base.errors import Invalid, shown

_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool, "null": type(None),
}  # fmt: skip
LIMITS = frozenset(["minItems", "maxItems", "minLength", "maxLength", "minimum", "maximum", "pattern"])
"""Keywords that servers which enforce a schema know only in part."""
KEYWORDS = LIMITS | {"type", "properties", "required", "additionalProperties", "items", "enum", "anyOf", "description"}
"""What a schema may say."""


def check_schema(schema: Mapping[str, Any], where: str = "schema") -> None:
    """Raise `Invalid` unless `schema` is one that `fault` understands in full."""
    unknown = set(schema) - KEYWORDS
    kinds = _kinds(schema)
    if unknown or not all(kind in _KINDS for kind in kinds):
        raise Invalid(f"{where}: {', '.join(sorted(unknown) or kinds)} is not understood; use {', '.join(sorted(KEYWORDS))} and JSON's types")
    if not kinds and "anyOf" not in schema and "enum" not in schema:
        raise Invalid(f"{where}: allows any value; give a type, an enum or anyOf")
    properties = schema.get("properties", {})
    missing = [name for name in schema.get("required", []) if name not in properties]
    if missing:
        raise Invalid(f"{where}: requires {', '.join(missing)}, which it does not describe")
    for name, part in properties.items():
        check_schema(part, f"{where}.{name}")
    for number, part in enumerate(schema.get("anyOf", ())):
        check_schema(part, f"{where}.anyOf[{number}]")
    if "items" in schema:
        check_schema(schema["items"], f"{where}[]")


def bare(schema: Mapping[str, Any]) -> dict[str, Any]:
    """`schema` without limits on lengths, sizes and patterns, which not every server that enforces schemas accepts."""
    out = {name: value for name, value in schema.items() if name not in LIMITS}
    if "properties" in out:
        out["properties"] = {name: bare(part) for name, part in out["properties"].items()}
    if "items" in out:
        out["items"] = bare(out["items"])
    if "anyOf" in out:
        out["anyOf"] = [bare(part) for part in out["anyOf"]]
    return out


def fitted(value: Any, schema: Mapping[str, Any]) -> Any:
    """`value` in the form of `schema`, as far as that is a matter of form: properties that the schema does not have are left out, a list takes
    the place of the one list that an object consists of, and 3.0 is the integer 3. What is wrong beyond that stays, for `fault` to find."""
    kinds = _kinds(schema)
    properties = schema.get("properties")
    if properties is not None and isinstance(value, list) and kinds == ["object"] and len(properties) == 1:
        ((name, part),) = properties.items()
        value = {name: value} if _kinds(part) == ["array"] else value
    if properties is not None and isinstance(value, dict):
        closed = schema.get("additionalProperties") is False
        return {name: fitted(one, properties.get(name, {})) for name, one in value.items() if name in properties or not closed}
    if "items" in schema and isinstance(value, list):
        return [fitted(one, schema["items"]) for one in value]
    if kinds == ["integer"] and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def fault(value: Any, schema: Mapping[str, Any], where: str = "the answer") -> str | None:
    """The first thing that is wrong with `value` by `schema`, in words that a model can act on; None where all is well."""
    kinds = _kinds(schema)
    if kinds and not any(_is(value, kind) for kind in kinds):
        return f"{where} must be {' or '.join(kinds)}, not {shown(value)}"
    if "enum" in schema and not any(_same(value, one) for one in schema["enum"]):
        return f"{where} must be one of {', '.join(map(shown, schema['enum']))}, not {shown(value)}"
    if "anyOf" in schema:
        faults = [fault(value, part, where) for part in schema["anyOf"]]
        if all(faults):
            return faults[0]
    if isinstance(value, str):
        return _text_fault(value, schema, where)
    if isinstance(value, list):
        return _list_fault(value, schema, where)
    if isinstance(value, dict):
        return _object_fault(value, schema, where)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        return f"{where} lies outside {schema.get('minimum', '-∞')} to {schema.get('maximum', '∞')}: {shown(value)}"
    return None


def _text_fault(value: str, schema: Mapping[str, Any], where: str) -> str | None:
    if len(value.strip()) < schema.get("minLength", 0):
        return f"{where} is too short" if value.strip() else f"{where} is empty"
    if len(value) > schema.get("maxLength", len(value)):
        return f"{where} has {len(value)} characters; at most {schema['maxLength']} are allowed"
    if "pattern" in schema and not re.search(schema["pattern"], value):
        return f"{where} has not the form {schema['pattern']}: {shown(value)}"
    return None


def _list_fault(value: list[Any], schema: Mapping[str, Any], where: str) -> str | None:
    least, most = schema.get("minItems", 0), schema.get("maxItems", len(value))
    if not least <= len(value) <= most:
        return f"{where} has {len(value)} entries; {f'at least {least}' if len(value) < least else f'at most {most}'} are asked for"
    faults = (fault(one, schema["items"], f"{where}[{number}]") for number, one in enumerate(value)) if "items" in schema else ()
    return next(filter(None, faults), None)


def _object_fault(value: dict[str, Any], schema: Mapping[str, Any], where: str) -> str | None:
    properties = schema.get("properties", {})
    missing = [name for name in schema.get("required", []) if name not in value]
    if missing:
        return f"{where} lacks {', '.join(missing)}"
    if schema.get("additionalProperties") is False and (extra := [name for name in value if name not in properties]):
        return f"{where} has {', '.join(map(shown, extra))}, which nobody asked for"
    faults = (fault(one, properties[name], f"{where}.{name}") for name, one in value.items() if name in properties)
    return next(filter(None, faults), None)


def _kinds(schema: Mapping[str, Any]) -> list[str]:
    kinds = schema.get("type", [])
    return [kinds] if isinstance(kinds, str) else list(kinds)


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _KINDS[kind])


def _same(one: Any, other: Any) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)
