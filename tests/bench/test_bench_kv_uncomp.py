"""The arms that the bench of UNComp compares."""

from __future__ import annotations

import numpy as np
import pytest

from activation.tiny_llama import llama, plan
from mnemos.activation.signal import with_need
from mnemos.bench.kv import uncomp


@pytest.mark.parametrize(("tokens", "low"), [(40, None), (15, 10)])
def test_arms_keep_as_much_in_all(tokens: int, low: int | None) -> None:
    its = with_need(plan(llama()), np.asarray([[[0.1, 0.4], [0.9, 0.2]]] * 2))
    for name, kind in uncomp.arms(its, tokens, low).items():
        if name == "uniform, 5 neighbours":
            continue
        if "quarter" in name:
            assert sorted(sum(kind.planner.groups, ())) == [0, 1, 1, 1]  # type: ignore[attr-defined]
        planner = kind.planner  # type: ignore[attr-defined]
        counts = [planner.plan_of(layer, planner.groups[layer], tokens) for layer in range(2)]
        assert sum(map(sum, counts)) == 4 * tokens
        assert (len({count for each in counts for count in each}) == 1) is (name == "uniform")
        if low is not None and name != "uniform":
            assert min(min(each) for each in counts) == low


def test_differences_are_of_the_same_prompts() -> None:
    check = uncomp.beyond("it", [1, 1, 0, 1, 1, 0], [0, 1, 0, 1, 0, 0], 0.05)
    assert check.measured == pytest.approx(1 / 3)
    assert check.n == 6
    assert check.holds is True
