"""Every reader gives every record or says, by `Invalid`, which place of which file is wrong."""

from __future__ import annotations

import gzip
import json
import os
import tracemalloc
import warnings
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from formats_support import chatgpt_export, check, got, put, wrong
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mnemos.base.errors import Invalid, NotFound
from mnemos.text.formats import FORMATS, detect, read, read_export, read_export_header, write_export
from mnemos.text.formats.locomo import read_locomo, session_time
from mnemos.text.formats.longmemeval import session_date, space_name
from mnemos.text.formats.record import Place

DATA = Path(os.environ.get("MNEMOS_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="no shared data beside the checkout")
# --- text and Markdown ---


def test_a_folder_gives_a_document_per_file_in_order(tmp_path):
    put(tmp_path / "b.md", "---\ntitle: The pump\nauthor: Ada\ndate: 2024-05-01\ntags: [water, iron]\nstatus: draft\n---\n# Other\n\nIt leaks.\n")
    put(tmp_path / "a" / "note.txt", "Title here\n==========\n\nBody.\n")
    put(tmp_path / "a" / "deep" / "n.txt.gz", gzip.compress("naïve\n".encode()))
    put(tmp_path / "z.txt", b"caf\xe9 at nine\n")
    put(tmp_path / "utf16.txt", "grün".encode("utf-16"))
    put(tmp_path / "photo.jpg", b"\xff\xd8\xff\xe0" + bytes(range(256)) * 8)
    put(tmp_path / "empty.txt", " \n")
    put(tmp_path / ".git" / "config", "secret")
    (tmp_path / "loop").symlink_to(tmp_path)
    records, notices = got(tmp_path)
    for record in records:
        check(record)
    assert [record["source"] for record in records] == ["a/deep/n.txt.gz", "a/note.txt", "b.md", "utf16.txt", "z.txt"]
    assert [record["metadata"]["title"] for record in records] == ["n.txt".removesuffix(".txt"), "Title here", "The pump", "utf16", "z"]
    assert records[2] == {
        "text": "# Other\n\nIt leaks.\n", "type": "document", "source": "b.md", "author": "Ada", "tags": ["water", "iron"],
        "event_at": datetime(2024, 5, 1, tzinfo=UTC), "metadata": {"title": "The pump", "status": "draft"},
    }
    assert records[3]["text"] == "grün"
    assert records[4]["text"] == "café at nine\n"
    told = "\n".join(notices)
    assert all(name in told for name in ("photo.jpg", "empty.txt", ".git", "loop", "z.txt"))
    assert len(notices) == 5


@pytest.mark.parametrize("text", ["---\nnot a field\n---\nx", "---\nnever: closed\n", "--- a dash\n", "---\na: b\n c\n---\nx"])
def test_what_is_no_front_matter_stays_text(tmp_path, text):
    records, _ = got(put(tmp_path / "n.md", text))
    assert records[0]["text"] == text


def test_a_date_that_cannot_be_read_stays_in_the_metadata(tmp_path):
    records, _ = got(put(tmp_path / "n.md", "---\ndate: last Tuesday\ntags:\n- one\n- two\n---\nx"))
    assert records[0]["metadata"]["date"] == "last Tuesday"
    assert records[0]["tags"] == ["one", "two"]
    assert "event_at" not in records[0]


def test_a_missing_file_is_not_found(tmp_path):
    for format in ["auto", *FORMATS]:
        with pytest.raises(NotFound, match=r"nothing\.json"):
            list(read(tmp_path / "nothing.json", format))


# --- JSON lines ---


def test_json_lines_take_the_keywords_and_keep_the_rest(tmp_path):
    lines = [
        {"text": "a", "author": "Ida", "event_at": "2025-01-12T20:04:00+01:00", "tags": "x", "source": 7, "mood": "low", "metadata": {"n": 1}},
        {"text": "b", "event_at": 86400, "type": "fact", "space": "home"},
    ]
    path = put(tmp_path / "x.jsonl", "\ufeff" + "\n\n".join(map(json.dumps, lines)) + "\r\n")
    records, notices = got(path)
    assert records == [
        {"text": "a", "type": "turn", "author": "Ida", "event_at": datetime(2025, 1, 12, 19, 4, tzinfo=UTC), "tags": ["x"], "source": "7",
         "metadata": {"n": 1, "mood": "low"}},
        {"text": "b", "type": "fact", "event_at": datetime(1970, 1, 2, tzinfo=UTC), "space": "home"},
    ]
    assert notices == []
    assert got(put(tmp_path / "x.json", lines))[0] == records
    assert got(put(tmp_path / "x.jsonl.gz", gzip.compress(path.read_bytes())))[0] == records


@pytest.mark.parametrize(("line", "says"), [
    ('{"text": "b"', "line 2"), ('{"text": 3}', "a number"), ('{"title": "b"}', "no text"), ('{"text": "b", "event_at": "soon"}', "soon"),
    ('{"text": "b", "tags": [{}]}', "tags[0]"), ("[1]", "an array"), ('{"text": NaN}', "NaN"), ('{"text": "b", "event_at": 1e30}', "1e+30"),
    ('{"text": "b", "metadata": {"x": 1}, "x": 2}', "beside and inside"), ('{"text": "b", "event_at": "9999-12-31"}', "9999"),
    ('{"text":"b","metadata":' + '{"a":' * 100_000 + "1" + "}" * 100_001, "deep"), ('{"text": "b", "n": ' + "9" * 5000 + "}", "line 2"),
])
def test_a_wrong_line_is_named(tmp_path, line, says):
    message = wrong(put(tmp_path / "x.jsonl", '{"text": "a"}\n' + line + "\n"))
    assert "line 2" in message
    assert says in message


def test_records_before_a_wrong_line_come_first(tmp_path):
    stream = read(put(tmp_path / "x.jsonl", '{"text": "a"}\n{'))
    assert next(stream)["text"] == "a"
    with pytest.raises(Invalid):
        next(stream)


def test_half_a_surrogate_pair_is_repaired_and_reported(tmp_path):
    records, notices = got(put(tmp_path / "x.jsonl", '{"text": "a\\ud83d b \\ud83d\\ude00"}\n'))
    assert records[0]["text"] == "a\ufffd b 😀"
    assert len(notices) == 1
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        list(read(tmp_path / "x.jsonl"))
    assert "surrogate" in str(caught[0].message)


@pytest.mark.parametrize(("text", "says"), [
    ('[{"text": "a"}', "not closed"), ('[{"text": "a"} {"text": "b"}]', "comma"), ('[{"text": "a"}] x', "follows"), ('[{"text": "a"},]', "element 2"),
    ('[{"text": "a"},\n{"text": "b]', "line 2"), ('[{"text": "a"}, oops]', "element 2"), ("", "no JSON value"), ("[]", "no JSON value"),
])
def test_a_broken_array_is_named(tmp_path, text, says):
    assert says in wrong(put(tmp_path / "x.json", text))


def test_a_large_array_is_read_an_element_at_a_time(tmp_path):
    path = put(tmp_path / "x.json", [{"text": "word " * 200, "n": number} for number in range(10_000)])
    tracemalloc.start()
    numbers = [record["metadata"]["n"] for record in read(path)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert numbers == list(range(10_000))
    assert path.stat().st_size > 10_000_000
    assert peak < 4_000_000


# --- the export ---

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(), max_size=6), inner, max_size=4), max_leaves=20,
)
objects = st.dictionaries(st.text(st.characters(), max_size=8), json_values, max_size=6)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(objects, max_size=6), objects)
@example([{"text": "\ud800 \u2028 \x00 é"}], {})
def test_an_export_gives_back_what_was_written(tmp_path, entries, header):
    path = tmp_path / "store.jsonl"
    assert write_export(path, entries, header=header) == len(entries)
    assert list(read_export(path)) == entries
    assert read_export_header(path) == {"mnemos-export": 1, **header}
    assert detect(path) == "export"
    packed = put(tmp_path / "store.jsonl.gz", gzip.compress(path.read_bytes()))
    assert list(read(packed)) == entries
    assert [child.name for child in tmp_path.iterdir() if "partial" in child.name] == []


