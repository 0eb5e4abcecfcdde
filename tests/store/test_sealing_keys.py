"""The keys of a sealed store: the tree in which they are destroyed, and the file that holds them."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

pytest.importorskip("cryptography", reason="sealed stores need the package cryptography")

from hypothesis import given
from hypothesis import strategies as st

from mnemos.base.errors import Corrupt, FingerprintMismatch, Invalid, StoreFull, StoreUnavailable, WrongKey
from mnemos.store import keys
from mnemos.store.key_tree import HEIGHT, NODE_BYTES, Destroyed, KeyTree
from mnemos.store.keys import Era, KeyFile, Ring, name_from, name_of, shown_name, without
from mnemos.store.witness import Head

SECRET = bytes(range(32))
KEY = b"k" * 32
BASES = (0, (1 << 63) - 20, (1 << HEIGHT) - 40)


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passphrases that cost little to guess at."""
    monkeypatch.setattr(keys, "SCRYPT", (4, 8, 1))


# ---- the tree -------------------------------------------------------------------------------------------------------


@given(st.lists(st.lists(st.tuples(st.sampled_from(BASES), st.integers(0, 35), st.integers(0, 5)), max_size=6), max_size=4), st.randoms())
def test_what_was_destroyed_is_gone_and_every_other_key_is_what_it_was(rounds: list[list[tuple[int, int, int]]], rng: Any) -> None:
    whole = tree = KeyTree.grown(SECRET)
    numbers = [base + i for base in BASES for i in range(40)]
    gone: set[int] = set()
    for intervals in rounds:
        tree = tree.without([(base + at, base + at + size) for base, at, size in intervals])
        gone |= {base + at + i for base, at, size in intervals for i in range(size)}
        rng.shuffle(numbers)
        for number in numbers:
            assert tree.lives(number) is (number not in gone)
            if number in gone:
                with pytest.raises(Destroyed):
                    tree.key(number)
            else:
                assert tree.key(number) == whole.key(number)
    again = KeyTree.decoded(tree.encoded())
    assert (again.encoded(), len(again)) == (tree.encoded(), len(tree.encoded()) // NODE_BYTES)
    _no_node_above(tree, gone)


def _no_node_above(tree: KeyTree, gone: set[int]) -> None:
    """No node that is kept has a destroyed key below it: from such a node it could be computed."""
    data = tree.encoded()
    for at in range(0, len(data), NODE_BYTES):
        start, height = int.from_bytes(data[at : at + 8], "big"), data[at + 8]
        assert not any(start <= number < start + (1 << height) for number in gone)


def test_keys_are_different_and_follow_from_the_secret_alone() -> None:
    tree = KeyTree.grown(SECRET)
    found = [tree.key(number) for number in (0, 1, 2, 3, 1 << 40, (1 << 64) - 1)]
    assert len({*found, SECRET}) == 7
    assert [KeyTree.grown(SECRET).key(number) for number in (0, 1, 2, 3, 1 << 40, (1 << 64) - 1)] == found
    assert KeyTree.grown(bytes(32)).key(0) != found[0]


def test_neighbours_that_go_leave_few_nodes_behind() -> None:
    tree = KeyTree.grown(SECRET)
    for number in range(2000):
        tree = tree.without([(number, number + 1)])
    assert len(tree) <= HEIGHT
    assert len(KeyTree.grown(SECRET).without([(number, number + 1) for number in range(0, 2000, 2)])) <= 1000 + HEIGHT


def test_whole_and_empty_stretches_are_told() -> None:
    tree = KeyTree.grown(SECRET).without([(2 << 40, 3 << 40), ((4 << 40) + 7, (4 << 40) + 8)])
    stretch = {slot: (slot << 40, (slot + 1) << 40) for slot in range(6)}
    assert [slot for slot in stretch if tree.whole(stretch[slot])] == [0, 1, 3, 5]
    assert [slot for slot in stretch if tree.empty(stretch[slot])] == [2]
    assert len(tree.without([(0, 1 << 64)])) == 0
    assert KeyTree([]).empty((0, 1 << 64))


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[41:] + data[:41], lambda data: data + data[-41:]])
def test_bytes_that_are_no_tree_are_refused(damage: Callable[[bytes], bytes]) -> None:
    data = KeyTree.grown(SECRET).without([(3, 4)]).encoded()
    with pytest.raises(ValueError, match="key tree"):
        KeyTree.decoded(damage(data))


# ---- rings ----------------------------------------------------------------------------------------------------------


