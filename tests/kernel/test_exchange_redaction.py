"""An export with redaction holds no redacted string, in no field and no form, and stays an archive that imports."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from exchange_support import KEY, files_of
from test_exchange import with_blob

from mnemos.bench.sensitive_texts import NAMES, samples
from mnemos.kernel.exchange import export_archive, import_archive, read_manifest, verify_archive
from mnemos.kernel.exchange.redaction import Redaction
from mnemos.kernel.system import Mnemos
from mnemos.text.detectors.folding import Folded
from mnemos.text.sensitivity import Label, Redactor

EMAIL, CARD, PHONE, PASSWORD, NAME = "melanie.okafor@example.com", "4111 1111 1111 1111", "+44 20 7946 0958", "Tr0ub4dor&3x", "Melanie Okafor"
SECRETS = (EMAIL, CARD, PHONE, PASSWORD, NAME)


def everywhere(mem: Mnemos) -> None:
    """Each secret in each field that a memory, a space, a rule and a reason have."""
    for number, secret in enumerate(SECRETS):
        space = mem.space(f"about {secret}", acl={"read": [secret, "bob"]}, deny={"write": [f"role:{secret}"]}, clearance={secret: "internal"})
        root = space.add(
            f"my password is {PASSWORD}, and this is {secret}.", type=f"kind {secret}", author=secret, source=f"mail:{secret}", tags=[secret, "kept"],
            entities=[secret], place=secret, sensitivity=secret,
            metadata={"plain": secret, secret: "key", "deep": [{"a": [secret]}], "phone": 442079460958, "card": 4111111111111111, "number": 7},
        )  # fmt: skip
        space.update(root.id, f"The second version, again with {secret}")
        space.add(f"Derived, {secret.lower()} and {secret.upper()}", derived_from=[root.id])
        space.set_acl(root.id, {"read": [secret]})
        space.archive(root.id, f"because {number}")
        with mem.writing() as transaction:
            standing = transaction.standing(mem_id(root.id))
            assert standing is not None
            transaction.link(standing.id, 2, standing.id, 1, f"related to {secret}")
        mem.as_principal(secret).space(f"own {number}").add("a plain text")


def mem_id(id: str) -> Any:
    from uuid import UUID

    return UUID(id)


def folded(data: bytes) -> str:
    return Folded(unicodedata.normalize("NFC", data.decode("utf-8", "replace"))).lower


def leaked(folder: Path, strings: tuple[str, ...]) -> list[tuple[str, str]]:
    """(file, string) of strings that stand somewhere in an archive's files, plainly, escaped, or with other separators."""
    out = []
    for name, data in files_of(folder).items():
        text = folded(data)
        bare = "".join(c for c in text if c.isalnum())
        for string in strings:
            wanted = Folded(string).lower
            escaped = orjson.dumps(wanted).decode().strip('"')
            if wanted in text or escaped in text or (len(wanted) > 9 and "".join(c for c in wanted if c.isalnum()) in bare):
                out.append((name, string))
    return out


@pytest.fixture
def planted(filed: Mnemos) -> Mnemos:
    everywhere(filed)
    return filed


def test_no_redacted_string_is_in_any_field(planted: Mnemos, open_memory: Callable[..., Mnemos], tmp_path: Path) -> None:
    manifest = export_archive(planted, tmp_path / "all", redact=Redactor(names=[NAME]), sign_with=KEY)
    assert leaked(tmp_path / "all", SECRETS) == []
    assert verify_archive(tmp_path / "all", KEY.public)
    assert manifest.redactions is not None
    assert set(manifest.redactions["strings"]) >= {"email", "card", "phone", "password", "name"}
    export_archive(planted, tmp_path / "plain")
    assert len(leaked(tmp_path / "plain", SECRETS)) >= len(SECRETS), "the check notices what is there"
    other = open_memory(":memory:")
    import_archive(other, tmp_path / "all", public_key=KEY.public)
    assert other.verify(), other.verify().findings
    assert len(other.spaces()) == len(planted.spaces()), "spaces that were called by different secrets stay apart"
    kept = [name for name in other.spaces() if name.startswith("own")]
    assert [other.space(name).list()[0].text for name in kept] == ["a plain text"] * len(SECRETS)
    root = next(cube for cube in other.space(other.spaces()[0]).list(states=["archived"]))
    assert root.metadata["number"] == 7
    assert "kept" in root.tags
    assert len({other.settings(name)["owner"] for name in kept}) == len(SECRETS), "and so do principals"


def test_kinds_and_labels_choose_what_goes(planted: Mnemos, tmp_path: Path) -> None:
    export_archive(planted, tmp_path / "emails", redact=Redactor(kinds=["email"]))
    assert leaked(tmp_path / "emails", (EMAIL,)) == []
    assert {string for _, string in leaked(tmp_path / "emails", SECRETS)} == {CARD, PHONE, PASSWORD, NAME}
    export_archive(planted, tmp_path / "secret", redact=Redactor(label=Label.SECRET))
    assert {string for _, string in leaked(tmp_path / "secret", SECRETS)} >= {EMAIL, PHONE}
    assert not {CARD, PASSWORD} & {string for _, string in leaked(tmp_path / "secret", SECRETS)}