def test_a_damaged_export_is_refused(tmp_path):
    path = tmp_path / "store.jsonl"
    write_export(path, [{"n": number, "text": "kept"} for number in range(5)])
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    assert "cut short" in wrong(put(path, b"".join(lines[:-1])))
    assert "not what was written" in wrong(put(path, b"".join(lines[:2] + lines[3:])))
    assert "not what was written" in wrong(put(path, whole.replace(b'"n":3', b'"n":4')))
    assert "follows the end" in wrong(put(path, whole + lines[1]))
    assert "version 99" in wrong(put(path, whole.replace(b'"mnemos-export":1', b'"mnemos-export":99', 1)))
    for end in range(0, len(whole) - 1, 7):
        wrong(put(path, whole[:end]), "export")


@pytest.mark.parametrize("entry", [{"n": float("nan")}, {"n": object()}, {"mnemos-export-end": 1}])
def test_what_an_export_cannot_hold_is_refused_and_leaves_no_file(tmp_path, entry):
    put(tmp_path / "store.jsonl", "before")
    with pytest.raises(Invalid, match="entry 1"):
        write_export(tmp_path / "store.jsonl", [entry])
    assert [(child.name, child.read_text()) for child in tmp_path.iterdir()] == [("store.jsonl", "before")]


# --- benchmarks ---