def test_a_ring_reads_back_as_it_was_written() -> None:
    ring = Ring(b"s" * 16, b"b" * 32, {1: Era.new(), 7: Era.new()}, Head(9, b"h" * 32))
    ring = without(ring, {1: [(3, 5)], 7: [(1, 2)]}, Head(10, b"i" * 32), {1, 7})
    again = Ring.decoded(ring.encoded())
    assert (again.store, again.blobs, again.mark, again.newest) == (ring.store, ring.blobs, Head(10, b"i" * 32), 7)
    for number, era in ring.eras.items():
        assert (again.eras[number].words, again.eras[number].texts) == (era.words, era.texts)
        assert again.eras[number].tree.encoded() == era.tree.encoded()
    assert not again.lives(name_of(1, 0, 3))
    assert again.key(name_of(1, 0, 5)) == ring.key(name_of(1, 0, 5))
    for end in range(0, len(ring.encoded()) - 1, 97):
        with pytest.raises(ValueError):
            Ring.decoded(ring.encoded()[:end])


def test_the_tree_of_an_era_that_is_over_goes_and_its_other_keys_stay() -> None:
    ring = Ring(b"s" * 16, b"b" * 32, {1: Era.new(), 2: Era.new()})
    after = without(ring, {}, Head(1, bytes(32)), {2})
    assert not after.lives(name_of(1, 0, 0))
    assert after.lives(name_of(2, 0, 0))
    assert after.eras[1].texts == ring.eras[1].texts  # the log is read with them for good
    assert without(ring, {}, Head(1, bytes(32)), {1}).lives(name_of(2, 0, 0))  # it is yet to begin


def test_secrets_are_not_shown() -> None:
    ring = Ring.new(b"s" * 16)
    shown = repr(ring) + repr(ring.eras[1])
    assert repr(ring.blobs)[2:20] not in shown
    assert repr(ring.eras[1].texts)[2:20] not in shown


@pytest.mark.parametrize("name", ["1:2:3", "65535:8388607:1099511627775", "0:0:0"])
def test_names_of_keys_are_shown_and_read(name: str) -> None:
    assert shown_name(name_from(name)) == name


@pytest.mark.parametrize("name", ["", "1:2", "1:2:3:4", "a:b:c", "-1:0:0", "65536:0:0", "0:8388608:0", "0:0:1099511627776", None])
def test_what_is_no_name_of_a_key_is_refused(name: Any) -> None:
    with pytest.raises(Invalid, match="era:slot:cube"):
        name_from(name)


# ---- the file -------------------------------------------------------------------------------------------------------


def _written(tmp_path: Path, key: Any = KEY) -> tuple[KeyFile, Ring]:
    file, ring = KeyFile(str(tmp_path / "s.db-keys"), key), Ring.new(b"s" * 16)
    file.write(ring)
    return file, ring


@pytest.mark.parametrize("key", [KEY, "correct horse battery staple", "pässwörd 中文", lambda: KEY, lambda: "a phrase"])
def test_what_was_written_is_read_with_the_same_key(tmp_path: Path, cheap: None, key: Any) -> None:
    file, ring = _written(tmp_path, key)
    for again in (file, KeyFile(file.path, key)):
        assert again.read().encoded() == ring.encoded()
    assert os.stat(file.path).st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["s.db-keys"]


def test_a_passphrase_is_the_same_however_its_letters_are_put_together(tmp_path: Path, cheap: None) -> None:
    file, ring = _written(tmp_path, "café")
    assert KeyFile(file.path, "cafe\u0301").read().encoded() == ring.encoded()


@pytest.mark.parametrize("wrong", [b"K" * 32, "k" * 32, lambda: b"x" * 32])
def test_another_key_does_not_open_it(tmp_path: Path, cheap: None, wrong: Any) -> None:
    file, _ = _written(tmp_path)
    with pytest.raises(WrongKey, match=r"s\.db-keys"):
        KeyFile(file.path, wrong).read()
    phrase, _ = _written(tmp_path, "phrase")
    for other in ("Phrase", KEY):
        with pytest.raises(WrongKey, match=r"s\.db-keys"):
            KeyFile(phrase.path, other).read()


@pytest.mark.parametrize("wrong", [b"", b"short", b"k" * 33, "", " \n", 7, None, ["k"], lambda: 7, lambda: b"short", lambda: lambda: KEY])
def test_what_can_be_no_key_is_refused(tmp_path: Path, wrong: Any) -> None:
    with pytest.raises(Invalid, match="key:"):
        KeyFile(str(tmp_path / "s.db-keys"), wrong).write(Ring.new(bytes(16)))
    assert not list(tmp_path.iterdir())


