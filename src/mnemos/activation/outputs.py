"""What a model makes of each component of a head's values: the sizes of the columns of its output projections, which all of them go through."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers.pytorch_utils import Conv1D

from mnemos.base.errors import Invalid

NAMES = ("o_proj", "out_proj", "dense", "c_proj")
"""How attention modules of transformers call their output projection."""


@dataclass(frozen=True)
class Output:
    """Where a layer's output projection is read: a module, which a weak reference names."""

    module: weakref.ref[Any]

    def norms(self, heads: int) -> Tensor:
        """[heads, d] float32: how large what a component 1 of a query head's output adds to the hidden state is (‖W_O[:, j]‖). Raises `Invalid` where
        the projection does not take so many heads, or the model is gone."""
        module = self.module()
        if module is None:
            raise Invalid("the model whose output projection this memory uses is gone: keep the model as long as its memories")
        weight = module.weight.detach().float()
        each: Tensor = (weight if isinstance(module, Conv1D) else weight.T).norm(dim=1)
        if len(each) % heads:
            raise Invalid(f"an output projection of {len(each)} components is not that of {heads} heads")
        return each.unflatten(0, (heads, -1))


def outputs(model: Any) -> list[Output]:
    """The output projection of each layer. Raises `Invalid` where a layer has none that is known."""
    found: dict[int, Output] = {}
    for module in model.modules():
        number = getattr(module, "layer_idx", None)
        name = next((name for name in NAMES if hasattr(getattr(module, name, None), "weight")), None)
        if isinstance(number, int) and name is not None:
            found[number] = Output(weakref.ref(getattr(module, name)))
    count = model.config.get_text_config(decoder=True).num_hidden_layers
    if missing := [number for number in range(count) if number not in found]:
        raise Invalid(f"layers {missing} of {type(model).__name__} have no output projection under a known name ({', '.join(NAMES)}): values cannot "
                      "be narrowed by what the model makes of them; give values=0")  # fmt: skip
    return [found[number] for number in range(count)]
