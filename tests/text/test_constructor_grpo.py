"""GRPO: advantages, the objective's gradient, a bandit, padding, and the same loop on a tiny language model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemos.text.constructor.grpo import Parameters, Sample, advantages, objective, update
from mnemos.text.constructor.learnt import Choice, Learner
from mnemos.text.constructor.network import SHAPES, Network


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=60))
def test_advantages_sum_to_nought_with_deviation_one(rewards: list[float]) -> None:
    found = advantages(rewards)
    assert abs(found.sum()) < 1e-6 * max(len(rewards), 1)
    if np.std(rewards) > 1e-2:
        assert found.std() == pytest.approx(1.0, abs=1e-3)
        assert (np.diff(found[np.argsort(rewards, kind="stable")]) >= 0).all()


@given(st.lists(st.tuples(st.floats(-5, 5), st.integers(0, 3)), min_size=1, max_size=40))
def test_with_parts_each_part_sums_to_nought(drawn: list[tuple[float, int]]) -> None:
    rewards, parts = [reward for reward, _ in drawn], [part for _, part in drawn]
    found = advantages(rewards, parts)
    for part in set(parts):
        assert abs(sum(value for value, one in zip(found, parts, strict=True) if one == part)) < 1e-6 * len(parts)


@pytest.mark.parametrize("rewards", [[], [1.0], [0.3, 0.3, 0.3], [-2.0] * 8])
def test_rewards_that_are_all_the_same_tell_nothing(rewards: list[float]) -> None:
    assert advantages(rewards).tolist() == [0.0] * len(rewards)


@pytest.mark.parametrize("kl", [0.0, 0.1])
@pytest.mark.parametrize("shift", [0.0, 0.05, 0.5, -0.5])
def test_the_gradient_is_that_of_finite_differences(kl: float, shift: float) -> None:
    """Also where the ratio is clipped, and with a divergence from a reference."""
    rng = np.random.default_rng(3)
    before = rng.normal(-1, 0.3, (5, 4))
    now = before + shift * rng.choice([-1.0, 1.0, 0.3], (5, 4))
    mask = rng.random((5, 4)) < 0.7
    advantage, reference = rng.normal(size=5), before + rng.normal(0, 0.1, (5, 4))
    parameters = Parameters(kl=kl)
    found = objective(now, before, advantage, mask, parameters, reference).gradient
    for at in np.ndindex(now.shape):
        step = np.zeros_like(now)
        step[at] = 1e-6
        higher = objective(now + step, before, advantage, mask, parameters, reference).loss
        lower = objective(now - step, before, advantage, mask, parameters, reference).loss
        assert found[at] == pytest.approx((higher - lower) / 2e-6, abs=1e-4)
    assert (found[~mask] == 0).all()


def test_a_policy_of_two_parameters_goes_down_its_own_gradient() -> None:
    """Loss of the whole chain, parameters → logits → objective: analytic against finite differences."""
    rng = np.random.default_rng(0)
    features, actions = np.ones((6, 1), dtype=np.float32), rng.integers(0, 2, 6)
    advantage = rng.normal(size=6)

    def network(bias: np.ndarray) -> Network:
        return Network({"w1": np.zeros((1, 1)), "b1": np.zeros(1), "w2": np.zeros((1, 2)), "b2": bias, "w3": np.zeros((1, 2))})

    start = np.array([0.3, -0.2])
    before = network(start).logs(features)[np.arange(6), actions][:, None]
    moved = start + np.array([0.05, -0.02])

    def loss(bias: np.ndarray) -> float:
        now = network(bias).logs(features)[np.arange(6), actions][:, None]
        return objective(now, before, advantage, np.ones((6, 1), dtype=bool)).loss

    model = network(moved)
    now = model.logs(features)[np.arange(6), actions][:, None]
    coefficients = objective(now, before, advantage, np.ones((6, 1), dtype=bool)).gradient[:, 0]
    found = model.gradient(features, actions, coefficients)["b2"]
    for at in range(2):
        step = 1e-6 * np.eye(2)[at]
        assert found[at] == pytest.approx((loss(moved + step) - loss(moved - step)) / 2e-6, abs=1e-4)


def test_the_networks_gradient_with_entropy_is_that_of_finite_differences() -> None:
    rng = np.random.default_rng(1)
    network = Network.drawn(rng, 5, 4, 3)
    network.weights["w3"] = rng.normal(size=(5, 3))
    x, actions, coefficients = rng.normal(size=(7, 5)), rng.integers(0, 3, 7), rng.normal(size=7)

    def loss() -> float:
        logs = network.logs(x)
        return float((coefficients * logs[np.arange(7), actions]).sum() + 0.2 * (np.exp(logs) * logs).sum())

    found = network.gradient(x, actions, coefficients, 0.2)
    for name in SHAPES:
        weights = network.weights[name]
        for at in np.ndindex(weights.shape):
            kept = weights[at]
            weights[at] = kept + 1e-6
            higher = loss()
            weights[at] = kept - 1e-6
            lower = loss()
            weights[at] = kept
            assert found[name][at] == pytest.approx((higher - lower) / 2e-6, abs=1e-4), name


def bandit(seed: int, updates: int = 500) -> float:
    """The share of best actions after training: three situations, each with another best of four actions."""
    rng = np.random.default_rng(seed)
    best = np.array([2, 0, 3])
    learner = Learner(Network.drawn(rng, 3, 8, 4), rate=2e-2)
    for _ in range(updates):
        samples = []
        for situation in range(3):
            features = np.tile(np.eye(3, dtype=np.float32)[situation], (8, 1))
            actions = np.argmax(learner.network.logs(features) + rng.gumbel(size=(8, 4)), axis=1)
            samples += [
                Sample(Choice(features[at : at + 1], actions[at : at + 1]), float(actions[at] == best[situation]) + 0.1 * rng.normal(), situation)
                for at in range(8)
            ]
        update(learner, samples)
    shares = np.exp(learner.network.logs(np.eye(3)))
    return float(shares[np.arange(3), best].mean())


@pytest.mark.parametrize("seed", [0, 1])
def test_a_bandit_finds_its_best_actions(seed: int) -> None:
    assert bandit(seed) >= 0.95


def test_identical_rewards_change_nothing() -> None:
    rng = np.random.default_rng(0)
    learner = Learner(Network.drawn(rng, 3, 4, 2), entropy=0.1)
    before = {name: array.copy() for name, array in learner.network.weights.items()}
    samples = [Sample(Choice(rng.normal(size=(2, 3)).astype(np.float32), np.array([0, 1])), 0.7, 0) for _ in range(8)]
    assert update(learner, samples) == 0.0
    assert all((learner.network.weights[name] == array).all() for name, array in before.items())


def test_padding_has_no_weight() -> None:
    """A sample of one choice counts as it does alone, whatever stands beside it; one without choices counts nothing."""
    rng = np.random.default_rng(0)
    now, before = rng.normal(-1, 0.1, (2, 1)), rng.normal(-1, 0.1, (2, 1))
    advantage = np.array([1.0, -0.5])
    alone = objective(now, before, advantage, np.ones((2, 1), dtype=bool))
    wide = [np.hstack([part, np.full((2, 3), 99.0)]) for part in (now, before)]
    wide = [np.vstack([part, np.full((1, 4), 7.0)]) for part in wide]
    mask = np.array([[True, False, False, False]] * 2 + [[False] * 4])
    padded = objective(wide[0], wide[1], np.array([1.0, -0.5, 3.0]), mask)
    assert padded.loss == pytest.approx(alone.loss)
    assert padded.gradient[:2, 0] == pytest.approx(alone.gradient[:, 0])
    assert (padded.gradient[~mask] == 0).all()


# ---- a language model -----------------------------------------------------------------------------------------------


def test_the_same_loop_trains_a_language_model() -> None:
    """A tiny random Llama learns to say a token that is paid for; what it is told of padding changes nothing."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from mnemos.text.constructor.language_model import LanguageModel, Reply

    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=16, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        max_position_embeddings=64,
    )  # fmt: skip
    model = LanguageModel(transformers.LlamaForCausalLM(config).eval(), end=1, rate=2e-2)
    generator = torch.Generator().manual_seed(0)
    prompts = [(5, 6, 7), (8, 9)] * 8

    def paid(reply: Reply) -> float:
        return reply.said.count(3) / 4

    shares = []
    for _ in range(25):
        replies = model.sample(prompts, 4, generator)
        assert all(len(reply.said) <= 4 and 1 not in reply.said[:-1] for reply in replies)
        shares.append(float(np.mean([paid(reply) for reply in replies])))
        update(model, [Sample(reply, paid(reply), at % 2) for at, reply in enumerate(replies)])
    assert shares[-1] >= shares[0] + 0.3

    short, long = Reply((8, 9), (3,)), Reply((5, 6, 7), (3, 4, 3, 2))
    together, mask = model.logs([short, long])
    assert mask.tolist() == [[True, False, False, False], [True] * 4]
    assert together[0, :1] == pytest.approx(model.logs([short])[0][0], abs=1e-5)
    assert together[1] == pytest.approx(model.logs([long])[0][0], abs=1e-5)
