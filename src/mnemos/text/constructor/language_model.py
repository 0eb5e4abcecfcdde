"""A causal language model of Hugging Face as the policy that GRPO trains; needs the extra `models` (PyTorch, transformers).

The loop is `grpo.update`, the same as for the small network: this adapter only tells the logarithms of the probabilities of the tokens that were
chosen, and goes down the gradient that it is given. With PEFT, give the wrapped model: only what requires gradients is changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from mnemos.base.errors import ModelUnavailable
from mnemos.text.constructor.grpo import Array, Flags
from mnemos.text.constructor.operations import Operation, operation
from mnemos.text.json_answers import find_values

try:
    import torch
except ImportError as error:  # pragma: no cover - where torch is missing
    raise ModelUnavailable("a language model as a policy needs PyTorch; install mnemos[models]") from error


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model was shown, and what it said, as tokens."""

    prompt: tuple[int, ...]
    said: tuple[int, ...]


class LanguageModel:
    """A model as GRPO trains it. `end` and `pad` are token ids; padding has no weight."""

    def __init__(self, model: Any, *, end: int, pad: int = 0, rate: float = 1e-6, temperature: float = 1.0, longest: float = 1.0) -> None:
        self.model = model
        self.end, self.pad, self.temperature, self.longest = end, pad, temperature, longest
        self._changed = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._optimiser = torch.optim.AdamW(self._changed, lr=rate, weight_decay=0.0)

    # -- rollouts --
    def sample(self, prompts: Sequence[Sequence[int]], most: int, generator: Any = None) -> list[Reply]:
        """A reply to each prompt, side by side, of at most `most` tokens, up to and with the end token."""
        with torch.no_grad():
            return self._sample(prompts, most, generator)

    def _sample(self, prompts: Sequence[Sequence[int]], most: int, generator: Any) -> list[Reply]:
        device = self._device()
        width = max(len(prompt) for prompt in prompts)
        ids = torch.tensor([[self.pad] * (width - len(prompt)) + list(prompt) for prompt in prompts], device=device)
        held = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
        said: list[list[int]] = [[] for _ in prompts]
        open_ = torch.ones(len(prompts), dtype=torch.bool, device=device)
        past, step = None, ids
        for _ in range(most):
            places = self._places(held, step.shape[1])
            out = self.model(input_ids=step, attention_mask=held, position_ids=places, past_key_values=past, use_cache=True)
            past = out.past_key_values
            shares = torch.softmax(out.logits[:, -1].float() / self.temperature, dim=-1)
            chosen = torch.multinomial(shares, 1, generator=generator)[:, 0]
            for at, token in enumerate(chosen.tolist()):
                if open_[at]:
                    said[at].append(token)
            open_ &= chosen != self.end
            if not bool(open_.any()):
                break
            step = torch.where(open_, chosen, torch.full_like(chosen, self.pad))[:, None]
            held = torch.cat([held, open_[:, None].long()], dim=1)
        return [Reply(tuple(prompt), tuple(one)) for prompt, one in zip(prompts, said, strict=True)]

    # -- training: `grpo.Trainable` --
    def logs(self, samples: Sequence[Reply]) -> tuple[Array, Flags]:
        with torch.no_grad():
            logs, mask = self._logs(samples)
        return logs.double().cpu().numpy(), mask

    def descend(self, samples: Sequence[Reply], gradient: Array) -> None:
        logs, mask = self._logs(samples)
        weights = torch.tensor(np.where(mask, gradient, 0.0), dtype=logs.dtype, device=logs.device)
        self._optimiser.zero_grad()
        (logs * weights).sum().backward()
        torch.nn.utils.clip_grad_norm_(self._changed, self.longest)
        self._optimiser.step()

    def _logs(self, samples: Sequence[Reply]) -> tuple[Any, Flags]:
        """(n, t) logarithms of the probabilities of what was said, and which are no padding."""
        device = self._device()
        width = max((len(sample.said) for sample in samples), default=0)
        mask: Flags = np.array([[at < len(sample.said) for at in range(width)] for sample in samples], dtype=bool).reshape(len(samples), width)
        before = max(len(sample.prompt) for sample in samples)
        rows = [
            [self.pad] * (before - len(sample.prompt)) + list(sample.prompt) + list(sample.said) + [self.pad] * (width - len(sample.said))
            for sample in samples
        ]
        held = torch.tensor(
            [[0] * (before - len(s.prompt)) + [1] * (len(s.prompt) + len(s.said)) + [0] * (width - len(s.said)) for s in samples], device=device
        )
        ids = torch.tensor(rows, device=device)
        logits = self.model(input_ids=ids, attention_mask=held, position_ids=self._places(held, ids.shape[1])).logits
        shares = torch.log_softmax(logits[:, before - 1 : -1].float() / self.temperature, dim=-1)
        chosen = shares.gather(2, ids[:, before:, None])[:, :, 0]
        return torch.where(torch.tensor(mask, device=device), chosen, torch.zeros_like(chosen)), mask

    @staticmethod
    def _places(held: Any, last: int) -> Any:
        """Positions of the last tokens, counted from the first that is no padding."""
        return (held.cumsum(dim=1) - 1).clamp(min=0)[:, -last:]

    def _device(self) -> Any:
        return next(self.model.parameters()).device


def parse_calls(text: str, sources: Sequence[object] = ()) -> list[Operation]:
    """The calls of a reply in words, `{"calls": [{"tool": …, "arguments": {…}}]}`; none where it cannot be read, which changes nothing and has no
    reward for its calls."""
    for found in find_values(text):
        asked = found.value.get("calls") if isinstance(found.value, dict) else None
        if isinstance(asked, list) and not found.cut and all(isinstance(one, dict) and isinstance(one.get("tool"), str) for one in asked):
            return [
                operation({"id": str(at), "name": one["tool"], "arguments": orjson.dumps(one.get("arguments", {})).decode()}, sources)
                for at, one in enumerate(asked)
            ]
    return []
