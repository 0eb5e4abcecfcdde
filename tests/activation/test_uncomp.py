"""UNComp: entropy, plans, budgets by groups, and reading in stages."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from activation.tiny_llama import greedy, llama, plan, run, tokens
from mnemos.activation import attending as layers
from mnemos.activation.calibration import Plan, calibrate
from mnemos.activation.deletion import left
from mnemos.activation.entropy import chord, fixed, matrix_entropy, spectrum, truncated
from mnemos.activation.memory import KVMemory
from mnemos.activation.planning import GROUPS, HeadGroups, grouped, spaced, stages_of, weakest
from mnemos.activation.policies import policy
from mnemos.activation.policy import UNIFORM, Policy
from mnemos.activation.prefixes import PrefixStore
from mnemos.activation.quantised import Quantise
from mnemos.activation.saving import dump, load
from mnemos.activation.signal import costs, needs, with_cost, with_need
from mnemos.activation.stages import DROPPED, Stages, prefill
from mnemos.base.errors import Corrupt, FingerprintMismatch, Invalid

torch.set_num_threads(1)

LENGTH = 96


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# Entropy


def test_entropy_of_one_direction_is_nothing_and_of_all_alike_is_the_most() -> None:
    line = np.outer(rng().normal(size=200), rng(1).normal(size=16))
    assert matrix_entropy(line) == pytest.approx(0, abs=1e-9)
    even = spectrum(rng().normal(size=(1600, 32)))
    assert truncated(even, 32, normalised=True) == pytest.approx(1, abs=0.02)
    assert truncated(even, 8) == pytest.approx(8 / 32 * np.log(32), rel=0.15)
    assert matrix_entropy(np.ones((20, 8))) == 0
    assert matrix_entropy(np.full((20, 8), 0.1) + 1e6) == 0


def test_entropy_does_not_change_with_rotation_scale_and_place() -> None:
    half = rng().normal(size=(100, 12)) * np.linspace(0.1, 2, 12)
    vectors = np.concatenate([half, -half])  # centred, and so also when rows and their opposites are scaled alike
    turn = np.linalg.qr(rng(2).normal(size=(12, 12)))[0]
    scales = np.tile(rng(3).uniform(0.1, 9, size=100), 2)[:, None]
    expected = matrix_entropy(vectors)
    for same in (vectors @ turn, vectors * scales, vectors * 1e-3, vectors + 7.5):
        assert matrix_entropy(same) == pytest.approx(float(expected), abs=1e-9)
    assert matrix_entropy(half @ np.diag(np.arange(12.0))) != pytest.approx(float(expected), abs=1e-3)


def test_entropy_grows_with_what_is_counted_and_is_one_for_numpy_and_torch() -> None:
    vectors = rng().normal(size=(2, 3, 50, 10))
    values = spectrum(vectors)
    entropies = np.stack([truncated(values, k) for k in range(11)])
    assert (np.diff(entropies, axis=0) >= 0).all()
    assert values.sum(-1) == pytest.approx(np.ones((2, 3)))
    assert spectrum(torch.from_numpy(vectors)) == pytest.approx(values, abs=1e-12)
    assert spectrum(torch.from_numpy(vectors).float()) == pytest.approx(values, abs=1e-5)


def test_few_rows_have_the_spectrum_of_their_products_and_shrinkage_fills_it() -> None:
    vectors = rng().normal(size=(6, 20))
    rows = vectors - vectors.mean(0)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    right = np.sort(np.linalg.eigvalsh(rows.T @ rows / 6))[::-1]
    assert spectrum(vectors) == pytest.approx(right / right.sum(), abs=1e-12)
    whole = [float(truncated(spectrum(vectors, shrinkage), 20, normalised=True)) for shrinkage in (0.0, 0.5, 1.0)]
    assert whole[0] < whole[1] < whole[2] == pytest.approx(1)


def test_the_elbow_is_where_the_spectrum_bends() -> None:
    steep = np.concatenate([np.full(5, 1.0), np.full(15, 1e-4)])
    assert chord((steep / steep.sum())[None]).tolist() == [5]
    assert chord(np.full((1, 8), 1 / 8)).tolist() == [8]
    assert chord(np.zeros((1, 8))).tolist() == [1]
    assert fixed(np.zeros((2, 128))).tolist() == [32, 32]
    assert fixed(np.zeros((1, 2))).tolist() == [1]


def test_bad_vectors_and_rules_are_refused() -> None:
    with pytest.raises(Invalid, match="2 rows"):
        spectrum(np.zeros((1, 4)))
    with pytest.raises(Invalid, match="shrinkage"):
        spectrum(np.zeros((3, 4)), 2)
    assert matrix_entropy(rng().normal(size=(50, 8)), "half") > matrix_entropy(rng().normal(size=(50, 8)))
    with pytest.raises(Invalid, match="rule"):
        matrix_entropy(np.zeros((3, 4)), "knee")


# Plans


def test_budgets_are_spaced_by_group_and_sum_exactly() -> None:
    assert spaced([0, 1], 384) == [512, 256]
    assert spaced([1, 0, 2], 300) == [300, 400, 200]
    assert spaced([1, 1, 0, 1], 18, 1 - 12 / 18) == [12, 12, 36, 12]
    for seed in range(200):
        generator = rng(seed)
        heads = int(generator.integers(1, 33))
        numbers = grouped(generator.normal(size=heads).tolist(), int(generator.integers(1, heads + 1)))
        mean = int(generator.integers(9, 700))
        counts = spaced(numbers, mean, float(generator.uniform(0, 0.99)), 9)
        assert sum(counts) == mean * heads
        assert min(counts) >= 9
        by_group = [counts[head] for head in sorted(range(heads), key=lambda head: numbers[head])]
        assert by_group == sorted(by_group, reverse=True)
    with pytest.raises(Invalid, match="at least"):
        spaced([0, 1], 8, least=9)


def test_heads_of_more_entropy_are_in_earlier_groups_and_layers_change_stage_where_it_falls() -> None:
    assert grouped([0.1, 0.9, 0.5, 0.3], 2) == (1, 0, 0, 1)
    assert grouped([0.1, 0.9, 0.5, 0.3], 9) == (3, 0, 1, 2)
    assert grouped([0.1, 0.9, 0.5, 0.3], 2, 0.25) == grouped([0.1, 0.9, 0.5, 0.3], 2, 0.01) == (1, 0, 1, 1)
    assert grouped([0.1, 0.9, 0.5, 0.3], 3, 0.99) == (2, 0, 0, 1)
    with pytest.raises(Invalid, match="first group"):
        grouped([0.1, 0.9], 2, 1.0)
    assert stages_of([10, 9.9, 7, 6.9, 6.0], 0.15) == (0, 0, 1, 1, 2)
    assert stages_of([1, 2, 1.5, 3]) == (0, 0, 0, 0)
    wider = [10 * each for each in (10, 9.9, 7, 6.9, 6.0)]
    assert stages_of(wider, 0.15) == (0, 0, 1, 1, 2)  # a share of the fall, whatever the width


def test_orders_to_compare_with_spend_as_much() -> None:
    numbers = (0, 1, 2, 1)
    made = {order: HeadGroups((numbers,), order=order, seed=5).plan_of(0, numbers, 100) for order in ("entropy", "reversed", "random")}
    assert made["reversed"] == [made["entropy"][head] for head in (2, 1, 0, 3)]
    assert sorted(made["random"]) == sorted(made["entropy"])
    layers = [HeadGroups((numbers,) * 3, (0, 1, 2)).plan_of(layer, numbers, 100) for layer in range(3)]
    assert [sum(layer) for layer in layers] == [536, 400, 264]  # 1,200 in all


def test_a_plan_is_of_one_model_and_comes_back_as_it_was(tmp_path: object) -> None:
    its = plan(llama())
    path = f"{tmp_path}/plan.json"
    its.save(path)
    assert Plan.load(path, its.fingerprint) == its
    assert Plan.loads(its.with_signal(0.7).dumps(), its.fingerprint).signal == 0.7
    with pytest.raises(FingerprintMismatch, match="calibrate"):
        Plan.load(path, "another")
    plain = json.loads(its.dumps())
    for damage in ({"version": 9}, {"layer_stage": [0]}, {"head_group": [[0], [0]]}, {"more": 1}, {"head_entropy": 3}):
        with pytest.raises(Corrupt):
            Plan.loads(json.dumps({**plain, **damage}), its.fingerprint)
    with pytest.raises(Corrupt):
        Plan.loads("[]", its.fingerprint)


def test_a_plan_says_what_the_models_states_say() -> None:
    model, ids = llama(), tokens(1, 64, seed=4)
    its = calibrate(model, "", ids.tolist())
    memory = KVMemory.of(model, policy("snapkv", tokens=100, window=64))
    run(model, memory, ids)
    turned = calibrate(model, "", ids.tolist(), rule="fixed", rotated=True)
    heard: list[torch.Tensor] = []
    hooks = [layer.self_attn.q_proj.register_forward_hook(lambda module, given, out: heard.append(out[0])) for layer in model.model.layers]
    run(model, KVMemory.of(model), ids)
    for hook in hooks:
        hook.remove()
    for layer, memory_layer in enumerate(memory.managed):
        plain = heard[layer].unflatten(-1, (4, 8)).transpose(0, 1)
        for found, queries, rule in ((its, plain, "half"), (turned, memory_layer.recent.tensors()["states"][0], "fixed")):
            right = [float(np.mean([matrix_entropy(queries[head], rule) for head in (2 * group, 2 * group + 1)])) for group in range(2)]
            assert found.head_entropy[layer] == pytest.approx(right, rel=1e-5)
            assert found.head_group[layer] == grouped(right, 2)
    assert its.head_entropy != turned.head_entropy
    text = its.with_signal(0.1).report()
    assert "no signal" in text
    assert len(text.splitlines()) == 5
    first, second = its.candidates(2)
    assert its.head_entropy[first[0]][first[1]] >= its.head_entropy[second[0]][second[1]] >= max(min(each) for each in its.head_entropy)
    assert its.agreement(its) == 1
    assert its.agreement(replace(its, head_group=tuple(tuple(1 - group for group in each) for each in its.head_group))) == 0
    with pytest.raises(Invalid, match="sequence"):
        calibrate(model, "", [])


def test_votes_count_ranks_not_sizes() -> None:
    sequences = [tokens(1, 40, seed=seed)[0].tolist() for seed in range(3)]
    its = calibrate(llama(layers=1, heads=4, kv_heads=4), "", sequences, votes=True)
    each = np.asarray([calibrate(llama(layers=1, heads=4, kv_heads=4), "", [one]).head_entropy[0] for one in sequences])
    assert its.head_group[0] == grouped(each.argsort(-1).argsort(-1).sum(0).tolist(), 2)


def test_a_plan_without_signal_is_not_followed_and_says_so() -> None:
    its = plan(llama())
    ignored = policy("uncomp", tokens=40, plan=its.with_signal(0.1), window=8)
    assert ignored.planner is UNIFORM  # type: ignore[attr-defined]
    assert ignored.describe()["even"] is True
    assert policy("uncomp", tokens=40, plan=its.with_signal(0.1), window=8, follow=True).describe()["even"] is False
    assert policy("uncomp", tokens=40, plan=its.with_signal(0.5), window=8).describe()["signal"] == 0.5
    assert its.with_signal(float("nan")).has_signal is False


def test_the_plan_of_another_shape_is_refused() -> None:
    model = llama(heads=8, kv_heads=4)
    memory = KVMemory.of(model, policy("uncomp", tokens=40, plan=plan(llama()), window=8))
    run(model, memory, tokens(1, LENGTH))
    with pytest.raises(Invalid, match="calibrate"):
        memory.settle()
    with pytest.raises(Invalid, match="plan="):
        policy("uncomp", tokens=40, window=8, layers="stages")
    with pytest.raises(Invalid, match="order"):
        policy("uncomp", tokens=40, window=8, order="sideways")


# Budgets by groups


def settled(small: Policy, model: object = None, ids: torch.Tensor | None = None) -> KVMemory:
    model = model or llama()
    memory = KVMemory.of(model, small)
    run(model, memory, tokens(1, LENGTH) if ids is None else ids)  # type: ignore[arg-type]
    memory.settle()
    return memory


def test_each_head_holds_what_its_group_has_and_no_byte_more() -> None:
    model = llama(heads=4, kv_heads=4)
    its = plan(model)
    small = policy("uncomp", tokens=24, plan=its, window=8)
    memory = settled(small, model)
    held = [[len(head) for head in layer[0]] for layer in memory.held()]
    assert held == [[(32, 16)[group] for group in groups] for groups in its.head_group]
    keys_and_values = sum(part.keys.nbytes + part.values.nbytes for layer in memory.managed for part in layer.pieces())
    assert keys_and_values == 2 * 4 * 24 * (2 * 8 * 4)  # layers, heads, tokens, bytes of a key and a value
    uniform = settled(policy("snapkv", tokens=24, window=8), model)
    extra = memory.nbytes().near / uniform.nbytes().near
    assert extra == pytest.approx(1, abs=0.05)


def test_memory_is_constant_while_generating_and_the_newest_queries_decide() -> None:
    model = llama()
    memory = settled(policy("uncomp", tokens=40, plan=plan(model), window=8), model)
    before, held = memory.nbytes().total, memory.held()
    sizes = set()
    for step in range(20):
        run(model, memory, tokens(1, 1, seed=step))
        sizes.add(memory.nbytes().total)
        assert all(set(range(LENGTH + step + 1 - 8, LENGTH + step + 1)) <= head for layer in memory.held() for head in layer[0])
    assert sizes == {before}
    old = [(a & set(range(LENGTH - 8)), b & set(range(LENGTH - 8))) for a, b in zip(_flat(held), _flat(memory.held()), strict=True)]
    assert all(now < was for was, now in old)  # one token out for each that came in


def _flat(held: list[list[list[set[int]]]]) -> list[set[int]]:
    return [head for layer in held for row in layer for head in row]


@pytest.mark.parametrize("groups", [2, 3, 4])
def test_ragged_attention_is_that_of_a_masked_dense_cache(groups: int) -> None:
    model = llama(heads=8, kv_heads=4, width=64)
    memory = settled(policy("uncomp", tokens=30, plan=plan(model), window=8, groups=groups), model)
    whole = settled(Policy(), model)
    for ragged, dense in zip(memory.managed, whole.managed, strict=True):
        generator = torch.Generator().manual_seed(1)
        queries, keys, values = (torch.randn(1, heads, 1, 8, generator=generator) for heads in (8, 4, 4))
        scores = torch.einsum("bgrd,bgnd->bgrn", queries.reshape(1, 4, 2, 8), torch.cat([dense.tail.keys, keys], 2)) * ragged.scaling
        for head, places in enumerate(ragged.held()[0]):
            gone = sorted(set(range(LENGTH)) - places)
            assert gone
            scores[0, head, :, gone] = -torch.inf
        expected = torch.einsum("bgrn,bgnd->bgrd", scores.softmax(-1), torch.cat([dense.tail.values, values], 2)).reshape(1, 1, 8, 8)
        given = ragged.attend(queries, keys, values, None, ragged.scaling, torch.tensor([[LENGTH]]), None)
        assert (given - expected).abs().max() <= 1e-5


def test_online_groups_are_those_of_a_calibration_on_the_prompt() -> None:
    model, ids = llama(), tokens(1, LENGTH, seed=6)
    memory = KVMemory.of(model, policy("uncomp", tokens=40, window=8))
    run(model, memory, ids, chunk=40)
    memory.settle()
    right = calibrate(model, "", ids.tolist()).head_group
    assert tuple(tuple(layer.notes[GROUPS]) for layer in memory.managed) == right
    assert memory.managed[0].recent.tensors()["states"].shape[2] == 8  # the prompt's queries are gone again


# Reading in stages


def staged(floor: int = 16, **more: object) -> Policy:
    options = {"tokens": 500, "stages": (0, 0, 1, 2), **more}
    return policy("uncomp", plan=plan(llama(layers=4)), window=8, floor=floor, **options)


def test_one_stage_or_a_high_floor_reads_everything_bit_for_bit() -> None:
    model, ids = llama(layers=4), tokens(2, LENGTH)
    right = run(model, KVMemory.of(model), ids)[:, -1]
    for small in (staged(stages=(0, 0, 0, 0)), staged(floor=LENGTH), staged(longest=4 * LENGTH, floor=2 * LENGTH)):
        memory = KVMemory.of(model, small)
        assert torch.equal(prefill(model, memory, ids, logits_to_keep=0).logits[:, -1], right)
        assert all(layer.tail.length == LENGTH and DROPPED not in layer.notes for layer in memory.managed)


def test_kept_lengths_follow_the_rule() -> None:
    stages = Stages((0, 0, 1, 2, 3), longest=7950, floor=1536)
    assert [stages.keep(stage, 8100) for stage in range(4)] == [8100, 1536 + 2 * 2138, 1536 + 2138, 1536]
    assert [stages.keep(stage, 1000) for stage in range(4)] == [1000] * 4
    assert [Stages((0, 1, 2), floor=16).keep(stage, 96) for stage in range(3)] == [96, 56, 16]
    with pytest.raises(Invalid, match="floor"):
        Stages((0, 1), floor=4)
    with pytest.raises(Invalid, match="stages"):
        Stages((0, 2))


def test_reading_in_stages_is_running_layers_on_the_tokens_that_are_left() -> None:
    model, ids = llama(layers=4), tokens(1, LENGTH)
    memory = KVMemory.of(model, staged())
    logits = prefill(model, memory, ids).logits[:, -1]
    expected, kept = _by_hand(model, ids, {2: 56, 3: 16})
    assert (logits - expected).abs().max() <= 1e-4
    for layer, places in zip(memory.managed, kept, strict=True):
        positions = layer.tail.positions[0, 0].tolist()
        assert positions == places
        assert positions == sorted(set(positions))
        assert set(range(LENGTH - 8, LENGTH)) <= set(positions)
        assert layer.seen == LENGTH
        assert layer.notes.get(DROPPED, 0) == LENGTH - len(places)


def _by_hand(model: torch.nn.Module, ids: torch.Tensor, counts: dict[int, int]) -> tuple[torch.Tensor, list[list[int]]]:
    """Logits of the last token and each layer's positions, by running the model's own layers one at a time with plain attention."""
    model = llama(layers=4)
    model.set_attn_implementation("eager")
    inner, kept = model.model, []
    hidden, places, seen = inner.embed_tokens(ids), torch.arange(ids.shape[1]), None
    with torch.no_grad():
        for number, layer in enumerate(inner.layers):
            if number in counts:
                assert seen is not None
                scores = seen[0].sum(0)[-8:].sum(0)
                scores[-8:] = torch.inf
                best = scores.topk(counts[number]).indices.sort().values
                hidden, places = hidden[:, best], places[best]
            mask = torch.full((len(places), len(places)), -torch.inf).triu(1)[None, None]
            turned = inner.rotary_emb(hidden, position_ids=places[None])
            attention: list[torch.Tensor] = []
            hook = layer.self_attn.register_forward_hook(lambda module, given, out, into=attention: into.append(out[1]))
            hidden = layer(hidden, attention_mask=mask, position_embeddings=turned, position_ids=places[None])
            hook.remove()
            seen = attention[0]
            kept.append(places.tolist())
        return model.lm_head(inner.norm(hidden))[:, -1], kept


def test_what_was_read_in_stages_goes_on_is_smaller_and_is_told() -> None:
    model, ids = llama(layers=4), tokens(1, LENGTH)
    small = staged(tokens=24)
    some, whole = KVMemory.of(model, staged()), KVMemory.of(model, staged(stages=(0, 0, 0, 0)))
    prefill(model, some, ids)
    prefill(model, whole, ids)
    assert some.nbytes().total < 0.8 * whole.nbytes().total
    memory = KVMemory.of(model, small)
    logits = prefill(model, memory, ids).logits[:, -1]
    assert small.describe()["lossy"] == {"stage gather": [0, 0, 1, 2], "longest": None, "floor": 16}
    assert all(layer.settled for layer in memory.managed)
    loaded = load(model, dump(memory, "it"), "it", staged(tokens=24))
    assert greedy(model, memory, logits, 8)[0] == greedy(model, loaded, logits, 8)[0]
    assert memory.get_seq_length() == LENGTH + 8
    assert [max(_flat([layer.held()])[0]) for layer in memory.managed] == [LENGTH + 7] * 4
    assert not any(layer._forward_pre_hooks for layer in model.model.layers)


def test_rows_are_read_in_stages_as_if_alone() -> None:
    model, small = llama(layers=4), staged(longest=LENGTH)
    short, long = tokens(1, 61, seed=1), tokens(1, LENGTH, seed=2)
    both, mask = torch.cat([torch.nn.functional.pad(short, (LENGTH - 61, 0)), long]), torch.ones(2, LENGTH, dtype=torch.long)
    mask[0, : LENGTH - 61] = 0
    memory = KVMemory.of(model, small)
    together = prefill(model, memory, both, mask).logits[:, -1]
    _, seen = greedy(model, memory, together, 6, mask)
    for row, ids in enumerate((short, long)):
        alone = KVMemory.of(model, small)
        logits = prefill(model, alone, ids).logits[:, -1]
        assert (logits - together[row]).abs().max() <= 1e-4
        _, right = greedy(model, alone, logits, 6)
        assert (right[0] - seen[row]).abs().max() <= 1e-4


def test_nothing_is_dropped_from_what_may_be_shared(tmp_path: object) -> None:
    model, ids = llama(layers=4), tokens(1, LENGTH)
    memory = KVMemory.of(model, staged())
    run(model, memory, ids[:, :20])
    with pytest.raises(Invalid, match="empty memory"):
        prefill(model, memory, ids[:, 20:])
    assert not any(layer._forward_pre_hooks for layer in model.model.layers)
    memory = KVMemory.of(model, staged())
    prefill(model, memory, ids)
    with pytest.raises(Invalid):
        PrefixStore(f"{tmp_path}", "it").put(ids[0].tolist(), memory)
    with pytest.raises(Invalid, match="layers"):
        prefill(model, KVMemory.of(model, staged(stages=(0, 1))), ids)


# Signal


def test_what_a_head_needs_is_the_loss_of_cutting_it() -> None:
    model, prompts = llama(), [(tokens(1, 60, seed=seed)[0].tolist(), tokens(1, 4, seed=9)[0].tolist()) for seed in range(2)]
    grown = needs(model, prompts, window=16)
    assert grown.shape == (2, 2, 2)
    assert np.abs(grown).min() > 0
    assert needs(model, prompts, window=200) == pytest.approx(np.zeros((2, 2, 2)), abs=1e-6)
    silent = llama()
    silent.model.layers[1].self_attn.o_proj.weight.data[:, :16] = 0  # what the first key-value head of the second layer fetches is not heard
    deaf = needs(silent, prompts, window=16)
    assert np.abs(deaf[:, 1, 0]).max() < 1e-5 < np.abs(deaf[:, 1, 1]).min()


def test_a_plan_carries_the_rank_correlation_of_entropy_and_need() -> None:
    its = plan(llama())
    entropy = np.asarray(its.head_entropy)
    assert with_need(its, entropy[None] ** 3).signal == pytest.approx(1)
    assert with_need(its, -entropy[None]).has_signal is False
    assert with_need(its, np.zeros_like(entropy)[None]).signal == 0


def test_needs_are_followed_where_other_prompts_say_the_same() -> None:
    its = plan(llama())
    need = np.asarray([[0.1, 0.4], [0.9, 0.2]])
    steady, not_steady = with_need(its, np.stack([need, 2 * need, need])), with_need(its, np.stack([need, -need]))
    assert steady.head_need[1] == pytest.approx((1.2, 0.8 / 3))
    assert (steady.steadiness, not_steady.steadiness) == (pytest.approx(1), pytest.approx(-1))
    assert (steady.source(), not_steady.with_signal(0.1).source(), not_steady.with_signal(0.9).source()) == ("need", None, "entropy")
    assert not_steady.source("need", follow=True) == "need"
    assert with_need(its, need[None]).has_need is False  # of one prompt nobody knows
    assert Plan.loads(steady.dumps(), its.fingerprint) == steady
    assert "by need" in steady.report()
    with pytest.raises(Invalid, match="measured"):
        its.source("need")
    with pytest.raises(Invalid, match="guess"):
        its.source("guess")


def test_budgets_by_need_are_of_all_layers_together() -> None:
    model = llama()
    its = with_need(plan(model), np.asarray([[[0.1, 0.4], [0.9, 0.2]]] * 2))
    small = policy("uncomp", tokens=40, plan=its, window=8)
    assert small.describe()["by"] == "need"
    memory = settled(small, model)
    assert [[len(head) for head in layer[0]] for layer in memory.held()] == [[9, 71], [71, 9]]
    least = [[len(head) for head in layer[0]] for layer in settled(policy("uncomp", tokens=40, plan=its, window=8, groups=4), model).held()]
    assert sum(map(sum, least)) == 160
    assert least[1][0] > least[0][1] > least[1][1] > least[0][0] >= 9
    within = settled(policy("uncomp", tokens=40, plan=its, window=8, layers="even", spread=0.5), model)
    assert [[len(head) for head in layer[0]] for layer in within.held()] == [[20, 60], [60, 20]]
    turned = settled(policy("uncomp", tokens=40, plan=its, window=8, order="reversed"), model)
    assert [[len(head) for head in layer[0]] for layer in turned.held()] == [[71, 9], [9, 71]]
    drawn = HeadGroups(((1, 0), (0, 1)), together=True, order="random", spread=0.5)
    assert sum(sum(drawn.plan_of(layer, (0, 1), 40)) for layer in range(2)) == 160
    entropy = policy("uncomp", tokens=40, plan=plan(model).with_signal(0.9), window=8)
    assert (entropy.planner.together, entropy.planner.spread) == (True, 0.8)  # type: ignore[attr-defined]
    for unsure in (plan(model), plan(model).with_signal(0.1)):
        entropy = policy("uncomp", tokens=40, plan=unsure, window=8, follow=True)
        assert (entropy.planner.together, entropy.planner.spread) == (False, 1 / 3)  # type: ignore[attr-defined]


def test_layers_that_keep_little_go_on_keeping_little_while_generating() -> None:
    model = llama()
    its = with_need(plan(model), np.asarray([[[0.1, 0.2], [0.9, 0.8]]] * 2))
    memory = settled(policy("uncomp", tokens=40, plan=its, window=8), model)
    for step in range(4):
        assert [[len(head) for head in layer[0]] for layer in memory.held()] == [[9, 9], [71, 71]]
        run(model, memory, tokens(1, 1, seed=step))
    short = settled(policy("uncomp", tokens=40, plan=its, window=8), model, tokens(1, 39))
    run(model, short, tokens(1, 1))
    assert [[len(head) for head in layer[0]] for layer in short.held()] == [[40, 40], [40, 40]]  # within the budget nothing is dropped
    run(model, short, tokens(1, 1))
    assert [[len(head) for head in layer[0]] for layer in short.held()] == [[9, 9], [41, 41]]


# Deletion


def test_no_head_deleted_is_the_policy_without_deletion() -> None:
    small = policy("uncomp", tokens=40, plan=plan(llama()), window=8, delete=0)
    assert small == policy("uncomp", tokens=40, plan=plan(llama()), window=8)
    assert small.left(0) is None
    everyone = left(((1, 2, 3), (0, 2, 3), (3, 0, 1), (2, 1, 0)), 2, ())
    states = torch.randn(1, 4, 3, 8)
    assert torch.equal(everyone.of_queries(states), states)
    assert torch.equal(everyone.whole(states.transpose(1, 2)), states.transpose(1, 2))


def test_what_stands_in_for_a_deleted_head_is_the_one_left_that_is_most_like_it() -> None:
    alike = ((1, 3, 2, 5, 4), (0, 2, 3, 4, 5), (3, 1, 0, 4, 5), (2, 0, 1, 4, 5), (5, 1, 2, 3, 0), (4, 0, 1, 2, 3))
    gone = left(alike, 3, (0,))  # query heads 0 and 1
    assert (gone.heads, gone.queries, gone.givers) == ((1, 2), (2, 3, 4, 5), (1, 0, 0, 1, 2, 3))
    output = torch.arange(4.0)[None, None, :, None]
    assert gone.whole(output).flatten().tolist() == [1, 0, 0, 1, 2, 3]
    with pytest.raises(Invalid, match="at most 2"):
        left(alike, 3, (0, 1, 2))
    with pytest.raises(Invalid, match="calibrate"):
        gone.of_queries(torch.zeros(1, 4, 1, 8))
    with pytest.raises(Invalid, match="calibrate"):
        gone.of_heads(torch.zeros(1, 4, 1, 8))


def test_heads_that_carry_least_are_deleted() -> None:
    values = ((0.3, 0.1, 0.2), (0.5, 0.5, 0.9))
    assert weakest(values, 1) == ((1,), (1,))
    assert weakest(values, 2) == ((1, 2), (0, 1))
    assert weakest(values, 1, "reversed") == ((0,), (2,))
    drawn = {weakest(values, 1, "random", seed) for seed in range(20)}
    assert len(drawn) > 3
    with pytest.raises(Invalid, match="at least one"):
        weakest(values, 3)


def test_a_calibration_says_which_heads_attend_alike() -> None:
    model, ids = llama(heads=4, kv_heads=4), tokens(1, 64, seed=4)
    its = calibrate(model, "", ids.tolist())
    model.set_attn_implementation("eager")
    with torch.no_grad():
        attentions = model(ids, output_attentions=True).attentions
    for layer, attention in enumerate(attentions):
        flat = torch.nn.functional.normalize(attention[0].flatten(1).double(), dim=1)
        cosines = (flat @ flat.T).fill_diagonal_(-1)
        assert its.alike[layer] == tuple(tuple(order[:-1]) for order in cosines.argsort(1, descending=True).tolist())
    assert Plan.loads(its.dumps(), "").alike == its.alike


def thinned(model: torch.nn.Module, count: int = 1, **options: object) -> Policy:
    return policy("uncomp", plan=plan(model), window=8, delete=count, **options)


def test_a_deleted_head_holds_nothing_and_costs_no_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    model, ids = llama(heads=8, kv_heads=4, width=64), tokens(1, LENGTH)
    small = thinned(model, 2, tokens=500)
    seen: list[tuple[int, int]] = []
    kernel = layers.scaled_dot_product_attention
    monkeypatch.setattr(layers, "scaled_dot_product_attention", lambda q, k, *more, **named: (seen.append((q.shape[1], k.shape[1])),
                                                                                             kernel(q, k, *more, **named))[1])  # fmt: skip
    memory, whole = KVMemory.of(model, small), KVMemory.of(model, policy("uncomp", plan=plan(model), window=8, tokens=500))
    run(model, memory, ids)
    assert seen == [(4, 2)] * 2  # in both layers half of the query heads, of the key-value heads
    run(model, whole, ids)
    memory.settle()
    whole.settle()
    assert memory.nbytes().total < 0.51 * whole.nbytes().total
    assert all(layer.tail.keys.shape[1] == 2 for layer in memory.managed)
    assert small.describe()["heads"][0]["left"] == list(small.left(0).heads)


def test_attention_with_deleted_heads_is_the_models_with_outputs_put_in_their_place() -> None:
    model, ids = llama(heads=8, kv_heads=4, width=64), tokens(2, LENGTH)
    small = thinned(model, 1, tokens=500)
    memory = KVMemory.of(model, small)
    given = run(model, memory, ids, chunk=40)
    changed = llama(heads=8, kv_heads=4, width=64)
    for number, layer in enumerate(changed.model.layers):
        layer.self_attn.o_proj.register_forward_pre_hook(_put(_stand_ins(small, number)))
    with torch.no_grad():
        right = changed(ids).logits
    assert (given - right).abs().max() <= 1e-4
    assert (right - llama(heads=8, kv_heads=4, width=64)(ids).logits).abs().max() > 1e-2


def _put(heads: list[int]) -> object:
    return lambda module, states: (states[0].unflatten(-1, (8, 8))[:, :, heads].flatten(2),)


def _stand_ins(small: Policy, layer: int) -> list[int]:
    its = small.left(layer)
    assert its is not None
    return [its.queries[place] for place in its.givers]


def test_deletion_goes_with_groups_stages_saving_and_few_bits() -> None:
    model, ids = llama(layers=4, heads=8, kv_heads=4, width=64), tokens(1, LENGTH)
    small = thinned(model, 2, tokens=24, floor=16, stages=(0, 0, 1, 2)).then(Quantise(4, 8))  # type: ignore[attr-defined]
    memory = KVMemory.of(model, small)
    logits = prefill(model, memory, ids).logits[:, -1]
    assert all(sum(len(head) for head in layer[0]) == 48 for layer in memory.held()[:3])  # two heads are left, 24 tokens each on average
    loaded = load(model, dump(memory, "it"), "it", small)
    assert greedy(model, memory, logits, 8)[0] == greedy(model, loaded, logits, 8)[0]
    with pytest.raises(Invalid, match="policy"):
        load(model, dump(memory, "it"), "it", thinned(model, 1, tokens=24, floor=16, stages=(0, 0, 1, 2)).then(Quantise(4, 8)))  # type: ignore[attr-defined]


def test_deletion_needs_a_plan_that_says_which_heads() -> None:
    model = llama()
    its = plan(model)
    with pytest.raises(Invalid, match="plan="):
        policy("uncomp", tokens=40, window=8, delete=1)
    with pytest.raises(Invalid, match="measure what each costs"):
        policy("uncomp", tokens=40, plan=its.with_signal(0.1), window=8, delete=1)
    with pytest.raises(Invalid, match="calibrate again"):
        policy("uncomp", tokens=40, plan=replace(its, alike=()), window=8, delete=1)
    with pytest.raises(Invalid, match="at least one"):
        policy("uncomp", tokens=40, plan=its, window=8, delete=2)
    with pytest.raises(Invalid, match="calibrate"):
        settled(policy("uncomp", tokens=40, plan=its, window=8, delete=1), llama(heads=8, kv_heads=4, width=64))
    with pytest.raises(Invalid, match="calibrate"):
        settled(policy("uncomp", tokens=40, plan=its, window=8, delete=1), llama(layers=3))
    need = with_need(its, np.asarray([[[0.1, 0.4], [0.9, 0.2]]] * 2))
    assert _left(need.with_signal(0.9)) == [tuple(np.argsort(each)[1:]) for each in its.head_entropy]  # what heads need says nothing of deletion


def _left(its: Plan, **more: object) -> list[tuple[int, ...]]:
    return [there.heads for there in policy("uncomp", tokens=40, plan=its, window=8, delete=1, **more).lefts]  # type: ignore[attr-defined]


def test_what_a_head_costs_is_the_loss_without_it_and_says_which_to_delete() -> None:
    prompts = [(tokens(1, 60, seed=seed)[0].tolist(), tokens(1, 4, seed=9)[0].tolist()) for seed in range(2)]
    silent = llama()
    silent.model.layers[0].self_attn.o_proj.weight.data[:, :16] = 0
    silent.model.layers[1].self_attn.o_proj.weight.data[:, 16:] = 0
    its = calibrate(silent, "", tokens(2, 64, seed=4).tolist())
    grown = costs(silent, its, prompts)
    assert grown.shape == (2, 2, 2)
    assert np.abs(grown[:, [0, 1], [0, 1]]).max() < 1e-5 < np.abs(grown[:, [0, 1], [1, 0]]).min()
    known = with_cost(its, np.abs(grown)).with_signal(0.1)
    assert _left(known) == [(1,), (0,)]
    assert _left(known, by="entropy", follow=True) == [tuple(np.argsort(each)[1:]) for each in its.head_entropy]
    assert Plan.loads(known.dumps(), "") == known
    with pytest.raises(Invalid, match="calibrate again"):
        costs(silent, replace(its, alike=()), prompts)
