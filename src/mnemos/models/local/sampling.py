"""Choosing the next token from logits."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

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
    if not seen:
        return logits
    where = torch.tensor(sorted(seen), dtype=torch.long, device=logits.device)
    theirs = logits[where]
    return logits.index_copy(0, where, torch.where(theirs > 0, theirs / penalty, theirs * penalty))


def choose(logits: Tensor, sampling: Sampling, generators: Sequence[torch.Generator], seen: Sequence[Collection[int]]) -> list[int]:
    """The next token of each row, from logits (rows, vocabulary). Unless it is greedy each row draws one number from its generator, of the CPU.

    `seen`: for each row the tokens that the repetition penalty is for. Raises `ModelUnavailable` for logits that are no numbers: the model's type is
    too small for its sums, or its weights are broken.
    """
    if not bool(logits.amax(-1).isfinite().all()):
        raise ModelUnavailable("the model gave logits that are no numbers: load it with dtype='float32' or 'bfloat16', and check its weights")
    if sampling.repetition_penalty != 1:
        logits = torch.stack([penalised(row, known, sampling.repetition_penalty) for row, known in zip(logits, seen, strict=True)])
    if sampling.temperature == 0:
        tokens: list[int] = logits.argmax(-1).tolist()
        return tokens
    return [_drawn(row, sampling, generator) for row, generator in zip(logits, generators, strict=True)]


def _drawn(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    probabilities, tokens = distribution(logits, sampling)
    number = torch.rand((), generator=generator, dtype=torch.float64).to(probabilities.device)
    place = int(torch.searchsorted(probabilities.cumsum(-1), number, right=True))
    return int(tokens[min(place, len(tokens) - 1)])