def test_every_damaged_byte_is_noticed_and_the_file_named(tmp_path: Path) -> None:
    file, _ = _written(tmp_path)
    sound = Path(file.path).read_bytes()
    for at in range(len(sound)):
        Path(file.path).write_bytes(sound[:at] + bytes([sound[at] ^ 1 << at % 8]) + sound[at + 1 :])
        with pytest.raises(Corrupt, match=r"s\.db-keys"):
            KeyFile(file.path, KEY).read()
    for end in range(0, len(sound), 31):
        Path(file.path).write_bytes(sound[:end])
        with pytest.raises(Corrupt, match=r"s\.db-keys"):
            KeyFile(file.path, KEY).read()
    Path(file.path).unlink()
    with pytest.raises(Corrupt, match="missing"):
        KeyFile(file.path, KEY).read()


def test_a_file_of_a_later_form_is_not_taken_for_damaged(tmp_path: Path) -> None:
    import hashlib

    file, _ = _written(tmp_path)
    later = bytearray(Path(file.path).read_bytes()[:-32])
    later[7] += 1
    Path(file.path).write_bytes(bytes(later) + hashlib.sha256(later).digest())
    with pytest.raises(FingerprintMismatch, match="upgrade"):
        KeyFile(file.path, KEY).read()


def test_nothing_of_the_keys_lies_readable_in_the_file(tmp_path: Path) -> None:
    file, ring = _written(tmp_path)
    data = Path(file.path).read_bytes()
    for secret in (ring.blobs, ring.eras[1].words, ring.eras[1].texts, ring.eras[1].tree.encoded()[9:], KEY):
        assert not any(secret[at : at + 8] in data for at in range(len(secret) - 7))


def test_what_the_file_held_before_is_written_over(tmp_path: Path) -> None:
    file, ring = _written(tmp_path)
    before = Path(file.path).read_bytes()
    os.link(file.path, tmp_path / "same file")  # so that it can be looked at after it was replaced
    file.write(ring)
    assert (tmp_path / "same file").read_bytes() == bytes(len(before))
    assert KeyFile(file.path, KEY).read().encoded() == ring.encoded()


def test_a_reader_that_meets_a_replacement_reads_on(tmp_path: Path) -> None:
    file, ring = _written(tmp_path)
    reader, real, other = KeyFile(file.path, KEY), os.fstat, KeyFile(file.path, KEY)
    other.read()
    once = iter([True])

    def replaced(handle: int) -> os.stat_result:
        """The file is replaced between reading it and looking at what was read."""
        if next(once, False):
            other.write(ring)
        return real(handle)

    with mock.patch("builtins.open", _zeroed(iter([True]))), mock.patch("mnemos.store.keys.os.fstat", replaced):
        assert reader.read().encoded() == ring.encoded()


def _zeroed(once: Any) -> Callable[..., Any]:
    """`open`, whose first file reads as nothing but zeros, as one that was written over."""
    real = open

    def call(*given: Any, **named: Any) -> Any:
        file = real(*given, **named)
        if next(once, False):
            size = os.path.getsize(given[0])
            file = mock.MagicMock(wraps=file)
            file.__enter__.return_value = file
            file.read.side_effect = lambda: bytes(size)
        return file

    return call


def test_another_key_takes_the_place_of_the_one_before(tmp_path: Path, cheap: None) -> None:
    file, ring = _written(tmp_path)
    other = file.relocked("a phrase")
    other.write(ring)
    assert KeyFile(file.path, "a phrase").read().encoded() == other.read().encoded() == ring.encoded()
    for old in (file, KeyFile(file.path, KEY)):
        with pytest.raises(WrongKey):
            old.read()
    assert other.written == 2


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("function", ["open", "pwrite", "fsync", "rename"])
def test_a_write_that_fails_leaves_the_old_file_or_the_new_one(tmp_path: Path, function: str, code: int) -> None:
    file, ring = _written(tmp_path)
    real, raised = getattr(os, function), set()
    for number in range(1, 10):
        later = without(ring, {1: [(number, number + 1)]}, Head(number, bytes(32)), {1})
        calls = iter(range(1, 100))

        def fails(*given: Any, number: int = number, calls: Any = calls, **named: Any) -> Any:
            if next(calls) == number:
                raise OSError(code, os.strerror(code))
            return real(*given, **named)

        with mock.patch(f"mnemos.store.keys.os.{function}", fails):
            try:
                file.write(later)
            except (StoreFull, StoreUnavailable) as error:
                raised.add(type(error))
        assert KeyFile(file.path, KEY).read().encoded() in (ring.encoded(), later.encoded())
        ring = file.read()
    assert raised == {StoreFull if code == errno.ENOSPC else StoreUnavailable}
    file.write(ring)
    assert [path.name for path in tmp_path.iterdir()] == ["s.db-keys"]