def test_locomo(tmp_path):
    sample = {
        "sample_id": "conv-1", "qa": [{"question": "?", "evidence": ["D1:1"]}],
        "conversation": {
            "speaker_a": "Al", "speaker_b": "Bo", "session_10_date_time": "12:05 am on 1 January, 2024",
            "session_10": [{"speaker": "Bo", "dia_id": "D10:1", "text": "Late."}],
            "session_2_date_time": "1:56 pm on 8 May, 2023",
            "session_2": [{"speaker": "Al", "dia_id": "D2:1", "text": "Look!", "blip_caption": "a red door"},
                          {"speaker": "Bo", "dia_id": "D2:2", "text": ""},
                          {"speaker": "Bo", "dia_id": "D2:3", "text": "", "blip_caption": "a cat"}],
            "session_3_date_time": "4:00 pm on 9 May, 2023",
        },
    }
    records, notices = got(put(tmp_path / "locomo.json", [sample]))
    assert records == [
        {"text": text, "type": "turn", "author": author, "event_at": at, "source": source, "metadata": {"session": session}, "space": "conv-1"}
        for text, author, at, source, session in [
            ("Look! [image: a red door]", "Al", datetime(2023, 5, 8, 13, 56, tzinfo=UTC), "D2:1", 2),
            ("[image: a cat]", "Bo", datetime(2023, 5, 8, 13, 56, 2, tzinfo=UTC), "D2:3", 2),
            ("Late.", "Bo", datetime(2024, 1, 1, 0, 5, tzinfo=UTC), "D10:1", 10),
        ]
    ]
    assert len(notices) == 1
    sample["conversation"]["session_2_date_time"] = "13:56 pm on 8 May, 2023"
    assert "13:56" in wrong(put(tmp_path / "locomo.json", sample))


@pytest.mark.parametrize("text", ["1:56 pm on 30 February, 2023", "0:10 am on 1 May, 2023", "1:56 on 8 May 2023", "", "1:99 pm on 8 May, 2023"])
def test_locomo_times_that_no_calendar_has(text):
    with pytest.raises(Invalid):
        session_time(text, Place("x"))


def test_longmemeval_hides_what_gives_the_answer_away(tmp_path):
    question = {
        "question_id": "q7_abs", "question": "?", "answer": "none", "answer_session_ids": ["answer_1"],
        "haystack_session_ids": ["answer_1", "f_2"], "haystack_dates": ["2023/05/20 (Sat) 02:21", "2023/05/10 (Wed) 21:38"],
        "haystack_sessions": [
            [{"role": "user", "content": "Later.", "has_answer": True}, {"role": "assistant", "content": " "}, {"role": "user", "content": "Bye."}],
            [{"role": "user", "content": "Earlier."}],
        ],
    }
    records, notices = got(put(tmp_path / "lme.jsonl", question))
    assert [(record["source"], record["text"], record["event_at"]) for record in records] == [
        ("s1:1", "Earlier.", datetime(2023, 5, 10, 21, 38, tzinfo=UTC)), ("s2:1", "Later.", datetime(2023, 5, 20, 2, 21, tzinfo=UTC)),
        ("s2:3", "Bye.", datetime(2023, 5, 20, 2, 21, 2, tzinfo=UTC)),
    ]
    assert records[0]["metadata"] == {"session": 1}
    assert {record["space"] for record in records} == {space_name("q7_abs")}
    shown = repr(records)
    assert not [word for word in ("answer", "_abs", "f_2", "none") if word in shown]
    assert len(notices) == 1
    del question["haystack_dates"][1]
    assert "1 haystack_dates" in wrong(put(tmp_path / "lme.jsonl", question))
    with pytest.raises(Invalid):
        session_date("2023/13/01 (Mon) 00:00", Place("x"))


@needs_data
def test_locomo_as_published():
    path = DATA / "locomo" / "locomo_dev.json.gz"
    assert detect(path) == "locomo"
    records = list(read_locomo(path, notice=lambda message: pytest.fail(message)))
    assert len(records) == 4419
    assert len({(record["space"], record["source"]) for record in records}) == 4419
    assert len({(record["space"], record["metadata"]["session"]) for record in records}) == 206
    for before, after in pairwise(records):
        assert before["space"] != after["space"] or before["event_at"] < after["event_at"]


