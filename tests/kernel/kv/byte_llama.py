"""A tiny local language model that reads bytes, with random weights."""

from __future__ import annotations

from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import LlamaConfig, PreTrainedTokenizerFast

from mnemos.models.local.model import LocalModel


def tokenizer() -> PreTrainedTokenizerFast:
    """Bytes as tokens, with one that begins every text."""
    made = Tokenizer(models.BPE(vocab={"<s>": 0, **{chr(i): i - 31 for i in range(32, 127)}, "\n": 96}, merges=[], unk_token="~"))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>")


def model(seed: int = 0) -> LocalModel:
    config = LlamaConfig(vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                         max_position_embeddings=512, initializer_range=0.3, bos_token_id=0, eos_token_id=None)  # fmt: skip
    return LocalModel.random(config, seed, tokenizer=tokenizer())
