"""Arguments that no caller should give, and odd ones that a caller may: what the fuzz tests of the Python API draw from.

A keyword has a `Kind`: `good` values must be taken and give the right result, `bad` ones must be refused in words that name the keyword.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Any

from hypothesis import strategies as st

from mnemos import errors
from mnemos.base.errors import shown

NOBODY = "01890a5d-ac96-774b-bcce-b302099a8057"
WORDS = ["lisbon", "tram", "Ann", "\u05e9\u05dc\u05d5\u05dd", "東京", "e\u0301", "\U0001f469\u200d\U0001f4bb", "\ufb01re", "İstanbul", "ß"]
ODD = [
    "\x00",
    "lisbon\x00tram",
    "\x1b[31mred\x1b[0m \x07\x08\x7f",
    "\u202eright to left\u202c \u200f\u2066mark\u2069",
    "\ufeffbom",
    "\uffff\ufffe\U0010ffff",
    "a\r\nb\rc\u2028d\u2029e\x85f\x1cg",
    "'; DROP TABLE version; --",
    '"*" NEAR(lisbon tram, 3) OR NOT -x^2 AND {text}: col*',
    '"', "'", "*", "(", ")", "^", "-", "--", "\\", "%", "_", "%s %n {0} {text}", "NULL", "\\x00\\ud800",
    "lisbon" * 300,
    "zz " * 460,
    "a\u0300\u0301" * 400,
    "last March, in May 2023, two weeks before 31.2.2020, on 99/99/9999 at 25:61",
    "on the year 99999999999999999999 and -5 BC, 10000000000000000 days ago",
]  # fmt: skip
LONE = ["\ud800", "lisbon \udfff tram", "\ud83d" * 3]


class Unlike:
    """An object that answers to nothing, and while a property is proved (hypothesis looks at what it draws) not even to being shown."""

    hidden = False

    def __repr__(self) -> str:
        if Unlike.hidden:
            raise RuntimeError("not to be shown")
        return "Unlike()"


texts = st.one_of(
    st.sampled_from(ODD),
    st.lists(st.sampled_from(WORDS + ODD[:12]), min_size=1, max_size=8).map(" ".join),
    st.text(min_size=1, max_size=60),
).filter(lambda text: bool(text.strip()) and len(text) <= 1400)
_others = [True, 1.5, float("nan"), b"bytes", [], ["lisbon"], {}, {"a": 1}, (1, 2), {1}, object(), Unlike(), Unlike]
others = st.sampled_from([5, 2**70, *_others])
blanks = st.sampled_from(["", " ", "\n\t ", "\x1c\x85\u2028\u3000"])
lone = st.sampled_from(LONE)


@dataclass(frozen=True)
class Kind:
    """What a keyword takes, what it refuses, by which errors, and what the refusal says (the keyword itself, where nothing else is given)."""

    good: st.SearchStrategy[Any]
    bad: st.SearchStrategy[Any]
    errors: tuple[type[errors.MnemosError], ...] = (errors.Invalid,)
    says: str = ""


def _either(*choices: Any) -> st.SearchStrategy[Any]:
    return st.one_of(*(choice if isinstance(choice, st.SearchStrategy) else st.sampled_from(choice) for choice in choices))


def numbers(most: int) -> Kind:
    """Counts from 1 on."""
    return Kind(_either(st.integers(1, most), [2**31, 2**63, 10**5000]), _either([0, -1, -(2**64), "3", None, 1.0, *_others]))


text = Kind(texts, _either(blanks, lone, others, [None]))
query = text
word = Kind(_either(texts, [None, ""]), _either(lone, others, ["x" * 4097]))
name = Kind(word.good, _either(lone, others))
type_ = Kind(_either(texts, ["turn", "fact", None]), _either(lone, others, ["", "x" * 4097]))
words = Kind(
    _either(st.lists(texts, max_size=4), st.lists(texts, max_size=3).map(tuple), st.sets(texts, max_size=3), [[], None, ["a", "a"]]),
    _either(["abc", "", [""], [None], [5], ["\ud800"], ["x" * 4097], [["a"]], {"a": 1}, iter("ab"), 5, True, b"ab", Unlike(), [Unlike()]]),
)
moment = Kind(
    _either(
        st.datetimes(timezones=st.none() | st.just(UTC)),
        st.dates(),
        [None, "2023-05-08", "2023-05-08T13:56:00+05:30", " 2024-02-29 ", datetime.min, datetime.max, date.max, "0001-01-01T00:00:00Z"],
    ),
    _either(
        lone,
        [5, True, 1.5, b"2023-05-08", [], {}, object(), Unlike(), time(3), timedelta(1), "", "yesterday", "2025-13-01", "2025-02-30", "0000-01-01",
         "9" * 100_000, "-1", "2023-05-08\x00", "٢٠٢٣-05-08T", "2023-05-08T13:56:00+99:99", "0001-01-01T00:00:00+14:00",
         datetime.max.replace(tzinfo=timezone(timedelta(hours=-3)))],
    ),
)  # fmt: skip

_scalars = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), texts)
json_values = st.recursive(_scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8)


def nested(depth: int, last: Any = 1) -> Any:
    value = last
    for level in range(depth):
        value = {"a": value} if level % 2 else [value]
    return {"a": value}


def _endless() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["a"] = [value, value]
    return value


metadata = Kind(
    _either(
        st.dictionaries(_either(texts, ["n", "session", "thread", "heading", "a.b", "", "any", "not"]), json_values, max_size=4),
        [None, {}, nested(30), {"n": [1] * 5000}, {"heading": {"x": 1}}],
    ),
    _either(["x", 5, True, [], [("a", 1)], b"{}", object(), Unlike(), {1: 2}, {"a": {2: 3}}, {"a": float("nan")}, {"a": float("-inf")}, {"a": 2**63},
             {"a": -(10**5000)}, {"a": b"x"}, {"a": {1, 2}}, {"a": object()}, {"a": Unlike()}, {"a": "\ud800"}, {"\ud800": 1}, {"a": ["\udfff"]},
             {"a": date(2023, 1, 1)}, nested(40), _endless()]),
)  # fmt: skip
priority = Kind(
    _either(st.floats(allow_nan=False, allow_infinity=False), [None, 0, -1, 10**20]),
    _either(["1", "", float("nan"), float("inf"), True, 10**5000, [], {}, b"1", object(), Unlike(), 1j]),
)
origin = Kind(_either(["user", "inference", "retrieval", "training", None]), _either(["", "alien", "USER", "\ud800", 5, True, [], {}, Unlike()]))
_paths = st.sampled_from(["n", "s", "deep.er", "a.b", "", "missing", "session", "\x00", "'; DROP TABLE cube; --", "$.n", "n[0]"])
_tests = st.one_of(
    _scalars,
    st.lists(_scalars, max_size=2),
    st.dictionaries(st.sampled_from(["eq", "ne"]), json_values, min_size=1, max_size=2),
    st.dictionaries(
        st.sampled_from(["lt", "lte", "gt", "gte"]), st.integers(-3, 3) | st.floats(-3, 3) | texts | st.booleans(), min_size=1, max_size=2
    ),
    st.fixed_dictionaries({"in": st.lists(_scalars, max_size=3)}),
    st.fixed_dictionaries({"exists": st.booleans() | st.none()}),
)
_conditions = st.recursive(
    st.dictionaries(_paths, _tests, max_size=3),
    lambda inner: st.fixed_dictionaries({"any": st.lists(inner, max_size=3)})
    | st.fixed_dictionaries({"all": st.lists(inner, max_size=3)})
    | st.fixed_dictionaries({"not": inner}),
    max_leaves=6,
)


def _deep_condition(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {"n": 1}
    for _ in range(depth):
        value = {"not": value}
    return value


condition = Kind(
    _either(_conditions, [None, {}, {"any": [{"n": i} for i in range(3000)]}, {"n": {"in": list(range(20_000))}}, _deep_condition(16)]),
    _either(["x", 5, True, [], b"{}", Unlike(), {1: 2}, {"n": {"like": "%"}}, {"n": {"in": 5}}, {"n": {"in": "abc"}}, {"any": {}}, {"all": None},
             {"not": []}, {"n": {"lt": None}}, {"n": {"gt": []}}, {"n": {"lt": float("nan")}}, {"n": 2**64}, {"n": object()}, {"n": Unlike()},
             {"n": {"eq": {1, 2}}}, {"n": "\ud800"}, {"\ud800": 1}, {"n": {Unlike(): 1}}, _deep_condition(40), _deep_condition(5000)]),
)  # fmt: skip
ids = Kind(
    st.nothing(),
    _either(["", "x", "\ud800", "\x00", NOBODY[:-1], NOBODY + "0", "'; DROP TABLE cube; --", "9" * 100_000, 5, None, True, 1.5, 2**127, b"x", [], {},
             [NOBODY], (1,), Unlike(), object(), NOBODY, NOBODY.upper(), "{" + NOBODY + "}", NOBODY.replace("-", "")]),
    (errors.Invalid, errors.NotFound),
    "cube",
)  # fmt: skip
cursor = Kind(st.none(), _either(["", "abc", "-1", -1, 1.5, True, "9" * 5000, 2**63, "\ud800", "\x00", b"5", [], {}, object(), Unlike()]))
space_name = Kind(
    _either(["b", "東京", " b ", "'; DROP TABLE space; --", "x" * 200, "\u202eevil", "../../etc/passwd", "*"]),
    _either(blanks, lone, others, ["x" * 201, "a\x00b", "a\nb", "\x7f", None]),
    says="space",
)
version = Kind(
    st.just(1) | st.none(),
    _either([0, -1, 2, 2**31, 2**64, 10**5000, True, False, 1.0, float("nan"), "1", "", "\ud800", b"1", [], {}, object(), Unlike()]),
    (errors.Invalid, errors.NotFound),
)
if_version = Kind(version.good, version.bad, (errors.Invalid, errors.Conflict), "version")
strategy = Kind(_either(["auto", None]), _either(["", "magic", "\ud800", "../auto", 5, [], {}, b"auto", object(), Unlike()]), (errors.NotFound,))
as_of = Kind(
    st.integers(0, 12) | st.none(),
    _either([-1, 10**6, 2**64, -(10**5000), True, False, 1.5, "yesterday", "", "3", "\ud800", b"3", [], {}, object(), Unlike(), time(3)]),
)
vector = Kind(
    st.none() | st.lists(st.floats(-2, 2, width=32), min_size=32, max_size=32),
    _either([[], [1.0], [0.0] * 33, [float("nan")] * 32, [1e300] * 32, ["x"] * 32, [None] * 32, "x", 5, True, {}, object(), Unlike(), [[1.0] * 32],
             b"x", [1j] * 32, [10**5000] * 32]),
)  # fmt: skip
tokenizer = Kind(
    _either([None, len, lambda text: 1, lambda text: 0, lambda text: 10**30]),
    _either([5, "words", [], {}, object(), Unlike(), True, *(lambda text, count=count: count for count in ("3", -1, 1.5, True, None))]),
    says="token",
)
acl = Kind(
    _either([None, {}, {"read": ["bob"]}, {"read": ("*",), "write": {"a\x00b", "\u202e"}}]),
    _either(["read", 5, True, [], {"fly": []}, {"read": "bob"}, {"read": [5]}, {"read": [""]}, {"read": ["\ud800"]}, {"read": None}, {1: []},
             {Unlike(): []}, object(), Unlike()]),
)  # fmt: skip
reason = Kind(_either([None, "", "asked", "\x00", "\u202easked", "'; DROP TABLE log; --", "ask " * 20]), _either(lone, others, ["no " * 10_000_000]))
derived_from = Kind(
    _either([None, [], (), set()]),
    _either(["x", "", NOBODY, 5, True, [5], [None], ["x"], [""], ["\ud800"], [NOBODY], [[NOBODY]], [Unlike()], {"a": 1}, object(), iter("ab")]),
    (errors.Invalid, errors.NotFound),
)
id_ = Kind(st.none() | st.uuids(version=4).map(str), _either(["", "x", "\ud800", NOBODY[:-1], "9" * 100_000, 5, True, 1.5, b"x", [], {}, Unlike()]))
since = Kind(_either([0, 1, 5, 2**62]), _either([-1, 2**63, 10**5000, None, True, 1.5, "0", "", [], {}, b"0", object(), Unlike()]))
location = Kind(
    st.nothing(),
    _either(["", "\x00", "a\x00b.db", "\ud800\x00", 5, None, True, 1.5, [], {}, object(), Unlike(), "postgresql://nowhere", "/", ".",
             "no/such/folder/x.db", "x" * 300, "file:x?mode=memory\x00"]),
    (errors.MnemosError,),
    " ",
)  # fmt: skip


def instant(moment: Any) -> datetime | None:
    """What a good value of `moment` names."""
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment.strip())
    elif moment is not None and not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day)
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


def showing(value: Any) -> str:
    """`value` as a note can show it, though some of what is drawn refuses to be shown."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {showing(item)}" for name, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(showing, value[:20])) + "]"
    return shown(value, 200)
