"""KIVI (arXiv 2402.02750): every token stays, in few bits; the newest ones as they came."""

from __future__ import annotations

from collections.abc import Sequence

from mnemos.activation.calibration import Plan
from mnemos.activation.planned import bits_by
from mnemos.activation.planning import Grid
from mnemos.activation.policy import Policy, Pruning
from mnemos.activation.quantised import Quantise
from mnemos.base.errors import Invalid


def make(bits: float | Sequence[Sequence[int]] = 2, group: int = 32, recent: int = 32, plan: Plan | None = None,
         trellis: bool = True) -> Policy:  # fmt: skip
    """`bits` for each number, or for those of each head, [layers][key-value heads]; with a `plan`, `bits` on average at most, which it divides among
    heads. `group` tokens of a key channel, or channels of a value, share a scale. `trellis`: see `quantised.Quantise`; without it, it is as in the
    paper."""
    its: int | Grid
    if isinstance(bits, (int, float)):
        if plan is None and bits != int(bits):
            raise Invalid(f"kivi: {bits} bits for each number cannot be; give the plan= that divides them among heads, or a whole number")
        its = int(bits) if plan is None else bits_by(plan, bits)
    elif plan is not None:
        raise Invalid("kivi: bits of each head, or their mean with the plan= that divides them: give one of the two")
    else:
        its = tuple(tuple(layer) for layer in bits)
    return Pruning(codecs=(Quantise(its, group, trellis),), recent=recent, block=group)
