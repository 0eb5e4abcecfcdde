from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemos.base.errors import Invalid
from mnemos.base.predicate import checked, matches

_META = {"session": 3, "price": 9.5, "name": "Ann", "tags": ["a", "b"], "deep": {"er": {"x": 1}}, "dotted.key": 7, "flag": True, "none": None}


@pytest.mark.parametrize(
    ("where", "holds"),
    [
        ({}, True),
        ({"session": 3}, True), ({"session": 3.0}, True), ({"session": "3"}, False), ({"flag": 1}, False),
        ({"flag": True}, True), ({"session": True}, False),
        ({"none": None}, True), ({"missing": None}, False),
        ({"tags": "a"}, True), ({"tags": "c"}, False), ({"tags": ["a", "b"]}, True), ({"tags": ("a", "b")}, True), ({"tags": ["b", "a"]}, False),
        ({"deep.er.x": 1}, True), ({"deep.er.y": 1}, False), ({"dotted.key": 7}, True), ({"deep": {"eq": {"er": {"x": 1}}}}, True),
        ({"price": {"gte": 9.5, "lt": 10}}, True), ({"price": {"gt": 9.5}}, False), ({"price": {"lte": 9}}, False), ({"price": {"lt": "z"}}, False),
        ({"name": {"gt": "Al", "lt": "Bo"}}, True), ({"missing": {"lt": 5}}, False), ({"tags": {"lt": 5}}, False),
        ({"name": {"in": ["Bob", "Ann"]}}, True), ({"tags": {"in": ["z", "b"]}}, True),
        ({"name": {"in": []}}, False), ({"missing": {"in": [None]}}, False),
        ({"name": {"ne": "Bob"}}, True), ({"missing": {"ne": 1}}, True), ({"tags": {"ne": "a"}}, False),
        ({"missing": {"exists": False}}, True), ({"none": {"exists": True}}, True), ({"deep.er": {"exists": True}}, True),
        ({"any": [{"session": 1}, {"name": "Ann"}]}, True), ({"any": []}, False), ({"all": []}, True),
        ({"all": [{"session": 3}, {"name": "Bob"}]}, False),
        ({"not": {"session": 3}}, False), ({"not": {"any": [{"session": 1}, {"session": 2}]}}, True), ({"session": 3, "name": "Bob"}, False),
    ],
)  # fmt: skip
def test_conditions(where: dict[str, Any], holds: bool) -> None:
    assert matches(_META, checked(where)) is holds


def _nested(levels: int) -> dict[str, Any]:
    where: dict[str, Any] = {"a": 1}
    for _ in range(levels):
        where = {"not": where}
    return where


@pytest.mark.parametrize(
    "wrong",
    [
        [], "a", 5, {1: 2}, {"any": {}}, {"any": "x"}, {"any": [1]}, {"all": None}, {"not": [1]}, {"a": {"like": 1}}, {"a": {5: 1}},
        {"a": {"in": "xyz"}}, {"a": {}}, {"not": {"a": {}}},
        {"a": {"lt": None}}, {"a": {"gte": [1]}}, {"a": object()}, {"a": float("nan")}, {"a": {"eq": float("inf")}}, {"a": "\ud800"}, {"\ud800": 1},
        {"a": 2**70}, {"a": {"in": [object()]}}, _nested(20), _nested(900), {"a": {"lt": float("nan")}},
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_is_no_condition_is_refused(wrong: object) -> None:
    with pytest.raises(Invalid):
        checked(wrong)


_leaves = st.none() | st.integers() | st.floats() | st.text() | st.binary()


@given(st.recursive(_leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner)))
def test_any_value_is_either_refused_or_decided(where: object) -> None:
    try:
        condition = checked(where)
    except Invalid:
        return
    assert matches(_META, condition) in (True, False)
    assert matches({}, condition) in (True, False)


def test_a_checked_condition_is_a_copy() -> None:
    inner = [1, 2]
    condition = checked({"a": {"in": inner}})
    inner.append(3)
    assert condition == {"a": {"in": [1, 2]}}
