from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from mnemos.base.chain import GENESIS, Entry, entry_hash, verify_entry

_ENTRY = Entry(3, 17, "update", 2, UUID(int=9), 4, "alice", b"d" * 32, '{"a":1}', b"")
_CHANGES = {
    "seq": 4, "at": 18, "kind": "add", "space": 3, "cube": UUID(int=10), "version": 5, "actor": "bob", "digest": b"e" * 32, "body": '{"a":2}',
    "sealed": "ciphertext",
}  # fmt: skip


def _signed(entry: Entry, previous: bytes = GENESIS) -> Entry:
    cube = entry.cube.bytes if entry.cube else None
    return replace(
        entry,
        hash=entry_hash(previous, entry.seq, entry.at, entry.kind, entry.space, cube, entry.version, entry.actor, entry.digest, entry.body),
    )


def test_an_entry_verifies_only_as_it_was_written() -> None:
    entry = _signed(_ENTRY)
    assert verify_entry(GENESIS, entry)
    assert not verify_entry(b"\x01" + bytes(31), entry)
    assert set(_CHANGES) == set(Entry.__slots__) - {"hash"}
    for name, value in _CHANGES.items():
        assert not verify_entry(GENESIS, replace(entry, **{name: value})), name
    for name in ("cube", "version", "actor", "digest", "body"):
        assert not verify_entry(GENESIS, replace(entry, **{name: None})), name


def test_a_sealed_entry_verifies_by_what_stands_in_the_log() -> None:
    entry = replace(_signed(replace(_ENTRY, actor=None, body="ciphertext")), actor="alice", body='{"a":1}', sealed="ciphertext")
    assert verify_entry(GENESIS, entry)
    assert not verify_entry(GENESIS, replace(entry, sealed="another"))
    assert not verify_entry(GENESIS, replace(entry, sealed=None))
    assert verify_entry(GENESIS, replace(entry, actor="bob"))  # what it says is bound to the ciphertext by its own seal


@given(st.tuples(st.text(max_size=5), st.none() | st.text(max_size=5)), st.tuples(st.text(max_size=5), st.none() | st.text(max_size=5)))
def test_fields_cannot_run_into_each_other(one: tuple[str, str | None], other: tuple[str, str | None]) -> None:
    a, b = (_signed(replace(_ENTRY, actor=actor, body=body)) for actor, body in (one, other))
    assert (a.hash == b.hash) == (one == other)
