"""Keys, and documents that are signed with them: only what was signed, for what it was signed, by whom it was signed, holds."""

from __future__ import annotations

import importlib
import os
import stat
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemos.base.errors import Corrupt, Invalid, MnemosError, ModelUnavailable, NotFound, PermissionDenied, StoreUnavailable
from mnemos.base.signing import PublicKey, SignedDocument, SigningKey, canonical

KEY = SigningKey(bytes(range(32)))
OTHER = SigningKey(bytes(32))
DOCUMENT = {"b": [1, 2.5, None, True], "a": {"ü": "x\n", "": []}}


def test_keys_and_signatures_of_the_standard() -> None:
    """RFC 8032, section 7.1, test 2."""
    key = SigningKey(bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"))
    assert key.public.raw.hex() == "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    assert key.sign(b"\x72").hex() == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert key.public.holds(key.sign(b"\x72"), b"\x72")
    assert not key.public.holds(key.sign(b"\x72"), b"\x73")
    assert not key.public.holds(b"short", b"\x72")


@pytest.mark.parametrize("raw", [False, True])
def test_a_key_is_saved_for_its_owner_alone(tmp_path: Path, raw: bool) -> None:
    path = tmp_path / "signing.key"
    before = os.umask(0)
    try:
        KEY.save(path, raw=raw)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SigningKey.load(path) == KEY
    with pytest.raises(Invalid, match="exists"):
        OTHER.save(path)
    assert SigningKey.load(path) == KEY
    for mode in (0o640, 0o604, 0o666, 0o620):
        path.chmod(mode)
        with pytest.raises(PermissionDenied, match="chmod 600"):
            SigningKey.load(path)


def test_keys_are_read_in_every_form(tmp_path: Path) -> None:
    public = KEY.public
    public.save(tmp_path / "public.pem")
    (tmp_path / "raw").write_bytes(public.raw)
    (tmp_path / "hex").write_text(public.raw.hex() + "\n")
    forms = (public, KEY, public.raw, public.raw.hex(), public.raw.hex().upper(), public.pem(), public.pem().encode(), tmp_path / "public.pem",
             str(tmp_path / "raw"), tmp_path / "hex")  # fmt: skip
    assert {PublicKey.of(form) for form in forms} == {public}
    (tmp_path / "private hex").write_text(KEY.secret.hex())
    (tmp_path / "private hex").chmod(0o600)
    assert SigningKey.load(tmp_path / "private hex") == KEY
    assert len(public.id) == 32
    assert SigningKey.generate().id != SigningKey.generate().id
    assert "00" * 8 not in repr(KEY)


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    curve = ec.generate_private_key(ec.SECP256R1())
    other_kind = curve.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    locked = Ed25519PrivateKey.generate().private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.BestAvailableEncryption(b"words"))
    for name, data, says in (("other", other_kind, "no Ed25519"), ("locked", locked, "passphrase"), ("text", b"hello", "no Ed25519"),
                             ("long", b"x" * 20_000, "too long"), ("empty", b"", "no Ed25519")):  # fmt: skip
        (tmp_path / name).write_bytes(data)
        (tmp_path / name).chmod(0o600)
        with pytest.raises(Invalid, match=says):
            SigningKey.load(tmp_path / name)
    (tmp_path / "private.pem").write_bytes(other_kind)
    with pytest.raises(Invalid, match="private key"):
        PublicKey.of(tmp_path / "private.pem")
    with pytest.raises(NotFound):
        SigningKey.load(tmp_path / "missing")
    with pytest.raises(StoreUnavailable):
        KEY.save(tmp_path / "no folder" / "key")
    for wrong in (b"short", "no such file", 5, None, tmp_path):
        with pytest.raises(MnemosError):
            PublicKey.of(wrong)  # type: ignore[arg-type]
    with pytest.raises(Invalid):
        SigningKey(b"short")


