"""Memory tokens and memories on disk; documents that are memorised, asked, and forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from activation.tiny_llama import greedy, llama, run, tokens
from mnemos.activation.beacon import saving
from mnemos.activation.beacon.beacons import Beacons
from mnemos.activation.beacon.library import Library
from mnemos.activation.beacon.plain import gists, lite, remembered
from mnemos.activation.beacon.windows import Windows
from mnemos.activation.prefixes import PrefixStore
from mnemos.base.errors import Corrupt, FingerprintMismatch, Invalid, NotFound
from mnemos.models import reference
from mnemos.models.local.model import LocalModel

torch.set_num_threads(1)
DOCUMENTS = {name: tokens(1, length, seed=number)[0].tolist() for number, (name, length) in enumerate({"a": 40, "b": 23, "c": 64}.items())}


@pytest.fixture
def model() -> LlamaForCausalLM:
    return llama()


@pytest.fixture
def beacons(model: LlamaForCausalLM) -> Iterator[Beacons]:
    out = Beacons(model)
    with torch.no_grad():
        for number, weight in enumerate(out.parameters()):
            weight += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(number))
    yield out
    out.remove()


def filled(beacons: Beacons, names: str = "abc", apart: bool = False) -> Library:
    library = Library(beacons, Windows(16, 4), first=[7, 8], apart=apart)
    for name in names:
        library.memorise(name, DOCUMENTS[name])
    return library


def same(one: Library, other: Library) -> bool:
    """Whether all tensors, and what is said of the documents, are the same."""
    return one.parts == other.parts and all(
        torch.equal(a, b)
        for mine, theirs in zip(one.memory.layers, other.memory.layers, strict=True)
        for a, b in zip((*mine.remembered, *mine.tail), (*theirs.remembered, *theirs.tail), strict=True)
    )


@pytest.mark.parametrize("windows", [Windows(16, 4), Windows(16, None), Windows(8, (2, 4), sinks=1, eager=True)])
def test_a_memory_that_was_saved_goes_on_bit_for_bit(model: LlamaForCausalLM, beacons: Beacons, windows: Windows) -> None:
    memory, name = beacons.memory(windows), saving.fingerprint(beacons)
    logits = run(model, memory, tokens(2, 53))
    back = saving.load(beacons, saving.dump(memory, name), name)
    for one, other in zip(memory.layers, back.layers, strict=True):
        assert all(torch.equal(a, b) for a, b in zip((*one.remembered, *one.tail), (*other.remembered, *other.tail), strict=True))
    going, gone = (greedy(model, each, logits[:, -1], 20) for each in (memory, back))
    assert going[0] == gone[0]
    assert torch.equal(going[1], gone[1])
    assert (back.held(), back.get_seq_length()) == (memory.held(), memory.get_seq_length())


def test_a_memory_of_another_model_or_damaged_is_refused(model: LlamaForCausalLM, beacons: Beacons) -> None:
    memory, name = beacons.memory(Windows(16, 4)), saving.fingerprint(beacons)
    run(model, memory, tokens(1, 40))
    data = saving.dump(memory, name)
    with torch.no_grad():
        beacons.embedding[0] += 1
    assert saving.fingerprint(beacons) != name
    with pytest.raises(FingerprintMismatch, match="memorise"):
        saving.load(beacons, data, saving.fingerprint(beacons))
    for damaged in (b"", data[: len(data) // 2], data.replace(b'\\"base\\": 8', b'\\"base\\": 9')):
        with pytest.raises(Corrupt):
            saving.load(beacons, damaged, name)


def test_only_the_memory_tokens_are_saved_and_only_their_model_takes_them(model: LlamaForCausalLM, beacons: Beacons, tmp_path: Path) -> None:
    size = saving.save_beacons(beacons, tmp_path / "beacons")
    assert size == (tmp_path / "beacons").stat().st_size < 4 * sum(weight.numel() for weight in beacons.parameters()) + 4000
    wanted = {name: weight.clone() for name, weight in beacons.state_dict().items()}
    beacons.remove()
    fresh = Beacons(model)
    saving.load_beacons(fresh, tmp_path / "beacons")
    assert all(torch.equal(weight, wanted[name]) for name, weight in fresh.state_dict().items())
    fresh.remove()
    with pytest.raises(Invalid, match="output"):
        saving.load_beacons(Beacons(model, output=False), tmp_path / "beacons")
    with pytest.raises(FingerprintMismatch, match="trained on"):
        saving.load_beacons(Beacons(llama(seed=1)), tmp_path / "beacons")
    (tmp_path / "other").write_bytes(b"no")
    with pytest.raises(Corrupt):
        saving.load_beacons(fresh, tmp_path / "other")


def test_a_document_in_two_goes_at_a_border_is_one(beacons: Beacons) -> None:
    once, twice = filled(beacons, "a"), filled(beacons, "a")
    once.memorise("c", DOCUMENTS["c"])
    twice.memorise("c", DOCUMENTS["c"][:32])
    twice.memorise("c", DOCUMENTS["c"][32:])
    assert twice.parts == once.parts
    for one, other in zip(once.memory.layers, twice.memory.layers, strict=True):
        assert torch.allclose(one.remembered[0], other.remembered[0], atol=1e-5)


def test_documents_have_windows_of_their_own(beacons: Beacons) -> None:
    library = filled(beacons)
    assert [(part.start, part.stop) for part in library.parts] == [(2, 12), (12, 18), (18, 34)]
    assert library.memory.held() == (34,)


def test_a_forgotten_document_leaves_what_came_after_it_approximate_until_it_is_renewed(beacons: Beacons) -> None:
    library, right = filled(beacons), filled(beacons, "ac")
    assert library.forget("b") == ("c",)
    assert library.documents == ("a", "c")
    assert library.memory.held() == (28,)
    assert [part.approximate for part in library.parts] == [False, True]
    assert not same(library, right)
    assert library.renew() == 1
    assert same(library, right)
    with pytest.raises(NotFound, match="a, c"):
        library.forget("b")


def test_forgetting_and_reading_again_is_never_having_read(beacons: Beacons) -> None:
    library = filled(beacons)
    assert library.forget("a", again=True) == ()
    assert same(library, filled(beacons, "bc"))


@pytest.mark.parametrize("fails_at", [1, 2])
def test_where_reading_again_fails_no_document_is_lost(beacons: Beacons, monkeypatch: pytest.MonkeyPatch, fails_at: int) -> None:
    library, read, calls = filled(beacons), Library._read, iter(range(1, 99))

    def failing(self: Library, *told: object) -> None:
        if next(calls) == fails_at:
            raise MemoryError("no room")
        read(self, *told)  # type: ignore[arg-type]

    before = filled(beacons)
    monkeypatch.setattr(Library, "_read", failing)
    with pytest.raises(MemoryError):
        library.forget("a", again=True)
    assert same(library, before)
    library.forget("a", again=True)
    assert same(library, filled(beacons, "bc"))


def test_documents_read_apart_are_forgotten_exactly(beacons: Beacons) -> None:
    library = filled(beacons, apart=True)
    assert library.forget("b") == ()
    assert same(library, filled(beacons, "ac", apart=True))


def test_a_library_that_was_saved_is_the_same(model: LlamaForCausalLM, beacons: Beacons) -> None:
    library = filled(beacons)
    library.forget("a")
    back = Library.load(beacons, library.dump())
    assert same(back, library)
    assert torch.equal(run(model, back.fork(), tokens(1, 9)), run(model, library.fork(), tokens(1, 9)))
    back.memorise("d", DOCUMENTS["a"])
    library.memorise("d", DOCUMENTS["a"])
    assert same(back, library)
    with pytest.raises(Corrupt):
        Library.load(beacons, library.dump()[:100])


def test_a_document_that_does_not_fit_leaves_the_library_as_it_was(beacons: Beacons) -> None:
    library = Library(beacons, Windows(16, None), first=[7])
    library.memorise("a", DOCUMENTS["a"])
    before = library.dump()
    with pytest.raises(Invalid, match="larger ratio"):
        library.memorise("long", tokens(1, 1100)[0].tolist())
    assert library.dump() == before
    with pytest.raises(Invalid, match="no tokens"):
        library.memorise("empty", [])


def test_plain_memories_of_everything_and_of_gists_are_kept(tmp_path: Path) -> None:
    module, tokenizer = reference.load()
    model = LocalModel(module, tokenizer)
    store, text = PrefixStore(tmp_path, model.fingerprint), model.encode("<s> boze bupa : febe fiti ; febe fiti : bupa boze ;", special=False)
    first = remembered(model, store, text)
    again = remembered(model, PrefixStore(tmp_path, model.fingerprint), text)
    question = model.encode("<q> key boze bupa <a>", special=False)
    assert model.generate(question, again, max_tokens=3).run() == model.generate(question, first, max_tokens=3).run()
    assert [len(model.encode(gist)) <= 5 for gist in gists(model, text, chunk=7, most=5)] == [True] * 2
    told, memory = lite(model, store, text, chunk=7, most=5)
    assert memory.get_seq_length() == len(told)
    assert store.match(told).length == len(told)
    with pytest.raises(Invalid, match="nothing to remember"):
        remembered(model, store, [])


def test_a_library_that_fits_grows_its_ratio_as_documents_come(model: LlamaForCausalLM, beacons: Beacons) -> None:
    library, ratios = Library(beacons, Windows(16), first=[7, 8], fit=True), []
    for number in range(4):
        library.memorise(f"{number}", tokens(1, 400 + 500 * number, seed=number)[0].tolist())
        ratios.append(library.windows.ratio)
    assert ratios == [None, 2, 4, 8]
    at_once = Library(beacons, Windows(16, 8), first=[7, 8])
    for part in library.parts:
        at_once.memorise(part.name, part.tokens)
    assert same(library, at_once)
    before = library.dump()
    with pytest.raises(Invalid, match="at any ratio"):
        library.memorise("more", [5] * 40_000)
    assert library.dump() == before
    again = Library.load(beacons, before)
    again.memorise("3", [5] * 30)
    assert (again.fit, again.documents) == (True, library.documents)
