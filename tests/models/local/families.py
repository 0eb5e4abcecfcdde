"""Tiny models of each family with random weights, and a tokenizer of bytes with a chat template."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import transformers

from mnemos.models.local.model import LocalModel

torch.set_num_threads(1)

WINDOW = 192
"""Positions of most of them."""
SLIDING = 16
"""What a layer with a window sees, where a family has such layers."""
SWITCH = 40
"""Tokens beyond which the family "phi3-long" turns its keys differently."""
MARKS = ("<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
TEMPLATE = (
    "{% for turn in messages %}{% if turn['role'] == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}"
    "<|{{ turn['role'] }}|>{{ turn['content'] }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
VOCABULARY = 256 + len(MARKS)


def tokenizer(template: str | None = TEMPLATE) -> Any:
    """One token for each byte, then the marks."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    letters = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    made = Tokenizer(models.BPE(vocab=letters, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)  # type: ignore[assignment]
    made.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    made.add_special_tokens([AddedToken(mark, normalized=False) for mark in MARKS])
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=made, eos_token=MARKS[0], additional_special_tokens=list(MARKS[1:]))
    wrapped.chat_template = template
    return wrapped


_SIZES = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "max_position_embeddings": WINDOW, "initializer_range": 0.2, "bos_token_id": None, "eos_token_id": 256, "pad_token_id": None,
}  # fmt: skip
_GROUPED = {**_SIZES, "num_key_value_heads": 2}
_LONG = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [2.0, 3.0, 4.0, 5.0]}

FAMILIES: dict[str, Callable[[], Any]] = {
    "llama": lambda: transformers.LlamaConfig(**_GROUPED),
    "qwen2": lambda: transformers.Qwen2Config(**_GROUPED),
    "qwen2-window": lambda: transformers.Qwen2Config(**_GROUPED, use_sliding_window=True, sliding_window=SLIDING, max_window_layers=1),
    "qwen3": lambda: transformers.Qwen3Config(**_GROUPED, head_dim=12),
    "mistral": lambda: transformers.MistralConfig(**_GROUPED, sliding_window=SLIDING),
    "mistral-full": lambda: transformers.MistralConfig(**_GROUPED, sliding_window=None),
    "phi3": lambda: transformers.Phi3Config(**_GROUPED),
    "phi3-long": lambda: transformers.Phi3Config(**_GROUPED, rope_parameters=dict(_LONG), original_max_position_embeddings=SWITCH),
    "phi": lambda: transformers.PhiConfig(**_SIZES),
    "gpt2": lambda: transformers.GPT2Config(
        vocab_size=VOCABULARY, n_embd=32, n_layer=3, n_head=4, n_positions=WINDOW, initializer_range=0.2, bos_token_id=None, eos_token_id=256
    ),
    "gemma2": lambda: transformers.Gemma2Config(**_GROUPED, tie_word_embeddings=False, head_dim=8, sliding_window=SLIDING),
    "gemma3": lambda: transformers.Gemma3TextConfig(
        **_GROUPED, tie_word_embeddings=False, head_dim=8, sliding_window=SLIDING, sliding_window_pattern=2
    ),
}
SLIDES = ("qwen2-window", "mistral", "gemma2", "gemma3")
"""Those with layers that have a window."""


@cache
def model(family: str, seed: int = 0) -> LocalModel:
    """The family's model, with the tokenizer of bytes. Shared: change nothing of it."""
    return LocalModel.random(FAMILIES[family](), seed, tokenizer=tokenizer())


def tokens(count: int, seed: int = 0) -> list[int]:
    """Tokens of printable letters."""
    drawn = torch.randint(1, 255, (count,), generator=torch.Generator().manual_seed(seed))
    return [int(one) for one in drawn]
