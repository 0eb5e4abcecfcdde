"""`mnemos kv`: a text is warmed with a model in a folder, listed, inspected, and dropped."""

from __future__ import annotations

from uuid import UUID

import pytest
from cli_outcome import Mnemos

from kernel.kv.byte_llama import model
from mnemos import open as opened
from mnemos.activation.beacon import reference
from mnemos.activation.beacon.recaller import BeaconRecaller
from mnemos.errors import Invalid
from mnemos.kernel.kv import prompts
from mnemos.kernel.life.heat import COLD
from mnemos.kernel.scheduling import FORESIGHT
from mnemos.models import reference as base
from mnemos.models.local.model import LocalModel


@pytest.fixture
def text(mnemos: Mnemos) -> str:
    model().save("model")
    added: str = mnemos("add", "Alice moved to Lisbon in May.").out.strip()
    return added


def test_a_text_is_warmed_once_listed_and_dropped(mnemos: Mnemos, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    warmed = mnemos("kv", "warm", text, "--model", "model", "--json").json
    assert [one["accepted"] for one in warmed["warmed"]] == [True]
    assert mnemos("kv", "warm", text, "--model", "model").out == "1 text was kept already.\n"
    listed = mnemos("kv", "list", "--json").json
    (entry,) = listed["kv"]
    assert (entry["source"], entry["stale"], entry["fits"]) == (text, False, None)
    assert listed["bytes"] == entry["bytes"] > 0
    monkeypatch.setenv("MNEMOS_LANGUAGE_MODEL", "model")
    assert mnemos("kv", "inspect", text, "--json").json["fits"] is True
    assert entry["fingerprint"] == LocalModel.load("model").fingerprint
    assert "text is still there" in mnemos("kv", "drop", entry["id"]).out
    assert mnemos("kv", "list").out.splitlines()[-2:] == ["0 KV memories, 0 B.", "Make some: mnemos kv warm IDS --model PATH"]


def test_a_text_is_kept_by_a_policy(mnemos: Mnemos, monkeypatch: pytest.MonkeyPatch) -> None:
    model().save("model")
    monkeypatch.setenv("MNEMOS_LANGUAGE_MODEL", "model")
    text = mnemos("add", "Alice moved to Lisbon in May, and took the two grey cats along.").out.strip()
    said = "kivi:bits=2,group=8,recent=8"
    for options in ([], ["--policy", said], ["--policy", said]):
        mnemos("kv", "warm", text, *options)
    monkeypatch.setenv("MNEMOS_KV_POLICY", said)
    assert mnemos("kv", "warm", text).out == "1 text was kept already.\n"
    full, small = mnemos("kv", "list", "--json").json["kv"]
    assert (full["policy"], small["policy"], small["source"]) == ("full", said, text)
    assert small["bytes"] < full["bytes"]
    assert [line.split("\t")[-1] for line in mnemos("kv", "list").out.splitlines()[1:-1]] == ["full", said]
    assert ["policy", said] in [line.split("\t") for line in mnemos("kv", "inspect", small["id"]).out.splitlines()]
    assert mnemos("kv", "drop", text).out == "Dropped, in 2 forms. The text is still there.\n"
    assert "of one request" in mnemos("kv", "warm", text, "--policy", "snapkv:share=0.5", "--json").error["message"]
    assert "no KV policy is named" in mnemos("kv", "warm", text, "--policy", "colour", "--json").error["message"]


def test_a_list_says_what_each_is_of_and_whether_it_can_be_used(mnemos: Mnemos, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "CHUNK", 16)
    mnemos("kv", "warm", text, "--model", "model")
    with opened("memory.db", embedder="none", language_model=LocalModel.load("model")) as mem:
        space = mem.space("default")
        space.kv.generate("Answer in one word, or in two. Alice moved to Lisbon in May.", sources=[text], max_tokens=1).run()
        uses = mem.tracker.peek(UUID(text)).hits
    rows = [line.split("\t") for line in mnemos("kv", "list").out.splitlines()]
    assert rows[0] == ["id", "text", "tokens", "bytes", "state", "model", "of", "policy"]
    assert [(row[1], row[4], row[6]) for row in rows[1:-1]] == [
        (text, "ready", "Alice moved to Lisbon in May."), ("", "ready", "a prompt's tokens 0 to 16"),
        ("", "ready", "a prompt's tokens 16 to 32, with 1 text of memories"), ("", "ready", "a prompt's tokens 32 to 48"),
    ]  # fmt: skip
    assert mnemos("kv", "drop", rows[3][0]).out == "Dropped, with 1 part that follows.\n"
    assert ["memory", text] in [line.split("\t") for line in mnemos("kv", "inspect", text).out.splitlines()]
    mnemos("archive", text)
    assert mnemos("kv", "list", "--json").json["kv"][0]["state"] == "archived"
    assert "restore it" in mnemos("kv", "warm", text, "--model", "model", "--json").error["message"]
    with opened("memory.db", embedder="none") as mem, mem.snapshot() as snapshot:  # to list is no use
        assert snapshot.heat([UUID(text)]).get(UUID(text), COLD).hits <= uses


def test_what_gives_way_for_room_is_said(mnemos: Mnemos, text: str) -> None:
    other = mnemos("add", "The boat leaves at seven.").out.strip()
    mnemos("kv", "warm", text, "--model", "model")
    assert "1 KV memory gave way" in mnemos("kv", "warm", other, "--model", "model", "--room", "12k").out
    assert [entry["source"] for entry in mnemos("kv", "list", "--json").json["kv"]] == [other]
    assert "8 tons" in mnemos("kv", "warm", other, "--model", "model", "--room", "8 tons", "--json").error["message"]


def test_what_is_missing_is_said(mnemos: Mnemos, text: str) -> None:
    assert "--model PATH" in mnemos("kv", "warm", text, "--json").error["message"]
    assert "kv list" in mnemos("kv", "drop", text, "--json").error["message"]
    assert "nowhere" in mnemos("kv", "warm", text, "--model", "nowhere", "--json").error["message"]


def test_what_would_not_pay_is_declined(mnemos: Mnemos, text: str) -> None:
    assert mnemos("kv", "warm", text, "--model", "model", "--uses", "0").out.startswith("Declined: pays")


def test_an_archive_takes_it_along_where_that_is_asked_for(mnemos: Mnemos, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "CHUNK", 16)
    prompt = "Answer in one word, or in two. Alice moved to Lisbon in May."
    with opened("memory.db", embedder="none", language_model=LocalModel.load("model")) as mem:
        mem.space("default").kv.warm(text)
        mem.space("default").kv.generate(prompt, sources=[text], max_tokens=1).run()
        fingerprint, kept = mem.language_model.fingerprint, len(mem.space("default").kv.entries())
    assert mnemos("export", "without.zip", "--json").json["models"] == {}
    written = mnemos("export", "with.zip", "--kv")
    assert f"For the model {fingerprint} alone: {kept} memories" in written.out
    assert mnemos("export", "folder", "--folder", "--kv", "--json").json["models"] == {fingerprint: {"kv": kept}}
    assert "archives" in mnemos("export", "lines.jsonl", "--kv", "--json").error["message"]
    assert "taken out" in mnemos("export", "some.zip", "--kv", "--redact", "all", "--json").error["message"]
    assert "--model" in mnemos("-s", "other.db", "import", "with.zip", "--json").error["message"]
    said = mnemos("-s", "other.db", "import", "model/config.json", "--format", "text", "--model", fingerprint, "--json")
    assert "no archive" in said.error["message"]
    assert mnemos("-s", "other.db", "import", "with.zip", "--model", "model").code == 0
    assert mnemos("-s", "third.db", "import", "folder", "--model", fingerprint).code == 0
    for store in ("other.db", "third.db"):
        with opened(store, embedder="none", language_model=LocalModel.load("model")) as mem:
            kv = mem.space("default").kv
            assert (kv.take([text]).read, kv.prefix(prompt).taken) == (0, 48)
            mem.space("default").forget([text])
            assert [entry.sources for entry in kv.entries()] == [()]  # what stands before the text
            assert mem.verify().ok


def test_a_server_reads_ahead_unless_it_is_told_not_to(mnemos: Mnemos, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("uvicorn", reason="serving needs the [server] extra")
    from mnemos.server.run import serve

    given: list[dict[str, object]] = []
    monkeypatch.setattr("mnemos.server.run.serve", lambda path, **options: given.append(options))
    for switch in ((), ("--kv-ahead",), ("--no-kv-ahead",)):
        assert mnemos("serve", *switch).code == 0
    assert [options.get("kv_ahead", FORESIGHT) for options in given] == [FORESIGHT, FORESIGHT, None]
    with pytest.raises(Invalid, match="kv_ahead"):  # the store is what it is for
        serve(":memory:", port=0, embedder="none", kv_ahead=0.5)  # type: ignore[arg-type]


def test_a_server_is_given_memory_tokens(mnemos: Mnemos, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("uvicorn", reason="serving needs the [server] extra")
    given: dict[str, object] = {}
    monkeypatch.setattr("mnemos.server.run.serve", lambda path, **options: given.update(options))
    weights = str(reference.folder() / reference.WEIGHTS)
    tokens = ("--memory-tokens", weights, "--memory-windows", "64/4")
    assert "give --model" in mnemos("serve", *tokens).err
    done = mnemos("serve", "--model", str(base.folder()), *tokens)
    assert done.code == 0, done.err
    recaller = given["recaller"]
    assert isinstance(recaller, BeaconRecaller)
    assert (recaller.section, recaller.windows.ratio) == (64, 4)
    assert recaller.beacons.adapted
    for wrong, said in ((("--memory-tokens", "nowhere"), "there is no file"), (("--memory-tokens", weights, "--memory-windows", "64"), "SIZE/RATIO")):
        assert said in mnemos("serve", "--model", str(base.folder()), *wrong).err
    model().save("model")
    assert "were trained on the model" in mnemos("serve", "--model", "model", *tokens).err
