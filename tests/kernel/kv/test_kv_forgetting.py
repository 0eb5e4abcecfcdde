"""No keys and values of a forgotten text stay, whether or not anybody said that a prompt held it; and what a space gave carries its sources."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import torch

import mnemos
from kernel.kv.byte_llama import model
from mnemos.errors import Frozen, NotFound
from mnemos.kernel.forgetting import verify_certificate
from mnemos.kernel.kv import prompts
from mnemos.kernel.kv.prompts import said_between
from mnemos.kernel.prompted import BLOCK, Traces, Words
from mnemos.kernel.space import Space

torch.set_num_threads(1)
MODEL = model()
CHUNK = 16
SYSTEM = "You answer in a few words, and say so where nothing is known. "
SECRET = "Alice moved to Lisbon in May, and works in the harbour."
OTHER = "Bob keeps two grey cats, whose names are Ada and Grace."
QUESTION = "\nWhere does Alice live? "


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "CHUNK", CHUNK)


def opened(tmp_path: Path, **options: Any) -> mnemos.Mnemos:
    return mnemos.open(tmp_path / "memory.db", **{"embedder": "none", "language_model": MODEL, **options})


def asked(space: Space, prompt: Any, **settings: Any) -> tuple[str, ...]:
    answer = space.kv.generate(prompt, max_tokens=1, **settings)
    answer.run()
    return answer.sources


def held(space: Space) -> str:
    """All words of which keys and values are kept in the space."""
    entries = [space.get(entry.id).metadata["prompt"] for entry in space.kv.entries() if entry.start is not None]
    return "".join(MODEL.tokenizer.convert_ids_to_tokens([token for about in entries for token in about["tokens"]])).removeprefix("<s>")


def count_files(tmp_path: Path) -> int:
    return sum(path.is_file() for path in (tmp_path / "memory.db-blobs").rglob("*"))


# ---- forgetting looks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prompt",
    [
        SYSTEM + SECRET + QUESTION,
        SYSTEM + "\n   ".join(SECRET.upper().split()) + QUESTION,  # blanks and capitals are no difference
        SYSTEM + SECRET[:36] + "..." + QUESTION,  # a part of it is enough
        MODEL.encode(SYSTEM + SECRET + QUESTION),
    ],
    ids=["text", "retyped", "excerpt", "tokens"],
)
def test_a_prompt_that_nobody_named_goes_with_the_text_that_it_holds(tmp_path: Path, prompt: Any) -> None:
    with opened(tmp_path) as mem:
        space = mem.space("a")
        assert asked(space, prompt) == ()  # the text is in no memory yet: nobody can say where it is from
        assert asked(space, SYSTEM + OTHER + QUESTION) == ()
        secret = space.add(SECRET).id
    with opened(tmp_path, language_model=None) as mem:  # no model is needed to look
        space = mem.space("a")
        certificate = space.forget([secret])
        assert verify_certificate(certificate, mem).ok
        left, entries = held(space), space.kv.entries()
        assert "lisbon" not in left.lower()
        assert left.startswith(SYSTEM[: len(SYSTEM) // CHUNK * CHUNK - 1])
        assert OTHER[:30] in left
        assert len(certificate.cubes) > 1
        assert count_files(tmp_path) == len(entries)
        assert mem.verify().ok


def test_a_short_text_is_found_where_it_stands_between_words_and_over_a_border_of_chunks(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space = mem.space("a")
        start = "The code of this door is: " + "x" * 33
        for lead in range(0, CHUNK, 3):  # the code lies in one chunk, in two, or behind the last whole one, of which nothing is kept
            asked(space, f"{lead:x}{start[lead:]} 4 7 1 1, thanks. And so on, and on.")
        space.forget([space.add("4711").id])
        for entry in space.kv.entries():
            about = space.get(entry.id).metadata["prompt"]
            assert not {MODEL.encode(digit)[1] for digit in "47"} & set(about["tokens"][2:]), about["text"]


def test_every_version_and_what_was_derived_is_looked_for(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space = mem.space("a")
        fact = space.add(SECRET)
        note = space.add(OTHER, derived_from=[fact.id])
        space.update(fact.id, "Alice lives in Porto now, in a house with a garden.")
        for text in (SECRET, OTHER, "Alice lives in Porto now, in a house with a garden."):
            mem.handed.drop([])  # nothing is known but what is looked for
            asked(space, SYSTEM + text + QUESTION)
        space.forget([fact.id])
        assert not any(word in held(space) for word in ("Lisbon", "Grace", "Porto"))
        assert note.id not in {cube.id for cube in space.list()}


def test_what_cannot_be_looked_into_goes_and_is_told_apart(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space = mem.space("a")
        asked(space, SYSTEM + OTHER + QUESTION)
        MODEL.tokenizer.unk_token = "~"
        try:
            blind = "é" * 40 + SYSTEM
            assert said_between(MODEL, MODEL.encode(blind), 0, 16) is None
            asked(space, blind)
        finally:
            MODEL.tokenizer.unk_token = None
        space.forget([space.add(SECRET).id])
        assert "~" not in held(space)
        assert OTHER[:30] in held(space)


def test_a_frozen_prompt_that_nobody_named_goes_and_one_that_somebody_did_keeps_the_text(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space = mem.space("a")
        asked(space, SYSTEM + SECRET + QUESTION)
        for entry in space.kv.entries():
            space.freeze(entry.id)
        first, second = space.add(SECRET).id, space.add(OTHER).id
        space.forget([first])
        assert "Lisbon" not in held(space)
        asked(space, SYSTEM + OTHER + QUESTION, sources=[second])
        space.freeze(next(entry.id for entry in space.kv.entries() if second in entry.sources))
        with pytest.raises(Frozen):
            space.forget([second])


def test_an_older_backup_forgets_them_again(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space = mem.space("a")
        asked(space, SYSTEM + SECRET + QUESTION)
        secret = space.add(SECRET).id
    older = (tmp_path / "memory.db").read_bytes()
    with opened(tmp_path) as mem:
        mem.space("a").forget([secret])
    for beside in ("-wal", "-shm", "-head"):
        (tmp_path / f"memory.db{beside}").unlink(missing_ok=True)
    (tmp_path / "memory.db").write_bytes(older)
    with opened(tmp_path) as mem:
        assert "Lisbon" not in held(mem.space("a"))
        assert secret not in [cube.id for cube in mem.space("a").list()]


# ---- apart ----------------------------------------------------------------------------------------------------------


def test_others_prompts_go_unnamed_and_what_they_asked_before_is_their_own(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        shared = mem.as_principal("owner").space("s", acl={verb: ["bob", "eve"] for verb in ("read", "write", "forget", "derive")})
        bob, eve = (mem.as_principal(name).space("s") for name in ("bob", "eve"))
        asked(bob, SYSTEM + SECRET + QUESTION)
        kept = len(bob.kv.entries())
        guess = eve.add(SECRET).id  # eve tries whether somebody has asked this
        at = mem.position()
        certificate = eve.forget([guess])
        assert (len(certificate.cubes), mem.position()) == (1, at + 1)
        assert len(bob.kv.entries()) == kept
        fact = eve.add(OTHER).id
        asked(bob, SYSTEM + OTHER + QUESTION)
        certificate = eve.forget([fact])
        assert [cube.id for cube in certificate.cubes] == [fact]  # what it does not see is not named
        assert verify_certificate(certificate, mem).ok
        assert "Grace" not in held(bob)
        assert "Lisbon" in held(bob)
        named = eve.add("Carol sells old maps at the market by the river.").id
        asked(bob, f"{SYSTEM}{eve.get(named).text}{QUESTION}", sources=[named])
        bob.freeze(next(entry.id for entry in bob.kv.entries() if named in entry.sources))
        assert [cube.id for cube in eve.forget([named]).cubes] == [named]  # nor does somebody's freeze keep it, of what she does not see
        assert "Carol" not in held(bob)
        shared.forget([shared.add(SECRET).id])  # the owner of the space sees all of it
        assert "Lisbon" not in held(bob)


def test_spaces_and_kv_memories_of_texts_are_left_alone(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        a, b = mem.space("a"), mem.space("b")
        asked(b, SYSTEM + SECRET + QUESTION)
        twin = a.add(SECRET + " So they say.").id
        a.kv.warm(twin)
        a.forget([a.add(SECRET).id])
        assert "Lisbon" in held(b)
        assert [entry.source for entry in a.kv.entries()] == [twin]


# ---- what a space gave ----------------------------------------------------------------------------------------------


def test_pieces_of_a_prompt_say_where_they_are_from(tmp_path: Path) -> None:
    chatting = model()
    chatting.tokenizer.chat_template = "{% for one in messages %}{{ one['role'] }}: {{ one['content'] }}\n{% endfor %}assistant: "
    with opened(tmp_path, language_model=chatting) as mem:
        space = mem.space("a")
        ids = [space.add(text).id for text in (SECRET, OTHER)]
        context, hits = space.context("Where does Alice live, and what does Bob keep?"), space.search("cats", k=1)
        mem.handed.drop(map(mnemos.base.ids.parse_id, ids))  # the pieces say it themselves
        assert set(asked(space, [SYSTEM, context, QUESTION], keep=False)) == set(ids)
        assert asked(space, [SYSTEM, hits[0], QUESTION], keep=False) == (ids[1],)
        assert asked(space, [{"role": "system", "content": [SYSTEM, space.get(ids[0])]}, {"role": "user", "content": QUESTION}]) == (ids[0],)
        begun = space.kv.prefix([SYSTEM, context, QUESTION])
        assert begun.tokens == chatting.encode(f"{SYSTEM}{context}{QUESTION}")
        chatting.prefill(begun.rest, begun.memory)
        space.kv.keep(begun)
        assert {source for entry in space.kv.entries() for source in entry.sources} == set(ids)
        first = context.hits[0].cube.id
        space.update(first, "Something else altogether.")  # what is out of date is not used, from its line on and no earlier
        assert len(SYSTEM) - CHUNK <= space.kv.prefix([SYSTEM, *context.lines, QUESTION]).taken <= len(SYSTEM) + 1
        space.forget(ids)
        assert not any(word in held(space) for word in ("Lisbon", "Grace"))
        with pytest.raises(NotFound):  # a context that is older than the forgetting is not kept
            asked(space, [SYSTEM, context, QUESTION])


def test_plain_strings_with_what_a_space_gave_need_not_be_named(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space = mem.space("a")
        ids = [space.add(text).id for text in (SECRET, OTHER)]
        assert asked(space, SYSTEM + SECRET + QUESTION) == ()  # nobody was given it
        context = space.context("Where does Alice live?")
        assert set(asked(space, f"{SYSTEM}{context}{QUESTION}")) == set(ids)
        assert asked(space, f"Of what I read: {space.search('cats', k=1)[0].cube.text}") == (ids[1],)
        assert asked(mem.as_principal("bob").space("bobs"), f"{SYSTEM}{context}{QUESTION}") == ()
        assert asked(space, "Something else.") == ()
        space.forget([ids[0]])
        assert mem.handed.to(space.num, None).keys() == {mnemos.base.ids.parse_id(ids[1])}
        assert "Lisbon" not in held(space)


def test_memories_of_other_spaces_are_sources_where_the_caller_may_derive_from_them(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        bob = mem.as_principal("bob")
        theirs, hidden = bob.space("bobs"), mem.space("owned")
        here = mem.as_principal("owner").space("s", acl={"read": ["bob"], "write": ["bob"]})
        fact, closed = theirs.add(SECRET), hidden.add(OTHER)
        mine = mem.as_principal("bob").space("s")
        assert asked(mine, [SYSTEM, fact, QUESTION]) == (fact.id,)
        with pytest.raises(NotFound):
            asked(mine, [SYSTEM, closed, QUESTION])
        theirs.forget([fact.id])
        assert "Lisbon" not in held(here)


def test_traces() -> None:
    long = "".join(chr(97 + at % 26) + str(at) for at in range(200))
    for at in range(0, 100, 7):  # whatever run of that length is noticed
        assert Traces([long]).within(Words(f"... {long[at : at + 2 * BLOCK]} ..."))
    many = Traces([f"{number} {long[number:]}" for number in range(100)])
    assert many.within(Words(long))
    assert not many.within(Words("nothing of it " * 20))
    assert not Traces([long]).within(Words("", before=long, after="more"))
    assert Traces(["👍 👍"]).within(Words("so 👍👍 then"))
    assert not Traces(["", "  "])
    short = Traces(["4711"])
    assert all(short.within(Words(said)) for said in ("it is 4711.", "4,711", "(4 7 1 1)"))
    assert not any(short.within(Words(said)) for said in ("it is 14711.", "47110", "471"))
    assert short.within(Words("11", before="47"))
    assert short.within(Words("47", after="11 and"))
    assert not short.within(Words("and", before="4711 "))


def test_what_is_forgotten_while_a_model_reads_it_is_not_kept(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space = mem.space("a")
        ids = [space.add(SECRET).id, space.add(OTHER).id, space.add("Nobody asked of this.").id]
        mem.handed.drop([UUID(id) for id in ids])  # as after a restart: nobody knows where the words are from
        begun, early = space.kv.prefix(SYSTEM + SECRET + QUESTION), space.kv.prefix(SYSTEM + OTHER)
        MODEL.prefill(begun.rest, begun.memory)
        space.forget(ids[:1])
        assert space.kv.keep(begun) == 0
        MODEL.prefill(early.rest, early.memory)
        assert space.kv.keep(early) == 0  # nobody can look into it any more: it may hold what is gone
        assert held(space) == ""
        assert count_files(tmp_path) == 0
        asked(space, SYSTEM + OTHER)
        assert OTHER[:30] in held(space)
        begun = space.kv.prefix(SYSTEM + OTHER + QUESTION)
        MODEL.prefill(begun.rest, begun.memory)
        space.forget([entry.id for entry in space.kv.entries()])  # to let go of what was read is no forgetting of a text
        assert space.kv.keep(begun) > 0
