"""Reading any length by a model that was trained with landmarks: segment by segment, as training-mode attention where all blocks are brought back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mnemos.activation.landmark.attention import BLOCK, TOKEN
from mnemos.activation.landmark.picking import EACH
from mnemos.activation.memory import KVMemory
from mnemos.activation.policies import policy
from mnemos.base.errors import Invalid

TOKENS_AT_ONCE = 2048
"""Tokens that go through the model at a time; what comes out does not depend on it."""


def segmentwise(
    model: Any,
    tokens: Tensor,
    landmarks: Tensor | None = None,
    *,
    top: int,
    block: int | None = None,
    level: str = EACH,
    trained: int | None = None,
    local: int = 0,
    blocks: int | None = None,
    stingy: bool = True,
    bits: int | None = None,
    at_once: int = 2**22,
    keep: int | None = None,
    memory: KVMemory | None = None,
) -> tuple[Tensor, KVMemory]:
    """Reads `tokens` [B, n], of which `landmarks` [B, n] (bool) are landmarks, after what `memory` holds: (logits [B, `keep` or n, V] of the newest,
    float32, landmarks' included; the memory, which can be gone on with).

    Landmarks and block are those of the model's configuration where they are not given; the other options are those of `policy("landmark")`. The
    model's attention is set to that of `KVMemory`: set it again before training on. Raises `Invalid` for options and landmarks that do not fit, or a
    model that has none.
    """
    config = model.config.get_text_config(decoder=True)
    block = getattr(config, BLOCK, None) if block is None else block
    landmarks = tokens == getattr(config, TOKEN, -1) if landmarks is None else landmarks
    if block is None:
        raise Invalid("this model was not prepared for landmarks: give block and landmarks, or see mnemos.activation.landmark.attention.install")
    if memory is None:
        asked = {"level": level, "trained": trained, "local": local, "blocks": blocks, "stingy": stingy, "bits": bits, "at_once": at_once}
        memory = KVMemory.of(model, policy("landmark", block=block, top=top, **asked))
    count, done = tokens.shape[1], memory.get_seq_length()
    kept = count if keep is None else min(keep, count)
    logits = []
    for start in range(0, count, TOKENS_AT_ONCE):
        stop = min(start + TOKENS_AT_ONCE, count)
        wanted = min(stop - start, max(0, kept - (count - stop)))
        positions = torch.arange(done + start, done + stop, device=tokens.device)[None].expand(len(tokens), -1)
        with torch.no_grad():
            out = model(input_ids=tokens[:, start:stop], position_ids=positions, cache=memory, use_cache=True, landmarks=landmarks[:, start:stop],
                        logits_to_keep=max(1, wanted))  # fmt: skip
        logits += [out.logits.float()] if wanted else []
    return torch.cat(logits, 1), memory
