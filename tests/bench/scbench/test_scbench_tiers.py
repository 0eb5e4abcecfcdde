"""Methods beyond caches and policies: a shortened prompt, fragments, memory tokens and landmarks, on the same table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from mnemos.activation.calibration import calibrate
from mnemos.base.errors import MnemosError
from mnemos.bench.registry import Options, find
from mnemos.bench.scbench import planned
from mnemos.bench.scbench.choosing import Choice, Way
from mnemos.bench.scbench.hf import CacheMethod
from mnemos.bench.scbench.methods import CompactCodec
from mnemos.bench.scbench.records import COMPACT
from mnemos.bench.scbench.tasks import generate
from mnemos.bench.scbench.tiers import BeaconMethod, FragmentsMethod, PromptMethod
from mnemos.models import reference

CODEC = CompactCodec()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model() -> Any:
    return reference.load()[0]


def test_all_tiers_stand_on_one_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planned, "CONTEXTS", 1)
    ways = ("full,pyramidkv:share=1/4:window=16,uncomp:share=1/4:plan=calibrate:window=16,lazyeviction:share=1/2,prompt:ratio=3:by=statistics,"
            "fragments:share=.15,beacon:ratio=4,landmark")  # fmt: skip
    own = {"tasks": "kv", "mode": "multi-turn", "methods": ways, "length": "192", "turns": "2", "sessions": "1"}
    tables = find("scbench").run(Options(own=own)).as_dict()["details"]["tables"]
    costs, scores = tables["multi-turn: costs"], tables["multi-turn: scores"]["kv"]
    assert len(costs) == len(ways.split(","))
    full = costs.pop("full cache")
    assert costs["memory tokens 1/4"]["device KiB"] < 0.6 * full["device KiB"]
    assert costs["prompt 1/3 by statistics"]["device KiB"] < 0.6 * full["device KiB"]
    assert costs["prompt 1/3 by statistics"]["evidence held"] < 1
    assert costs["landmark"]["evidence held"] == 1
    assert costs["landmark"]["host KiB"] > costs["landmark"]["device KiB"]
    assert costs["fragments of 64, 0.15 read again"]["evidence held"] == 1
    assert all(cost["rolled back"] == 1 for cost in costs.values())
    assert scores["full cache"].startswith("1.000")


def test_what_loses_nothing_says_what_the_full_cache_says(model: Any) -> None:
    record = generate("kv", 160, 2, 3, COMPACT)
    context, question = CODEC.encode(record.context), CODEC.encode(record.turns[0].input)
    full = CacheMethod(model)
    whole = full.prefill(context)
    full.append(whole, question)
    expected = full.next_logits(whole)
    for method in (FragmentsMethod(model, 1.0), FragmentsMethod(model, mode="rebuilt", size=50), PromptMethod(model, 1)):
        handle = method.prefill(context)
        fork = method.fork(handle)
        assert method.digest(handle) == method.digest(fork)
        method.append(fork, question)
        assert torch.allclose(method.next_logits(fork), expected, atol=1e-3)
        assert method.digest(handle) != method.digest(fork)


def test_a_shortened_prompt_keeps_what_is_unlikely_and_says_where_it_stood(model: Any) -> None:
    tokens = CODEC.encode(generate("kv", 160, 2, 3, COMPACT).context)
    for by in ("surprisal", "statistics"):
        method = PromptMethod(model, 3, by)
        handle = method.prefill(tokens)
        assert handle.length == len(handle.places) == -(-len(tokens) // 3)
        assert handle.places[0] == 0
        held = method.stats(handle).held
        assert held is not None
        assert set(held[0][0]) == set(handle.places)
    with torch.no_grad():
        said = model(torch.tensor([tokens])).logits[0].float().log_softmax(-1)
    surprisal = [torch.inf, *(-float(said[at - 1, tokens[at]]) for at in range(1, len(tokens)))]
    dropped = set(range(len(tokens))) - set(PromptMethod(model, 3).chosen(tokens))
    assert max(surprisal[at] for at in dropped) <= min(surprisal[at] for at in set(range(len(tokens))) - dropped) + 1e-3
    counts = [tokens.count(token) for token in tokens]
    kept = PromptMethod(model, 3, "statistics").chosen(tokens)
    assert max(counts[at] for at in kept[1:]) <= min(counts[at] for at in set(range(1, len(tokens))) - set(kept))


def test_options_that_need_the_model_are_filled_in(model: Any, tmp_path: Any) -> None:
    choice = Choice(length=200)
    assert planned.options_of(Way.of("pyramidkv:share=1/8"), model, choice) == {"share": 0.125, "layers": 4}
    assert planned.options_of(Way.of("lazyeviction:share=1/4"), model, choice) == {"tokens": 50}
    path = tmp_path / "plan.json"
    calibrate(model, planned._fingerprint(choice), [[1, 5, 9, 4] * 8]).save(path)
    assert planned.options_of(Way.of(f"uncomp:plan={path}"), model, choice)["plan"].groups == 2


@pytest.mark.parametrize(
    ("methods", "model", "said"),
    [
        ("prompt:ratio=.5", "reference", "1 or more"),
        ("prompt:by=chance", "reference", "surprisal"),
        ("prompt:aware", "reference", "leave 'aware' out"),
        ("fragments:size=1", "reference", "2 or more"),
        ("fragments:hops=1", "reference", "does not take"),
        ("beacon:ratio=3", "reference", "divided"),
        ("landmark:bits=3", "reference", "bits"),
        ("uncomp:share=1/8:plan=none.json", "reference", "no plan"),
        ("prompt:ratio=3", "memory", "there are memory"),
    ],
)
def test_what_cannot_be_is_refused(methods: str, model: str, said: str) -> None:
    with pytest.raises(MnemosError, match=said):
        find("scbench").run(Options(own={"methods": methods, "model": model, "length": "160"}))


def test_memory_tokens_are_of_the_model_that_has_them() -> None:
    from mnemos.activation.beacon import reference as trained

    method = BeaconMethod(trained.load(reference.load()[0]), None)
    record = generate("kv", 160, 2, 3, COMPACT)
    handle = method.prefill(CODEC.encode(record.context))
    method.append(handle, CODEC.encode(record.turns[0].input))
    assert CODEC.decode(method.generate(method.fork(handle), 8, CODEC.stop).tokens) == record.turns[0].reference
    assert not method.rewind(handle, 10)
