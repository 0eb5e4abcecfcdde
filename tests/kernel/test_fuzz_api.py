"""The Python API given anything: either the right result, by a model in plain Python, or an error of Mnemos that names the keyword.

A few examples of each property in the suite; thousands under the marker `torture` (MNEMOS_FUZZ_EXAMPLES says how many).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any
from unittest import mock

import nasty
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mnemos
from mnemos import errors
from mnemos.base.predicate import matches
from mnemos.text.tokens import token_counter
from support import EMBEDDER, HandClock

THOUSANDS = int(os.environ.get("MNEMOS_FUZZ_EXAMPLES", "3000"))
LONGEST_MESSAGE = 1000
pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")  # a division by zero is no result
TIMES = ("event_at", "valid_from", "valid_to", "created_at")
WORDS = ("author", "source", "place", "sensitivity")

Kinds = dict[str, nasty.Kind]
Call = tuple[dict[str, Any], str]

CHANGES: Kinds = {
    "type": nasty.type_,
    **dict.fromkeys(WORDS, nasty.word),
    **dict.fromkeys(TIMES[:3], nasty.moment),
    **dict.fromkeys(("tags", "entities"), nasty.words),
    "metadata": nasty.metadata,
    "origin": nasty.origin,
    "priority": nasty.priority,
}
FIELDS = CHANGES | {"text": nasty.text, "created_at": nasty.moment, "id": nasty.id_, "derived_from": nasty.derived_from}
CONDITIONS: Kinds = {
    "types": nasty.words,
    "tags": nasty.words,
    "author": nasty.name,
    "source": nasty.name,
    "since": nasty.moment,
    "until": nasty.moment,
    "valid_at": nasty.moment,
    "filter": nasty.condition,
}
LIST = CONDITIONS | {"limit": nasty.numbers(40), "cursor": nasty.cursor}
SEARCH = CONDITIONS | {"query": nasty.text, "k": nasty.numbers(30), "as_of": nasty.as_of, "strategy": nasty.strategy, "vector": nasty.vector}
CONTEXT = CONDITIONS | {"query": nasty.text, "budget_tokens": nasty.numbers(300), "tokenizer": nasty.tokenizer}


@st.composite
def calls(draw: Any, kinds: Kinds, *always: str) -> Call:
    """Keywords for a call, and which of them must be refused ("" where all must be taken)."""
    wrong = draw(st.just("") | st.sampled_from(sorted(kinds)))
    some = draw(st.lists(st.sampled_from(sorted(kinds)), max_size=4, unique=True))
    names = [name for name in dict.fromkeys([*always, *some]) if name != wrong and not kinds[name].good.is_empty]
    keywords = {name: draw(kinds[name].good) for name in names}
    if wrong:
        keywords[wrong] = draw(kinds[wrong].bad)
    return keywords, wrong


def examples(*draws: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Any]:
    """Proves a property of what `draws` give: as often as the profile says in the suite, thousands of times under the marker `torture`."""

    def both(prove: Callable[..., None]) -> Any:
        @functools.wraps(prove)
        def noted(**drawn: Any) -> None:
            try:
                with mock.patch.object(nasty.Unlike, "hidden", True):
                    prove(**drawn)
            except BaseException as error:
                error.add_note(f"given {nasty.showing(drawn)}")
                raise

        def runs(count: int, **more: Any) -> Callable[[], None]:
            return settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck), **more)(given(*draws)(noted))

        torture = [pytest.mark.torture, pytest.mark.timeout(7200)]
        few, many = runs(settings().max_examples, derandomize=True), runs(THOUSANDS)

        @pytest.mark.parametrize("run", [pytest.param(few, id="few"), pytest.param(many, id="thousands", marks=torture)])
        def test(run: Callable[[], None]) -> None:
            run()

        return test

    return both


def refused(kind: nasty.Kind, keyword: str, call: Callable[[], Any]) -> None:
    with pytest.raises(kind.errors) as caught:
        call()
    message = str(caught.value)
    assert (kind.says or keyword) in message, message
    assert 15 < len(message) < LONGEST_MESSAGE


def attempt(call: Callable[[], Any]) -> tuple[Any, errors.MnemosError | None]:
    """What the call gives, or the error of Mnemos that it raises."""
    try:
        return call(), None
    except errors.MnemosError as error:
        return None, error


def shelf() -> tuple[Any, list[Any]]:
    """A store to read from, and the memories of its space, oldest first."""
    mem = mnemos.open(":memory:", embedder=EMBEDDER, clock=HandClock())
    space = mem.space("a")
    times = ["2023-05-08", None, "0001-01-01", "9999-12-31T23:59:59.999999Z"]
    texts = [text for text in [*nasty.WORDS, *nasty.ODD] if len(text) <= 1400]
    for number, text in enumerate(texts):
        space.add(
            text,
            author=[None, "Ann", *nasty.ODD[:6]][number % 8],
            source=nasty.ODD[number % 20],
            type=["turn", "fact", *nasty.ODD[:4]][number % 6],
            event_at=times[number % 4],
            valid_from=times[(number + 1) % 4],
            tags=nasty.ODD[number % 9 : number % 9 + 5],
            metadata={"n": number % 3, "s": text[:20], "deep": {"er": [1, "x"]}, "a.b": None, "": number, "$.n": True, "\x00": text},
        )
    return mem, space.list(limit=1000)


MEM, CUBES = shelf()
SPACE = MEM.space("a")


def passing(conditions: dict[str, Any], position: int | None = None) -> list[str]:
    """The ids of the memories on the shelf that fulfil the conditions, oldest first."""
    want = {name: value for name, value in conditions.items() if value is not None and name in CONDITIONS}
    since, until, valid_at = (nasty.instant(want.get(name)) for name in ("since", "until", "valid_at"))

    def passes(cube: Any) -> bool:
        when = cube.event_at or cube.created_at
        return (
            (position is None or cube.position <= position)
            and ("types" not in want or cube.type in want["types"])
            and set(want.get("tags", ())) <= set(cube.tags)
            and ("author" not in want or cube.author == want["author"])
            and ("source" not in want or cube.source == want["source"])
            and (since is None or when >= since)
            and (until is None or when < until)
            and (valid_at is None or cube.valid_from is None or cube.valid_from <= valid_at)
            and ("filter" not in want or matches(cube.metadata, want["filter"]))
        )

    return [cube.id for cube in CUBES if passes(cube)]


@examples(calls(LIST))
def test_a_list_shows_what_passes_page_by_page(call: Call) -> None:
    keywords, wrong = call
    if wrong:
        refused(LIST[wrong], wrong, lambda: SPACE.list(**keywords))
        return
    found: list[str] = []
    wanted = passing(keywords)
    while True:
        page = SPACE.list(**keywords)
        assert len(page) <= keywords.get("limit", 100)
        found += [cube.id for cube in page]
        if page.cursor is None:
            break
        keywords["cursor"] = page.cursor
    assert found == wanted


@examples(calls(SEARCH, "query"), st.booleans())
def test_a_search_gives_k_of_what_passes(call: Call, explain: bool) -> None:
    keywords, wrong = call
    if wrong:
        refused(SEARCH[wrong], wrong, lambda: SPACE.search(**keywords, explain=explain))
        return
    hits = SPACE.search(**keywords, explain=explain)
    allowed = set(passing(keywords, keywords.get("as_of")))
    assert {hit.cube.id for hit in hits} <= allowed
    assert len({hit.cube.id for hit in hits}) == len(hits) == min(keywords.get("k", 10), len(allowed))
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert all(hit.cube in CUBES for hit in hits)


@examples(calls(CONTEXT, "query"))
def test_a_context_keeps_the_budget(call: Call) -> None:
    keywords, wrong = call
    if wrong:
        refused(CONTEXT[wrong], wrong, lambda: SPACE.context(**keywords))
        return
    found = SPACE.context(**keywords)
    assert found.tokens <= keywords.get("budget_tokens", 1500)
    assert found.tokens == token_counter(keywords.get("tokenizer"))(found.text) or not found.hits
    assert {hit.cube.id for hit in found.hits} <= set(passing(keywords))
    assert all(f"[{number}] " in found.text for number in range(1, len(found.hits) + 1))


@examples(st.sampled_from(["get", "history", "freeze", "unfreeze", "update", "rollback", "forget"]), nasty.ids.bad)
def test_what_is_no_id_is_refused_by_all(verb: str, id: Any) -> None:
    if verb == "forget" and not isinstance(id, str):
        id = [id]
    more = {"rollback": (1,), "update": ("text",)}.get(verb, ())
    refused(nasty.ids, "", lambda: getattr(SPACE, verb)(id, *more))


@examples(st.sampled_from(CUBES), nasty.version.bad, st.sampled_from(["get", "rollback"]))
def test_what_is_no_version_is_refused(cube: Any, version: Any, verb: str) -> None:
    refused(nasty.version, "version", lambda: getattr(SPACE, verb)(cube.id, version))


@examples(st.sampled_from(CUBES), nasty.version.good)
def test_a_version_is_what_was_written(cube: Any, version: Any) -> None:
    assert SPACE.get(cube.id, version) == cube
    assert SPACE.history(cube.id) == [cube]


@examples(nasty.as_of.bad)
def test_what_is_no_past_is_refused(when: Any) -> None:
    refused(nasty.as_of, "when", lambda: SPACE.at(when))


LOG: Kinds = {"since": nasty.since, "limit": nasty.numbers(40)}


@examples(calls(LOG))
def test_the_log_gives_what_was_asked(call: Call) -> None:
    keywords, wrong = call
    if wrong and not (wrong == "limit" and keywords[wrong] is None):
        refused(LOG[wrong], wrong, lambda: MEM.log(**keywords))
        return
    found = [entry.seq for entry in MEM.log(**keywords)]
    assert found == list(range(keywords.get("since", 0) + 1, MEM.position() + 1))[: keywords.get("limit") or 10**6]


SPACES: Kinds = {"name": nasty.space_name, "acl": nasty.acl, "strategy": nasty.strategy}


@examples(calls(SPACES, "name"))
def test_a_space_is_made_as_asked(call: Call) -> None:
    keywords, wrong = call
    with mnemos.open(":memory:", embedder="none") as mem:
        if wrong:
            refused(SPACES[wrong], wrong, lambda: mem.space(**({"name": "b"} | keywords)))
            assert (mem.spaces(), mem.position()) == ([], 0)
            return
        space = mem.space(**keywords)
        assert mem.spaces() == [space.name] == [keywords["name"]]
        acl = keywords.get("acl")
        assert mem.settings(space.name).get("acl") == (None if acl is None else {verb: sorted(who) for verb, who in acl.items()})
        assert space.add("a tram").text == mem.existing_space(keywords["name"]).search("tram")[0].cube.text


@examples(nasty.location.bad)
def test_what_is_no_place_for_a_store_is_refused(location: Any) -> None:
    refused(nasty.location, "", lambda: mnemos.open(location, embedder="none"))


def stored(keywords: dict[str, Any]) -> dict[str, Any]:
    """What a cube shows of the fields that it was written with."""
    out = {name: value for name, value in keywords.items() if name not in ("id", "if_version", "derived_from")}
    for name in out:
        if name in TIMES:
            out[name] = nasty.instant(out[name])
        elif name in WORDS:
            out[name] = out[name] or None
        elif name in ("tags", "entities"):
            given = out[name] or ()
            out[name] = tuple(dict.fromkeys(sorted(given) if isinstance(given, set) else given))
        elif name == "metadata":
            out[name] = out[name] or {}
    return {name: value for name, value in out.items() if not (value is None and name in ("type", "origin", "created_at"))}


def backwards(fields: dict[str, Any]) -> bool:
    start, end = nasty.instant(fields.get("valid_from")), nasty.instant(fields.get("valid_to"))
    return start is not None and end is not None and end < start


@examples(calls(FIELDS, "text"), st.sampled_from(["add", "add_many", "add_many in chunks"]))
def test_an_add_keeps_every_field_or_nothing(call: Call, how: str) -> None:
    keywords, wrong = call
    with mnemos.open(":memory:", embedder=EMBEDDER, clock=HandClock()) as mem:
        space = mem.space("a")
        kept = space.add("kept", id="01890a5d-ac96-774b-bcce-b302099a8058")
        before = mem.position()
        record = {"text": "a tram"} | keywords

        def add() -> Any:
            if how == "add":
                return space.add(**record)
            return space.add_many([{"text": "first"}, record], **({"progress": lambda *_: None} if "chunks" in how else {}))[1]

        if wrong or backwards(record):
            refused(FIELDS[wrong or "valid_to"], wrong or "valid_to", add)
            assert mem.position() == before
            assert space.list() == [kept]
            return
        made = add()
        wanted = stored(record)
        assert {name: getattr(made, name) for name in wanted} == wanted
        if record.get("id"):
            assert made.id == record["id"]
        assert space.get(made.id) == made
        assert made in [hit.cube for hit in space.search(record["text"], k=5)]
        assert space.list(limit=5)[-1] == made
        with pytest.raises(errors.Conflict, match=made.id):
            space.add("twice", id=made.id)
        assert mem.verify().findings == ()


@examples(calls(CHANGES | {"text": nasty.text, "if_version": nasty.if_version}))
def test_an_update_changes_what_was_given_and_nothing_else(call: Call) -> None:
    keywords, wrong = call
    kinds = CHANGES | {"text": nasty.text, "if_version": nasty.if_version}
    with mnemos.open(":memory:", embedder=EMBEDDER, clock=HandClock()) as mem:
        space = mem.space("a")
        first = space.add("a tram", author="Ann", tags=["x"], metadata={"n": 1}, event_at="2023-05-08", priority=1, type="turn")
        if wrong and keywords[wrong] is None:
            return
        if wrong or backwards(keywords):
            if wrong and not wrong.startswith("valid") and backwards(keywords):  # two things are wrong, and either may be told
                with pytest.raises(kinds[wrong].errors):
                    space.update(first.id, **keywords)
            else:
                refused(kinds[wrong or "valid_to"], wrong or "valid_to", lambda: space.update(first.id, **keywords))
            assert space.list() == [first]
            return
        made = space.update(first.id, **keywords)
        wanted = stored(keywords)
        names = ("text", *CHANGES)
        assert {name: getattr(made, name) for name in names} == {name: getattr(first, name) for name in names} | wanted
        assert space.history(first.id) == [first, made]
        assert space.search(made.text)[0].cube == made == space.get(first.id)
        back = space.rollback(first.id, 1)
        assert {name: getattr(back, name) for name in names} == {name: getattr(first, name) for name in names}
        assert mem.verify().findings == ()


FORGET = {name: kind for name, kind in CONDITIONS.items() if name != "valid_at"} | {"reason": nasty.reason}


@examples(calls(FORGET, "types"))
def test_forget_removes_what_passes_and_nothing_else(call: Call) -> None:
    keywords, wrong = call
    with mnemos.open(":memory:", embedder="none", clock=HandClock()) as mem:
        space = mem.space("a")
        made = space.add_many([{"text": cube.text, **{n: getattr(cube, n) for n in CHANGES}} for cube in CUBES])
        chosen = {made[[cube.id for cube in CUBES].index(id)].id for id in passing(keywords)} if not wrong else set()
        nothing = {"tags": ([], (), set(), frozenset()), "reason": (keywords.get("reason"),)}  # conditions that are none
        said = [name for name, value in keywords.items() if value is not None and value != {} and value not in nothing.get(name, ())]
        if wrong == "reason" and keywords[wrong] is not None and not said:  # two things are wrong, and either may be told
            with pytest.raises(errors.Invalid):
                space.forget(**keywords)
        elif wrong and keywords[wrong] is not None:
            refused(FORGET[wrong], wrong, lambda: space.forget(**keywords))
        elif not said:
            refused(FORGET["types"], "forget", lambda: space.forget(**keywords))
            chosen = set()
        else:
            certificate, error = attempt(lambda: space.forget(**keywords))
            if error:
                assert "reason: repeats" in str(error)
                chosen = set()
            else:
                assert {cube.id for cube in certificate.cubes} == chosen
                assert mnemos.verify_certificate(certificate.as_json(), mem)
        assert space.list(limit=100) == [cube for cube in made if cube.id not in chosen]
        assert mem.verify().findings == ()


KINDS = {**FIELDS, **SEARCH, **CONTEXT, **FORGET, **SPACES, **LOG, "if_version": nasty.if_version}
ANYTHING = st.one_of(*(kind.good | kind.bad for kind in KINDS.values()))
VERBS: dict[str, tuple[str, ...]] = {
    "add": tuple(FIELDS),
    "add_many": ("records",),
    "update": ("id", "text", *CHANGES, "if_version"),
    "rollback": ("id", "version"),
    "freeze": ("id",),
    "forget": ("ids", *FORGET),
    "get": ("id", "version"),
    "history": ("id",),
    "list": (*LIST, "states", "parts"),
    "search": (*SEARCH, "explain"),
    "context": tuple(CONTEXT),
}
NEEDED = {"add": 1, "add_many": 1, "update": 2, "rollback": 2, "freeze": 1, "get": 1, "history": 1, "search": 1, "context": 1}


@st.composite
def wild(draw: Any) -> tuple[str, dict[str, Any]]:
    """A verb with any values at all; a real memory often stands where an id belongs."""
    verb = draw(st.sampled_from(sorted(VERBS)))
    names = VERBS[verb]
    chosen = dict.fromkeys([*names[: NEEDED.get(verb, 0)], *draw(st.lists(st.sampled_from(names), max_size=4))])
    if verb == "add":
        chosen = dict.fromkeys(["text", *chosen])
    if verb in ("search", "context"):
        chosen = dict.fromkeys(["query", *chosen])
    values = ANYTHING
    if verb == "add_many":
        values = st.lists(st.dictionaries(st.sampled_from([*FIELDS, "colour", "\ud800"]), ANYTHING, max_size=4) | ANYTHING, max_size=3) | ANYTHING
    keywords = {name: draw(st.integers(0, 1).map(str) if name in ("id", "ids") and draw(st.booleans()) else values) for name in chosen}
    return verb, keywords


@examples(st.lists(wild(), min_size=1, max_size=6))
def test_any_calls_at_all_end_in_a_result_or_an_error_of_mnemos(calls_: list[tuple[str, dict[str, Any]]]) -> None:
    with mnemos.open(":memory:", embedder=EMBEDDER, clock=HandClock()) as mem:
        space = mem.space("a")
        made = [space.add("lisbon tram", author="Ann", tags=["a"], metadata={"n": 1}), space.add("harbour\x00bridge")]
        for verb, keywords in calls_:
            for name in {"id", "ids"} & keywords.keys():
                if isinstance(keywords[name], str) and keywords[name] in ("0", "1"):
                    keywords[name] = made[int(keywords[name])].id
            before, histories = space.list(limit=100), {cube.id: space.history(cube.id) for cube in space.list(limit=100)}
            at = mem.position()
            _, error = attempt(functools.partial(getattr(space, verb), **keywords))
            assert error is None or 15 < len(str(error)) < LONGEST_MESSAGE
            after = space.list(limit=100)
            if error or verb in ("get", "history", "list", "search", "context"):
                assert (after, mem.position()) == (before, at)
            if verb != "forget":
                assert all(space.history(id)[: len(versions)] == versions or verb == "freeze" for id, versions in histories.items())
        assert mem.verify().findings == ()


@pytest.mark.parametrize("size", [2**19, pytest.param(10 * 2**20, marks=pytest.mark.torture)])
def test_megabytes_are_a_memory_like_any_other(size: int) -> None:
    text = ("The otter\x00 sleeps near the 東京 harbour, '; DROP TABLE version; -- and dreams. " * 150_000)[:size]
    with mnemos.open(":memory:", embedder="none") as mem:
        space = mem.space("a")
        small = space.add("a small one beside it")
        made = space.add(text, metadata={"n": 1})
        assert space.get(made.id).text == text
        assert space.search("otter harbour", 5)[0].cube.metadata == {"n": 1}
        assert space.context("otter", budget_tokens=50).tokens <= 50
        space.forget(made.id)
        assert space.list(limit=10) == [small]


@pytest.mark.parametrize("verb", ["add", "search", "context"])
def test_more_than_is_accepted_is_refused_at_once(verb: str) -> None:
    refused(nasty.text, "query" if verb != "add" else "text", lambda: getattr(SPACE, verb)("x" * (64 * 2**20 + 1)))


@pytest.mark.parametrize("unknown", ["colour", "\ud800", "'; DROP TABLE cube; --", "texts"])
def test_an_unknown_keyword_is_named(unknown: str) -> None:
    for call in (lambda: SPACE.add("x", **{unknown: 1}), lambda: SPACE.update(CUBES[0].id, **{unknown: 1})):
        refused(nasty.text, unknown.encode("ascii", "backslashreplace").decode(), call)


@pytest.mark.parametrize(
    ("says", "call"),
    [
        ("version", lambda: SPACE.rollback(CUBES[0].id, None)),
        ("when", lambda: SPACE.at(None)),
        ("reason", lambda: SPACE.forget(CUBES[0].id, reason="no " * 1400)),
        ("records", lambda: SPACE.add_many(5)),
        ("records", lambda: SPACE.add_many(None)),
        ("cursor", lambda: SPACE.list(cursor=nasty.Unlike())),
    ],
)
def test_what_fuzzing_found_is_refused(says: str, call: Callable[[], Any]) -> None:
    with mock.patch.object(nasty.Unlike, "hidden", True):
        refused(nasty.Kind(st.nothing(), st.nothing(), says=says), says, call)


def test_what_fuzzing_found_is_taken() -> None:
    with mnemos.open(":memory:", embedder="none") as mem:
        space = mem.space("a")
        assert space.add("the\nand of otters", priority=1.5e308).priority == 1.5e308
        assert space.search("the")[0].cube.text == "the\nand of otters"
