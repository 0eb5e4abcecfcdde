"""Choosing the next token from logits."""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
from torch import Tensor

from mnemos.base.errors import Invalid, ModelUnavailable
from mnemos.base.protocols import Sampling


def check_sampling(sampling: Sampling) -> None:
    """Raises `Invalid` for settings that no distribution has."""
    if not (math.isfinite(sampling.temperature) and sampling.temperature >= 0):
        raise Invalid(f"temperature is {sampling.temperature}: use 0 (greedy) or more")
    if sampling.top_k is not None and sampling.top_k < 1:
        raise Invalid(f"top_k is {sampling.top_k}: use at least 1, or None for all tokens")
    if sampling.top_p is not None and not 0 < sampling.top_p <= 1:
        raise Invalid(f"top_p is {sampling.top_p}: use a probability above 0 and up to 1, or None for all tokens")
    if not (math.isfinite(sampling.repetition_penalty) and sampling.repetition_penalty > 0):
        raise Invalid(f"repetition_penalty is {sampling.repetition_penalty}: use 1 for none, more to repeat less")


def distribution(logits: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """(probabilities, tokens) of one row of logits (vocabulary,), likeliest first, cut by top-k, then top-p; float64. The temperature is above 0."""
    scores, tokens = (logits.double() / sampling.temperature).sort(descending=True, stable=True)
    if sampling.top_k is not None:
        scores, tokens = scores[: sampling.top_k], tokens[: sampling.top_k]
    probabilities = scores.softmax(-1)
    if sampling.top_p is not None:
        before = probabilities.cumsum(-1) - probabilities
        kept = int((before < sampling.top_p).sum())
        probabilities, tokens = probabilities[:kept] / probabilities[:kept].sum(), tokens[:kept]
    return probabilities, tokens


def penalised(logits: Tensor, seen: Collection[int], penalty: float) -> Tensor:
    """Logits (vocabulary,) with those of the tokens `seen` divided by `penalty` where positive, multiplied where negative."""
    if penalty == 1 or not seen:
        return logits
    where = torch.tensor(sorted(seen), dtype=torch.long, device=logits.device)
    theirs = logits[where]
    return logits.index_copy(0, where, torch.where(theirs > 0, theirs / penalty, theirs * penalty))


def choose(logits: Tensor, sampling: Sampling, generator: torch.Generator, seen: Collection[int]) -> int:
    """The next token of one row, from its logits (vocabulary,). One random number of the CPU's `generator` is drawn unless it is greedy.

    Raises `ModelUnavailable` for logits that are no numbers: its type is too small for the model's sums, or its weights are broken.
    """
    if not math.isfinite(float(logits.max())):
        raise ModelUnavailable("the model gave logits that are no numbers: load it with dtype='float32' or 'bfloat16', and check its weights")
    logits = penalised(logits, seen, sampling.repetition_penalty)
    if sampling.temperature == 0:
        return int(logits.argmax())
    probabilities, tokens = distribution(logits, sampling)
    drawn = torch.rand((), generator=generator, dtype=torch.float64).to(probabilities.device)
    place = int(torch.searchsorted(probabilities.cumsum(-1), drawn, right=True))
    return int(tokens[min(place, len(tokens) - 1)])
