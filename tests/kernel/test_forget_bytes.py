"""After a forget, no file of the store holds eight bytes in a row of what was forgotten, where no living cube holds them."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnemos.kernel.system import Mnemos
from support import EMBEDDER

WINDOW = 8
TESTS = Path(__file__).parents[1]
# Letters so many that seven bytes of a living text, beside a byte of chance such as a salt's, are not eight of a forgotten one.
ASCII = "abcdefghijklmnopqrstuvwxyz "
HAN = "".join(map(chr, range(0x4E00, 0x5E00)))
HOLED = ASCII[:26] + "\x00" * 4
MIXED = HAN + "".join(map(chr, (*range(0x1F300, 0x1F600), *range(0x0620, 0x0640), *range(0xC0, 0x180)))) + "  \n\"'\\"


def windows(data: bytes) -> np.ndarray:
    raw = np.frombuffer(data, dtype=np.uint8)
    if len(raw) < WINDOW:
        return np.zeros(0, dtype="<u8")
    return np.unique(np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(raw, WINDOW)).view("<u8").ravel())


def traces(mem: Mnemos, forgotten: Iterable[str], living: Iterable[str] = ()) -> dict[str, list[bytes]]:
    """File name → runs of eight bytes of the forgotten strings that lie in it, and in no living string."""
    wanted = windows(b"".join(text.encode() + bytes(WINDOW) for text in forgotten))
    wanted = wanted[np.count_nonzero(wanted[:, None].view(np.uint8), axis=1) > WINDOW // 2]  # zeros are no trace of anything
    wanted = np.setdiff1d(wanted, windows(b"".join(text.encode() + bytes(WINDOW) for text in living)))
    assert len(wanted)
    found = {}
    folder = Path(mem.path).parent
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert Path(mem.path) in files
    for path in files:
        left = np.intersect1d(windows(path.read_bytes()), wanted)
        if len(left):
            found[path.name] = [int(window).to_bytes(WINDOW, "little") for window in left]
    return found


def words(rng: random.Random, length: int, letters: str = ASCII) -> str:
    return "x" + "".join(rng.choice(letters) for _ in range(length)) + "x"


@pytest.fixture
def plain(open_memory: Callable[..., Mnemos]) -> Mnemos:
    """A store without vectors, which cost time here and say nothing: they are no bytes of a text."""
    return open_memory(embedder="none")


def test_the_search_itself_finds_what_is_there(filed: Mnemos) -> None:
    filed.space("a").add("the violin in the harbour")
    assert set(traces(filed, ["the violin in the harbour"])) & {"memory.db", "memory.db-wal"}


@pytest.mark.parametrize("letters", [ASCII, HAN, MIXED, HOLED], ids=["ascii", "han", "mixed", "with zeros"])
@pytest.mark.parametrize("length", [9, 200, 1300, 12_000])
def test_no_bytes_of_a_text_stay(plain: Mnemos, letters: str, length: int) -> None:
    rng, space = random.Random(length), plain.space("a")
    kept = [words(rng, rng.choice([20, 300, 3000]), letters) for _ in range(12)]
    space.add_many([{"text": text} for text in kept[:6]])
    first, second, third = (words(rng, length, letters) for _ in range(3))
    cube = space.add(first)
    space.add_many([{"text": text} for text in kept[6:]])
    space.update(cube.id, second)
    other = space.add(third, derived_from=[cube.id])
    assert space.search(first[:200])
    certificate = space.forget([cube.id], reason="asked")
    assert {c.id for c in certificate.cubes} >= {cube.id, other.id}
    assert traces(plain, [first, second, third], kept) == {}
    plain.close()
    assert traces(plain, [first, second, third], kept) == {}


def test_no_bytes_of_any_field_stay(filed: Mnemos) -> None:
    rng, space = random.Random(3), filed.space("a")
    secret = {name: words(rng, 40) for name in ("author", "source", "place", "sensitivity", "type")}
    tags, entities = [words(rng, 30), words(rng, 30, HAN)], [words(rng, 30)]
    metadata = {words(rng, 20): words(rng, 50, MIXED), "session": words(rng, 40), "deep": {"er": [words(rng, 30), words(rng, 30)]}}
    changed = space.add("nothing to see", **secret, tags=tags, entities=entities, metadata=metadata)
    for i in range(40):
        space.add(f"filler {i} " * rng.randrange(1, 60), tags=["kept"], metadata={"n": i})
    space.update(changed.id, metadata={}, tags=[], author=None, source=None, place=None, sensitivity=None, entities=[], type="fact")
    strings = [*secret.values(), *tags, *entities, *metadata, metadata["session"], *metadata["deep"]["er"]]  # type: ignore[index]
    strings = [text for text in strings if len(text) >= WINDOW]
    assert traces(filed, strings)
    space.forget([changed.id])
    assert traces(filed, strings, ["nothing to see"]) == {}


@pytest.mark.parametrize(("place", "seed"), [("text", 1), ("metadata", 5)])  # seeds with which SQLite does leave pieces behind
def test_no_bytes_stay_when_pages_are_rebalanced_over_and_over(plain: Mnemos, place: str, seed: int) -> None:
    rng, space = random.Random(f"{place} {seed}"), plain.space("a")
    texts: dict[str, str] = {}
    forgotten: list[str] = []

    def said() -> dict[str, Any]:
        secret = words(rng, rng.choice([12, 60, 250, 900, 1390]), rng.choice([ASCII, HAN, HOLED] if place != "metadata" else [ASCII, HAN]))
        return {"text": f"filler {len(texts)}"} | {place: {"k": secret} if place == "metadata" else secret}

    def secret_of(fields: dict[str, Any]) -> str:
        return str(fields["metadata"]["k"] if place == "metadata" else fields[place])

    for step in range(9):
        made = [said() for _ in range(rng.randrange(20, 60))]
        texts |= {cube.id: secret_of(fields) for cube, fields in zip(space.add_many(made), made, strict=True)}
        gone = rng.sample(sorted(texts), rng.randrange(1, len(texts)) // 2 + 1)
        if step % 3 == 0:
            for id in gone[:6]:
                forgotten.append(texts[id])
                fields = said()
                space.update(id, **fields)
                texts[id] = secret_of(fields)
        space.forget(gone)
        forgotten += [texts.pop(id) for id in gone]
        if step in (3, 8):
            assert traces(plain, forgotten, texts.values()) == {}
    assert plain.verify().ok


def test_no_bytes_stay_of_a_forget_in_a_transaction(filed: Mnemos) -> None:
    rng, space = random.Random(5), filed.space("a")
    old, new, inner, undone = (words(rng, 600) for _ in range(4))
    cube = space.add(old)
    with filed.transaction():
        fresh = space.add(new)
        space.forget([cube.id])
        with filed.transaction():
            space.forget([fresh.id])
            space.forget([space.add(inner).id])
        kept = space.add("this one stays")
    assert traces(filed, [old, new, inner]) == {}
    transaction = filed.transaction()
    transaction.__enter__()
    again = space.add(undone)
    space.forget([again.id, kept.id])
    transaction.__exit__(KeyError, KeyError(), None)
    assert [c.text for c in space.list()] == ["this one stays"]


def test_no_bytes_stay_of_a_forget_by_a_condition(filed: Mnemos) -> None:
    rng, space = random.Random(6), filed.space("a")
    texts = [words(rng, 500) for _ in range(30)]
    space.add_many([{"text": text, "metadata": {"n": i}, "expires_at": "2001-01-01" if i % 5 == 0 else None} for i, text in enumerate(texts)])
    space.forget(filter={"n": {"lt": 20}}, reason="asked")
    assert traces(filed, texts[:20], texts[20:]) == {}
    assert {cube.metadata["n"] for cube in space.list()} == {21, 22, 23, 24, 26, 27, 28, 29}


def test_no_bytes_stay_of_vectors_and_blobs(filed: Mnemos) -> None:
    rng, space = random.Random(7), filed.space("a")
    text = words(rng, 300)
    vector = EMBEDDER.embed([text])[0].tobytes()
    space.add("another one")
    cube = space.add(text)
    held = [path for path in Path(filed.path).parent.glob("memory.db*") if vector in path.read_bytes()]
    assert held
    space.forget([cube.id])
    assert not [path for path in Path(filed.path).parent.glob("memory.db*") if vector in path.read_bytes()]


READS = """
import sys, time
from mnemos.kernel.system import Mnemos
from support import EMBEDDER
with Mnemos(sys.argv[1], embedder=EMBEDDER) as mem:
    space = mem.space("a")
    print("open", flush=True)
    rounds = 0
    while not sys.stdin.closed:
        space.search("xyz", k=5)
        space.list(limit=20)
        rounds += 1
        if rounds % 20 == 0:
            print(rounds, flush=True)