def test_what_only_its_words_give_away_is_taken_out_elsewhere_too(filed: Mnemos, tmp_path: Path) -> None:
    space = filed.space("a")
    space.add("a note", tags=["swordfish77"], metadata={"x": "swordfish77!", "SWORDFISH77": 1})
    space.add("The wifi password is swordfish77")
    space.add("I was born on 3 May 1985.")
    space.add("It rained on 3 May 1985, and swordfish77 was said.")
    export_archive(filed, tmp_path / "all", redact=Redactor())
    assert leaked(tmp_path / "all", ("swordfish77", "3 May 1985")) == []


def test_a_string_that_a_document_is_cut_at_is_taken_out_whole(open_memory: Callable[..., Mnemos], tmp_path: Path) -> None:
    """Whatever stands before it, so that the cut falls into it somewhere."""
    lines = "\n".join("MIIEvQIBADANBgkqhkiG9w0BAQEFAASC" + str(n) * 20 for n in range(30))
    key = f"-----BEGIN PRIVATE KEY-----\n{lines}\n-----END PRIVATE KEY-----"
    divided = 0
    for shift in range(0, 1100, 90):
        mem = open_memory(":memory:", embedder="none")
        lead = ("word " * 400)[: 700 + shift]
        document = mem.space("a").add(f"{lead}{key}\n{'more words here ' * 120}Call {PHONE} now. {'and so on ' * 100}", type="document")
        parts = mem.space("a").list(parts=True, filter={}, limit=100)
        divided += sum("BEGIN" in cube.text and "END PRIVATE" not in cube.text for cube in parts if cube.id != document.id)
        export_archive(mem, tmp_path / f"all {shift}", redact=Redactor())
        assert leaked(tmp_path / f"all {shift}", (PHONE, "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC", "END PRIVATE")) == []
        assert verify_archive(tmp_path / f"all {shift}")
    assert divided > 3, "no cut fell into the key"


def test_what_cannot_be_looked_into_stays_behind(filed: Mnemos, open_memory: Callable[..., Mnemos], tmp_path: Path) -> None:
    cube = with_blob(filed, b"keys and values")
    filed.space("model").add("derived from it", derived_from=[cube])
    filed.space("model").freeze(cube)
    manifest = export_archive(filed, tmp_path / "all", redact=Redactor())
    assert manifest.redactions == {"strings": {}, "cubes_left_out": 1}
    assert manifest.models == {}
    assert cube not in (tmp_path / "all" / "cubes.jsonl").read_text().replace(f'[["{cube}"', "")
    assert not (tmp_path / "all" / "blobs").exists()
    other = open_memory(":memory:")
    import_archive(other, tmp_path / "all")
    assert [found.text for found in other.space("model").list()] == ["derived from it"]


def test_vectors_of_changed_texts_stay_behind(filed: Mnemos, open_memory: Callable[..., Mnemos], tmp_path: Path) -> None:
    filed.space("a").add_many([{"text": "a plain text"}, {"text": f"write to {EMAIL}"}])
    export_archive(filed, tmp_path / "all", redact=Redactor())
    (vectors,) = read_manifest(tmp_path / "all").embedders
    assert [payload.count for payload in read_manifest(tmp_path / "all").payloads if payload.path == vectors.path] == [1]
    other = open_memory(":memory:")
    import_archive(other, tmp_path / "all")
    assert [cube.text for cube in other.space("a").list()] == ["a plain text", "write to [email]"]
    with other.snapshot() as snapshot:
        assert snapshot.count()["vectors"] == 2


def test_generated_secrets_in_random_fields(open_memory: Callable[..., Mnemos], tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    mem = open_memory(":memory:", embedder="none")
    space = mem.space("a")
    redactor = Redactor(names=NAMES)
    gone: set[str] = set()
    for number, sample in enumerate(samples(rng, 12)):
        strings = [sample.text[start:end] for start, end, _ in sample.spans]
        found = [string for _, string in redactor.redacted(sample.text)[1]]
        gone.update(string for string in found if len(string) > 5)
        if not strings:
            continue
        fields: dict[str, Any] = {}
        for name, value in (("author", strings[0][:300]), ("tags", strings), ("metadata", {"note": strings[0], "list": strings})):
            if rng.random() < 0.5:
                fields[name] = value
        space.add(sample.text, source=f"sample {number}", **fields)
    assert len(gone) > 100
    export_archive(mem, tmp_path / "all", redact=redactor)
    assert leaked(tmp_path / "all", tuple(gone)) == []


def test_redacted_lists_and_keys_stay_apart() -> None:
    redaction = Redaction(Redactor())
    record = {"id": "01890a5d-ac96-774b-bcce-b302099a8057", "tags": [EMAIL, "x@example.org", "y"], "parents": [1, 1]}
    line = {"space": "a", "record": {**record, "metadata": {EMAIL: 1, "x@example.org": 2, "pin code": 4821}}}
    redaction.learn_all(lambda: [line])
    record = redaction.line(line)["record"]
    assert record["tags"] == ["[email]", "y"]
    assert record["parents"] == [1, 1]
    assert record["metadata"] == {"[email]": 1, "[email] 2": 2, "pin code": "[password]"}
    assert redaction.name(EMAIL) == "[email] 1"
    assert redaction.name("x@example.org") == "[email] 2"
    assert redaction.name(EMAIL) == "[email] 1"
