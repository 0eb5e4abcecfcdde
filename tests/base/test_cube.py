from __future__ import annotations

import enum
import json
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemos.base.cube import (
    MAX_TEXT_BYTES,
    MAX_WORD,
    Content,
    Link,
    State,
    check_interval,
    check_metadata,
    check_text,
    check_word,
    check_words,
    memcube,
)
from mnemos.base.errors import Invalid, shown

scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
json_values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=8)
json_objects = st.dictionaries(st.text(max_size=5), json_values, max_size=4)
times = st.none() | st.integers(-(2**50), 2**50)
words = st.none() | st.text(min_size=1, max_size=6)
contents = st.builds(
    Content,
    id=st.uuids(),
    version=st.integers(1, 1000),
    created_at=st.integers(0, 2**50),
    text=st.none() | st.text(max_size=20),
    type=st.text(min_size=1, max_size=8),
    kind=st.sampled_from(["text", "kv"]),
    origin=st.sampled_from(["user", "inference"]),
    author=words, source=words, place=words, sensitivity=words, fingerprint=words, blob=words,
    event_at=times, valid_from=times, valid_to=times, expires_at=times,
    tags=st.lists(st.text(min_size=1, max_size=5), max_size=3).map(tuple),
    entities=st.lists(st.text(min_size=1, max_size=5), max_size=3).map(tuple),
    parents=st.lists(st.integers(1, 9), max_size=2).map(tuple),
    derived_from=st.lists(st.builds(Link, st.uuids(), st.integers(1, 9), st.text(min_size=1, max_size=4)), max_size=2).map(tuple),
    priority=st.none() | st.floats(-5, 5),
    metadata=json_objects,
)  # fmt: skip


@given(contents)
def test_a_content_reads_back_equal_from_its_canonical_bytes(content: Content) -> None:
    again = Content.from_json(json.loads(content.canonical()))
    assert again == content
    assert again.digest(b"salt") == content.digest(b"salt")
    assert content.digest(b"salt") != content.digest(b"pepper")


@given(contents, contents)
def test_a_digest_covers_every_field(one: Content, other: Content) -> None:
    for field in fields(Content):
        changed = replace(one, **{field.name: getattr(other, field.name)})
        same_record = json.dumps(changed.as_json(), sort_keys=True) == json.dumps(one.as_json(), sort_keys=True)
        assert (changed.canonical() == one.canonical()) == same_record
        if getattr(changed, field.name) != getattr(one, field.name):
            assert changed.digest(b"") != one.digest(b""), field.name


