"""Small random models that tests of KV memory run."""

from __future__ import annotations

from functools import cache

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from mnemos.activation.calibration import Plan, calibrate

VOCABULARY = 101


def llama(seed: int = 0, layers: int = 2, heads: int = 4, kv_heads: int = 2, width: int = 32) -> LlamaForCausalLM:
    """A Llama of that shape with random weights large enough that attention is uneven."""
    torch.manual_seed(seed)
    config = LlamaConfig(vocab_size=VOCABULARY, hidden_size=width, intermediate_size=48, num_hidden_layers=layers, num_attention_heads=heads,
                         num_key_value_heads=kv_heads, max_position_embeddings=1024, initializer_range=0.3, eos_token_id=None, bos_token_id=None,
                         pad_token_id=0)  # fmt: skip
    return LlamaForCausalLM(config).eval()


def tokens(rows: int, length: int, seed: int = 0) -> torch.Tensor:
    """[rows, length] random ids, none of them the padding."""
    return torch.randint(1, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(seed))


def run(model: LlamaForCausalLM, memory: object, ids: torch.Tensor, chunk: int | None = None, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Logits [B, t, V] of the tokens, read in chunks."""
    out = []
    done = memory.get_seq_length()  # type: ignore[attr-defined]
    with torch.no_grad():
        for start in range(0, ids.shape[1], chunk or ids.shape[1]):
            piece = ids[:, start : start + (chunk or ids.shape[1])]
            more = {}
            if mask is not None:
                upto = mask[:, : done + start + piece.shape[1]]
                more = {"attention_mask": upto, "position_ids": (upto.cumsum(-1) - 1).clamp_min(0)[:, -piece.shape[1] :]}
            out.append(model(piece, cache=memory, **more).logits)
    return torch.cat(out, 1)


def greedy(model: LlamaForCausalLM, memory: object, logits: torch.Tensor, count: int,
           mask: torch.Tensor | None = None) -> tuple[list[list[int]], torch.Tensor]:  # fmt: skip
    """`count` tokens for each row by the largest logit, and the logits [B, count, V] that chose them."""
    chosen, seen = [], []
    for _ in range(count):
        seen.append(logits)
        best = logits.argmax(-1, keepdim=True)
        chosen.append(best)
        if mask is not None:
            mask = torch.cat([mask, mask.new_ones(mask.shape[0], 1)], 1)
        logits = run(model, memory, best, mask=mask)[:, -1]
    return torch.cat(chosen, 1).tolist(), torch.stack(seen, 1)


@cache
def _plan(layers: int, heads: int, kv_heads: int, width: int) -> Plan:
    return calibrate(llama(0, layers, heads, kv_heads, width), "a model of the tests", tokens(3, 64, seed=4).tolist())


def plan(model: LlamaForCausalLM) -> Plan:
    """A calibration of the model of that shape and seed 0, on a few random tokens."""
    config = model.config
    return _plan(config.num_hidden_layers, config.num_attention_heads, config.num_key_value_heads, config.hidden_size)