@needs_data
def test_longmemeval_as_published():
    notices: list[str] = []
    path = DATA / "longmemeval" / "s_dev.jsonl.gz"
    assert detect(path) == "longmemeval"
    records = list(read(path, notice=notices.append))
    assert len(records) + len(notices) == 6929
    assert len({record["space"] for record in records}) == 14
    assert len({(record["space"], record["metadata"]["session"]) for record in records}) == 666
    assert not any("answer_" in record["source"] + record["space"] for record in records)


# --- any input ---


def test_unknown_formats_are_named(tmp_path):
    path = put(tmp_path / "x.json", [{"colour": "red"}])
    assert "colour" in wrong(path)
    with pytest.raises(Invalid, match="jsonl"):
        read(path, "word")
    for data in (b"\xff\xfe", b"\x00\x01", b"\x1f\x8b\x08 no gzip", b"\xff" * 50, gzip.compress(b'[{"text": "a"}]' * 99)[:-9]):
        wrong(put(path, data))
    assert "UTF-8" in wrong(put(path, b'[{"text": "caf\xe9"}]'))


_SEEDS: list[Any] = [
    {"text": "a", "event_at": "2025-01-01", "tags": ["x"], "metadata": {"k": [1]}},
    {"role": "user", "content": [{"type": "text", "text": "a"}], "tool_calls": [{"function": {"name": "f", "arguments": {}}}]},
    {"messages": [{"role": "tool", "content": {"type": "file", "file": {"filename": "x"}}}]},
    *chatgpt_export(),
    {"uuid": "u", "chat_messages": [{"sender": "human", "text": "x", "attachments": [{"extracted_content": "y"}], "files": [{}]}]},
    {"sample_id": "s", "conversation": {
        "session_1_date_time": "1:56 pm on 8 May, 2023", "session_1": [{"speaker": "a", "dia_id": "D1:1", "text": "x"}]}},
    {"question_id": "q", "haystack_dates": ["2023/05/20 (Sat) 02:21"], "haystack_sessions": [[{"role": "user", "content": "x"}]]},
    {"mnemos-export": 1},
]


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every container inside a value, with each of its keys."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    return [(value, key) for key in keys] + [place for key in keys for place in _places(value[key])]


@st.composite
def _mutated(draw: st.DrawFn) -> Any:
    """A good element in which one place, anywhere inside, is missing or holds another JSON value."""
    value = json.loads(json.dumps(draw(st.sampled_from(_SEEDS))))
    where, key = draw(st.sampled_from(_places(value)))
    where[key] = draw(st.sampled_from([None, True, 0, -1.5, "", "x", [], [[]], {}, {"": {}}, 10**400, 1e308, "\udc80"]) | json_values)
    if isinstance(where, dict) and draw(st.sampled_from([False, False, True])):
        del where[key]
    return value


def _only_invalid(path: Path, format: str) -> None:
    message = str(path)
    try:
        for record in read(path, format, notice=lambda message: None):
            if format != "export" and detect(path) != "export":
                check(record)
    except Invalid as error:
        message = str(error)
    assert str(path) in message
    message.encode()


@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(_mutated(), min_size=1, max_size=1) | st.lists(json_values, max_size=3), st.just("auto") | st.sampled_from([*FORMATS]),
    st.sampled_from(["x.json", "x.jsonl"]),
)
def test_any_json_gives_records_or_invalid(tmp_path, elements, format, name):
    lines = "\n".join(map(json.dumps, elements))
    _only_invalid(put(tmp_path / name, lines if name == "x.jsonl" else elements), format)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=200) | st.text(max_size=100).map(str.encode), st.sampled_from(["auto", *FORMATS]),
    st.sampled_from(["x.json", "x.jsonl", "x.md", "x.zip"]),
)
def test_any_bytes_give_records_or_invalid(tmp_path, data, format, name):
    _only_invalid(put(tmp_path / name, data), format)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_file_gives_records_or_invalid(tmp_path, data):
    good = json.dumps(data.draw(st.sampled_from([_SEEDS, *([seed] for seed in _SEEDS)]))).encode()
    if data.draw(st.booleans()):
        good = gzip.compress(good, mtime=0)
    start = data.draw(st.integers(0, len(good)))
    bad = good[:start] + data.draw(st.binary(max_size=4)) + good[start + data.draw(st.integers(0, 4)) :]
    _only_invalid(put(tmp_path / "x.json", bad), data.draw(st.sampled_from(["auto", *FORMATS])))