@pytest.mark.parametrize(
    "record",
    [{}, {"id": "x", "version": 1, "created_at": 0}, {"id": str(UUID(int=1)), "version": 1, "created_at": 0, "bogus": 1}],
)
def test_what_is_no_record_is_refused(record: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        Content.from_json(record)


@given(json_objects)
def test_metadata_is_copied_and_stays_equal(value: dict[str, Any]) -> None:
    copy = check_metadata(value)
    assert copy == value
    assert json.dumps(copy) == json.dumps(value)
    assert not value or copy is not value


class _Colour(enum.StrEnum):
    RED = "red"


class _Pair(NamedTuple):
    a: int
    b: int


def test_metadata_of_kindred_types_becomes_plain_json() -> None:
    given_ = MappingProxyType(
        {_Colour.RED: np.float64(0.5), "state": State.MERGED, "pair": _Pair(1, 2), "colour": _Colour.RED, "in": {"t": (1, (2,))}}
    )
    plain = check_metadata(given_)
    assert plain == {"red": 0.5, "state": 2, "pair": [1, 2], "colour": "red", "in": {"t": [1, [2]]}}
    assert type(plain) is dict
    assert [type(value) for value in plain.values()] == [float, int, list, str, dict]
    assert type(next(iter(plain))) is str


def _deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


_cycle: dict[str, Any] = {}
_cycle["self"] = _cycle


@pytest.mark.parametrize(
    "wrong",
    [
        [], "x", 5, {1: 2}, {None: 1}, {"a": float("nan")}, {"a": float("inf")}, {"a": np.float64("nan")}, {"a": 2**63}, {"a": -(2**63) - 1},
        {"a": 10**5000}, {"a": object()}, {"a": {1, 2}}, {"a": b"x"}, {"a": "\ud800"}, {"\ud800": 1}, {"a": _deep(40)}, {"a": _deep(5000)}, _cycle,
        {"a": np.zeros(2)}, {"a": np.int64(1)}, {"x" * 100_000: {"y": object()}},
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_json_cannot_hold_is_refused(wrong: object) -> None:
    with pytest.raises(Invalid, match="metadata") as caught:
        check_metadata(wrong)
    assert len(str(caught.value)) < 500


def test_texts_up_to_the_limit_are_taken() -> None:
    assert check_text("a\x00b\nc") == "a\x00b\nc"
    assert check_text("é" * 10) == "é" * 10
    with pytest.raises(Invalid, match="at most"):
        check_text("é" * (MAX_TEXT_BYTES // 2 + 1))
    with pytest.raises(Invalid, match=r"surrogate stands|lone surrogate"):
        check_text("ok \udfff")
    with pytest.raises(Invalid, match="expected text"):
        check_text(b"bytes")
    with pytest.raises(Invalid, match="at most"):
        check_word("x" * (MAX_WORD + 1), "author")


def test_words_are_kept_in_order_without_repetition() -> None:
    assert check_words(["b", "a", "b"], "tags") == ("b", "a")
    assert check_words({"b", "a"}, "tags") == ("a", "b")
    assert check_words(None, "tags") == ()
    for wrong in ("ab", 5, {"a": 1}, [""], [None], [1], {1, "a"}, ["\ud800"], [["a"]], (x for x in "ab")):
        with pytest.raises(Invalid, match="tags"):
            check_words(wrong, "tags")


def test_a_validity_does_not_end_before_it_begins() -> None:
    check_interval(1, 1)
    check_interval(None, 1)
    check_interval(1, None)
    with pytest.raises(Invalid, match="lies before"):
        check_interval(2, 1)


@pytest.mark.parametrize(
    "value",
    ["a" * 10_000, 10**5000, b"\xff" * 1000, object(), "\ud800", "\n\x1b[31m", [[10**5000]], {"a": "b" * 999}],
    ids=lambda value: type(value).__name__,
)
def test_any_value_can_stand_in_a_message(value: object) -> None:
    text = shown(value)
    assert text.rstrip("…").isascii()
    assert text.isprintable()
    assert len(text) < 100


def test_what_a_caller_does_to_a_cube_changes_no_other() -> None:
    content = Content(id=UUID(int=1), version=1, created_at=0, text="x")
    options: dict[str, Any] = {
        "space": "s", "state": State.GENERATED, "frozen": False, "stale": False, "updated_at": 0, "position": 1, "digest": b"", "text": "x",
    }  # fmt: skip
    memcube(content, **options).metadata["mine"] = 1  # type: ignore[index]
    assert memcube(content, **options).metadata == {}
    assert content.metadata == {}
    assert Content(id=UUID(int=2), version=1, created_at=0).metadata == {}


def test_a_cube_as_json_is_json_without_empty_fields() -> None:
    content = Content(id=UUID(int=1), version=2, created_at=0, text="x", tags=("a",), derived_from=(Link(UUID(int=5), 1),), metadata={"k": [1]})
    standing: dict[str, Any] = {"space": "s", "state": State.ARCHIVED, "frozen": False, "stale": False}
    record = memcube(content, **standing, updated_at=0, position=3, digest=b"\x01", text="x").as_json()
    assert json.loads(json.dumps(record)) == record
    assert record["derived_from"] == [{"id": str(UUID(int=5)), "version": 1, "relation": "derived_from"}]
    assert record["state"] == "archived"
    assert "author" not in record