"""


def test_no_bytes_stay_while_another_process_reads(filed: Mnemos) -> None:
    rng, space = random.Random(8), filed.space("a")
    texts = [words(rng, rng.choice([50, 900])) for _ in range(60)]
    cubes = space.add_many([{"text": text} for text in texts])
    reader = subprocess.Popen([sys.executable, "-c", READS, filed.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=TESTS)
    assert reader.stdout is not None
    try:
        assert reader.stdout.readline().strip() == "open"
        for i in range(0, 40, 10):
            space.forget([cube.id for cube in cubes[i : i + 10]])
            assert traces(filed, texts[: i + 10], texts[i + 10 :]) == {}
            assert int(reader.stdout.readline()) > 0
    finally:
        reader.kill()
        reader.communicate()
    assert {cube.text for cube in space.list(limit=100)} == set(texts[40:])


def test_what_two_cubes_say_stays_with_the_one_that_lives(open_memory: Callable[..., Any]) -> None:
    mem = open_memory()
    space = mem.space("a")
    one, two = space.add("the violin in the harbour"), space.add("the violin in the harbour")
    space.forget([one.id])
    assert [hit.cube.id for hit in space.search("violin harbour")] == [two.id]
    assert traces(mem, ["the violin in the harbour"])
    space.forget([two.id])
    assert traces(mem, ["the violin in the harbour"]) == {}