def test_a_signed_document_holds_for_its_purpose_and_key_alone() -> None:
    signed = SignedDocument.sign("test", DOCUMENT, KEY)
    assert signed.key == KEY.id
    assert SignedDocument.from_bytes(signed.as_bytes()) == signed
    assert signed.faults("test", KEY.public) == []
    assert signed.faults("test", [OTHER.public, KEY.public]) == []
    assert signed.faults("test", None) == []
    assert "not for 'other'" in signed.faults("other", KEY.public)[0]
    assert "is signed with key" in signed.faults("test", OTHER.public)[0]
    assert "any that is trusted" in signed.faults("test", [])[0]
    unsigned = SignedDocument.sign("test", DOCUMENT, None)
    assert unsigned.faults("test", None) == []
    assert unsigned.faults("test", KEY.public) == ["is not signed"]


def test_a_signature_for_another_purpose_or_document_does_not_hold() -> None:
    signed = SignedDocument.sign("test", DOCUMENT, KEY)
    for forged in (
        SignedDocument("other", signed.document, signed.key, signed.signature),
        SignedDocument("test", {**DOCUMENT, "b": []}, signed.key, signed.signature),
        SignedDocument("test", signed.document, signed.key, SignedDocument.sign("test", {}, KEY).signature),
    ):
        again = SignedDocument.from_bytes(forged.as_bytes())  # its checksum is right
        assert "does not hold" in again.faults(forged.purpose, KEY.public)[0]
    impostor = SignedDocument("test", signed.document, KEY.id, SignedDocument.sign("test", DOCUMENT, OTHER).signature)
    assert "does not hold" in impostor.faults("test", KEY.public)[0]


@pytest.mark.parametrize("key", [KEY, None])
def test_every_changed_byte_is_noticed_without_any_key(key: SigningKey | None) -> None:
    data = SignedDocument.sign("test", DOCUMENT, key).as_bytes()
    for place in range(len(data)):
        for bit in (0, 5):
            changed = data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]
            with pytest.raises((Invalid, Corrupt)):
                SignedDocument.from_bytes(changed)
    for changed in (data[:-1], data + b"\n", b" " + data, data.replace(b",", b", ", 1)):
        with pytest.raises((Invalid, Corrupt)):
            SignedDocument.from_bytes(changed)


UNSIGNED, SIGNED = SignedDocument.sign("test", {}, None).as_json(), SignedDocument.sign("test", {}, KEY).as_json()


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"purpose": "x"},
        {**UNSIGNED, "more": 1},
        {**UNSIGNED, "key": "a"},
        {**UNSIGNED, "purpose": "Not One"},
        {**UNSIGNED, "document": []},
        {**SIGNED, "signature": None},
        {**SIGNED, "signature": "G" * 128},
    ],
)
def test_what_is_no_signed_document_is_refused(value: Any) -> None:
    with pytest.raises(Invalid):
        SignedDocument.from_json(value)


@pytest.mark.parametrize("document", [{"a": float("nan")}, {"a": 2**64}, {1: 2}, {"a": b"x"}, {"a": "\ud800"}, {"a": {1}}])
def test_only_what_json_holds_is_signed(document: Any) -> None:
    with pytest.raises(Invalid):
        SignedDocument.sign("test", document, KEY)
    with pytest.raises(Invalid):
        SignedDocument.sign("A purpose", {}, KEY)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=4))
def test_canonical_json_reads_back_and_does_not_depend_on_order(document: dict[str, Any]) -> None:
    data = canonical(document)
    assert canonical(orjson.loads(data)) == data
    assert canonical(dict(reversed(document.items()))) == data
    assert SignedDocument.from_bytes(SignedDocument.sign("test", document, KEY).as_bytes()).faults("test", KEY.public) == []


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    signing = importlib.import_module("mnemos.base.signing")
    assert signing.SignedDocument.sign("test", {}, None).faults("test", None) == []
    for call in (signing.SigningKey.generate, lambda: KEY.sign(b""), lambda: KEY.public, lambda: PublicKey(bytes(32)).holds(bytes(64), b"")):
        with pytest.raises(ModelUnavailable, match=r"mnemos\[security\]"):
            call()
