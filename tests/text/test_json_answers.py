"""JSON as models write it, and the schemas that it is held to, against the `jsonschema` library."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemos.base.errors import Invalid
from mnemos.text.json_answers import DEEPEST, find_values
from mnemos.text.json_schema import bare, check_schema, fault, fitted

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats(-1e6, 1e6) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
ROOTS = st.lists(JSON, max_size=4) | st.dictionaries(st.text(max_size=6), JSON, max_size=4)


@given(ROOTS)
def test_json_is_read_as_it_is(value: Any) -> None:
    (found,) = find_values(json.dumps(value))
    assert (found.value, found.mended, found.cut) == (value, False, False)


@given(ROOTS, st.sampled_from(["Here: {} done", "```json\n{}\n```", "<think>[1]</think>{}", "\n {}, as I said."]))
def test_json_in_prose_is_found(value: Any, around: str) -> None:
    text = json.dumps(value)
    if "```" in text or "<think>" in text:
        return
    (found,) = find_values(around.replace("{}", text))
    assert (found.value, found.mended) == (value, False)


@given(st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), st.lists(st.booleans() | st.text("xyz'é ", max_size=5), max_size=3), max_size=3))
def test_python_literals_are_read(value: Any) -> None:
    (found,) = find_values(f"Answer: {value!r}.")
    assert found.value == value


@given(ROOTS, st.integers(1, 60))
def test_what_is_cut_off_is_never_completed(value: Any, missing: int) -> None:
    """Whatever is read of a cut text is a part of the whole: no text or number in it that the whole has not."""
    text = json.dumps(value)
    for found in find_values(text[: max(1, len(text) - missing)]):
        assert _part_of(found.value, value)


def _part_of(part: Any, whole: Any) -> bool:
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(name in whole and _part_of(one, whole[name]) for name, one in part.items())
    if isinstance(part, list) and isinstance(whole, list):
        return len(part) <= len(whole) and all(_part_of(one, other) for one, other in zip(part, whole, strict=False))
    return bool(part == whole)


@given(st.text("{}[]\"'\\:,ntu0123 \n`e.-TrueNaN", max_size=60))
def test_no_text_whatever_raises(text: str) -> None:
    find_values(text)


def test_depth_and_length_are_bounded() -> None:
    assert find_values("x[" * 100_000) is not None
    assert find_values("[" * (DEEPEST + 5) + "]" * (DEEPEST + 5) + "x")  # the inner ones are read
    assert find_values('{"a": 1e999}') == []
    assert find_values('{"a": "\\ud83d\\ude00", b: 1}')[0].value == {"a": "😀", "b": 1}
    assert find_values('{"a": "\\ud83d", b: 1}') == []


SCHEMAS = [
    {"type": "string", "minLength": 1, "maxLength": 3, "pattern": "^[a-c]"},
    {"type": ["integer", "null"], "minimum": 0, "maximum": 5},
    {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 2},
    {"type": "object", "required": ["a"], "additionalProperties": False, "properties": {"a": {"type": "boolean"}, "b": {"enum": [1, "x", True]}}},
    {"anyOf": [{"type": "number"}, {"type": "array", "items": {"type": "integer"}}]},
    {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "object", "required": ["b"], "properties": {"b": {"type": "null"}}}}}},
]
LIKELY = st.sampled_from(
    ["a", "abc", "abcd", "z", "", 0, 5, 6, True, None, [], ["a"], ["a", "b", "c"], {}, {"a": True}, {"a": 1}, {"a": True, "b": 1}]
) | st.sampled_from([{"a": True, "b": 2}, {"a": True, "c": 1}, {"a": False, "b": True}, 1.5, [1], [True], {"a": [{"b": None}]}, {"a": [{}]}])


@pytest.mark.parametrize("schema", SCHEMAS)
@given(value=LIKELY | JSON)
def test_the_validator_agrees_with_the_library(schema: dict[str, Any], value: Any) -> None:
    if isinstance(value, str) and value != value.strip():
        return  # blanks count as nothing here
    expected = jsonschema.Draft202012Validator(schema).is_valid(value)
    if _has_whole_floats(value):
        return  # 1.0 is an integer in JSON Schema; `fitted` makes it one
    assert (fault(value, schema) is None) == expected


def _has_whole_floats(value: Any) -> bool:
    if isinstance(value, float):
        return value.is_integer()
    return any(map(_has_whole_floats, value.values() if isinstance(value, dict) else value)) if isinstance(value, (dict, list)) else False


def test_faults_name_the_place() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string"}}}}
    assert fault({"a": ["x", 3]}, schema) == "the answer.a[1] must be string, not 3"


def test_form_is_fitted_and_nothing_else() -> None:
    numbers = {"type": "array", "items": {"type": "integer"}}
    keep = {"type": "object", "additionalProperties": False, "required": ["keep"], "properties": {"keep": numbers}}
    assert fitted([1, 2.0], keep) == {"keep": [1, 2]}
    assert fitted({"keep": [1], "more": 2}, keep) == {"keep": [1]}
    assert fitted({"keep": "1"}, keep) == {"keep": "1"}
    assert fault({"keep": [True]}, keep)


def test_limits_are_left_out_for_servers() -> None:
    assert bare(SCHEMAS[0]) == {"type": "string"}
    assert bare({"type": "array", "minItems": 1, "items": SCHEMAS[0]}) == {"type": "array", "items": {"type": "string"}}
    named = {"type": "object", "properties": {"pattern": SCHEMAS[0]}}
    assert bare(named) == {"type": "object", "properties": {"pattern": {"type": "string"}}}


@pytest.mark.parametrize(
    "schema",
    [{"type": "text"}, {}, {"type": "object", "required": ["a"]}, {"type": "array", "items": {"format": "date"}}, {"anyOf": [{"const": 1}]}],
)
def test_schemas_that_are_not_understood_are_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        check_schema(schema)
