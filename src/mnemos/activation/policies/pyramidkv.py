"""PyramidKV (arXiv 2406.02069): SnapKV's choice, with budgets that fall with depth, for attention is broad in early layers and narrow in late ones.

The last layer keeps 1 / `beta` of the mean, the first as much more as that is less, and those between lie on the line (section 4.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mnemos.activation.planning import spaced
from mnemos.activation.policies.snapkv import Window
from mnemos.activation.policy import Budget, Policy, Pruning
from mnemos.activation.view import View
from mnemos.base.errors import Invalid


@dataclass(frozen=True)
class Pyramid:
    """Divides a budget among `layers` by depth; heads of a layer keep as many each, and none fewer than `least`."""

    layers: int
    beta: float = 20.0
    least: int = 1
    name = "pyramid"

    def __post_init__(self) -> None:
        if self.layers < 1 or self.beta < 1:
            raise Invalid(f"pyramidkv: layers={self.layers} are those of the model, and beta={self.beta} has to be 1 or more")

    def plan(self, view: View, budget: int) -> Sequence[int]:
        number = view.layer.number
        if number >= self.layers:
            raise Invalid(f"pyramidkv: budgets are of {self.layers} layers, and this is layer {number}: say how many the model has")
        each = spaced(range(self.layers), max(budget, self.least), 1 - 1 / self.beta, self.least)
        return [each[number]] * view.heads


def make(layers: int, tokens: int | None = None, share: float | None = None, beta: float = 20.0, window: int = 32, kernel: int = 5) -> Policy:
    """Keeps `tokens` of each head on average over the `layers` of the model, or a `share` of those seen; `window` newest among them."""
    return Pruning(Window(window, kernel), Budget(tokens, share), Pyramid(layers, beta, window + 1), recent=window)
