"""A causal language model of the Hugging Face family, run here, with its keys and values at hand."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from mnemos.base.errors import Invalid
from mnemos.base.protocols import GREEDY, Message, Sampling, Tokens
from mnemos.base.utf8 import sendable
from mnemos.models.local.asked import check_rows, resumed, rows_from
from mnemos.models.local.context import Prefilled, Roomy
from mnemos.models.local.fingerprint import Fingerprint, fingerprint_of
from mnemos.models.local.generation import Generation, Plan, end_tokens, limits_for
from mnemos.models.local.loading import folder_of, load_module, load_tokenizer, random_module
from mnemos.models.local.origin import claim, weights_changed
from mnemos.models.local.reading import reader_of
from mnemos.models.local.sampling import check_sampling
from mnemos.models.local.shapes import Shapes, shapes_of
from mnemos.models.local.template import conversation_tokens, has_template

_OWN = "own"


class LocalModel:
    """A causal model and its tokenizer: `LocalModel.load` brings one from a folder, `LocalModel.random` makes one, and the constructor takes
    a module of transformers as it is.

    Tokens are given as one sequence or as a batch of sequences, which may differ in length; a batch gives what its rows give alone. `cache` is any
    cache of transformers, or what an earlier call gave (`Prefilled`, `Generation.context`), and is then continued; of rows that were padded only the
    latter, since a cache does not tell where. A cache that another model has read into is refused (`origin`). Nothing here takes part in training.
    Calls with caches of their own may run in several threads.
    """

    def __init__(self, module: Any, tokenizer: Any = None, *, folder: Path | None = None, digests: Path | None = None,
                 caches: Callable[[Any], Any] | None = None, portion: int | None = None) -> None:  # fmt: skip
        """`module` is put into evaluation mode. `folder`: where its weights were loaded from, for a fingerprint from the files; `digests`: where the
        digests of files are kept; `caches` makes the cache of each call that is not given one, from the module (`KVArena.caches`: in pages of an
        arena). `portion`: a sequence is read in portions that end at multiples of so many tokens, 128 say, unless a call says `chunk`: then what
        was read of its beginning before is to the last bit what it would be now, in any type, since every kernel is given the same shapes. None: at
        once, which is faster, and in bfloat16 may round otherwise. Raises `Invalid` for a model without keys and values."""
        self._module = module.eval()
        self.caches, self.portion = caches, portion
        self._tokenizer = tokenizer
        self._folder, self._digests = folder, digests
        self._reader = reader_of(module, portion)
        self._ends = end_tokens(module, tokenizer)
        self._vocabulary = int(module.get_input_embeddings().weight.shape[0])
        window = getattr(module.config.get_text_config(), "max_position_embeddings", None)
        self._window = window if isinstance(window, int) and window > 0 else None
        self._lock = threading.Lock()
        self._tokenizing = threading.Lock()  # fast tokenizers change their settings in a call, and refuse a second meanwhile
        self._parts: Fingerprint | None = None
        self._shapes: Shapes | None = None

    @classmethod
    def load(
        cls,
        name: str | Path,
        *,
        dtype: Any = "auto",
        device: Any = "cpu",
        revision: str | None = None,
        tokenizer: Any = _OWN,
        attention: str | None = None,
        download: bool = False,
        hub: Path | None = None,
        digests: Path | None = None,
        caches: Callable[[Any], Any] | None = None,
        portion: int | None = None,
    ) -> LocalModel:
        """The model in the folder `name`, or the one that the hub's client has on this machine under that name and `revision`.

        `dtype`: "float32", "bfloat16", …, or "auto" for that of the weights; `device`: "cpu", "cuda", …; `tokenizer`: by default the model's own,
        None for work with token ids only; `attention`: the attention function, by transformers' name for it; `download`: whether the network may be
        asked; `hub`: where the hub's client keeps models, if not at the usual place; `caches`, `portion`: see the constructor. Code that a model
        brings is not run, and pickled weights are not opened. Raises `ModelUnavailable` for what is not there or cannot be loaded, `Invalid` for a
        dtype or device that do not exist.
        """
        folder = folder_of(name, revision=revision, download=download, hub=hub)
        own = load_tokenizer(folder) if isinstance(tokenizer, str) and tokenizer == _OWN else tokenizer
        module = load_module(folder, dtype=dtype, device=device, attention=attention)
        return cls(module, own, folder=folder, digests=digests, caches=caches, portion=portion)

    @classmethod
    def random(
        cls, config: Any, seed: int = 0, *, tokenizer: Any = None, dtype: Any = "float32", device: Any = "cpu", attention: str | None = None
    ) -> LocalModel:
        """A model of this configuration with random weights, the same for the same seed. Raises `Invalid`."""
        return cls(random_module(config, seed, dtype=dtype, device=device, attention=attention), tokenizer)

    def save(self, folder: str | Path) -> None:
        """Writes weights (safetensors), configuration and tokenizer to a folder, from which `load` brings them."""
        self._module.save_pretrained(folder)
        if self._tokenizer is not None:
            self._tokenizer.save_pretrained(folder)

    def __repr__(self) -> str:
        return f"LocalModel({type(self._module).__name__}, {self.device}, {str(self._module.dtype).removeprefix('torch.')})"

    @property
    def module(self) -> Any:
        """The module of transformers. Call `weights_changed` after changing its weights."""
        return self._module

    @property
    def tokenizer(self) -> Any:
        """The tokenizer. Raises `Invalid` where there is none."""
        if self._tokenizer is None:
            raise Invalid("this model was loaded without a tokenizer: pass tokenizer=… where it is made, or work with token ids")
        return self._tokenizer

    @property
    def device(self) -> Any:
        """Where the model reads its tokens."""
        return self._module.get_input_embeddings().weight.device

    @property
    def vocabulary(self) -> int:
        """Token ids run from 0 to one below it."""
        return self._vocabulary

    @property
    def ends(self) -> frozenset[int]:
        """The tokens that end what the model says."""
        return self._ends

    @property
    def unknown(self) -> int | None:
        """The token that stands for what the tokenizer does not know; None where it knows everything."""
        found = getattr(self._tokenizer, "unk_token_id", None)
        return found if isinstance(found, int) else None

    @property
    def context_window(self) -> int | None:
        """Positions that the model was made for, prompt and answer together; None where its configuration does not say."""
        return self._window

    @property
    def switch(self) -> int | None:
        """Tokens beyond which all keys of a sequence are turned differently (LongRoPE); None where that does not hang on its length."""
        return self._reader.switch

    @property
    def parts(self) -> Fingerprint:
        """The fingerprint part by part; computed once, by reading all weights. Raises `Corrupt`, `OSError` where their files cannot be read."""
        with self._lock:
            if self._parts is None:
                self._parts = fingerprint_of(self._module, self._tokenizer, self._folder, self._digests)
            return self._parts

    @property
    def fingerprint(self) -> str:
        """Names weights, tokenizer, chat template, rotary positions, architecture and dtype: what keys and values depend on."""
        return str(self.parts)

    def weights_changed(self) -> None:
        """Say that the weights are no longer those that were loaded: the fingerprint is then that of the weights in memory, and what was read before
        is not gone on with."""
        weights_changed(self._module)
        with self._lock:
            self._folder, self._parts = None, None

    @property
    def shapes(self) -> Shapes:
        """Layers, heads and dimensions of the keys and values; found at the first asking, by reading one token."""
        with self._lock:
            if self._shapes is None:
                self._shapes = shapes_of(self._module)
            return self._shapes

    def memory_per_token(self) -> int:
        """Bytes of one token's keys and values over all layers, uncompressed."""
        return self.shapes.memory_per_token()

    def kv_bytes(self, tokens: int) -> int:
        """Bytes of the keys and values of one sequence of so many tokens, uncompressed; layers with a window keep no more than that."""
        return self.shapes.kv_bytes(tokens)

    def new_cache(self) -> Any:
        """An empty cache: what `caches` makes, where it was given; else the module's own, where it has a `new_cache`; otherwise as the library would
        use it: everything, in layers with a window what the window needs."""
        if self.caches is not None:
            return self.caches(self._module)
        own = getattr(self._module, "new_cache", None)
        return DynamicCache(config=self._module.config) if own is None else own()

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """The tokens of `text`; with `special`, those that the tokenizer puts around a text as well. Raises `Invalid` without a tokenizer."""
        tokenizer = self.tokenizer
        with self._tokenizing:
            tokens: list[int] = tokenizer(sendable(text), add_special_tokens=special)["input_ids"]
        return tokens

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of `tokens`, without control tokens. Raises `Invalid` without a tokenizer."""
        text: str = self.tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    @property
    def has_template(self) -> bool:
        """Whether the tokenizer can write conversations."""
        return has_template(self._tokenizer)

    def encode_chat(self, messages: Sequence[Message], *, answer: bool = True) -> list[int]:
        """The tokens of a conversation by the tokenizer's template, with `answer` up to where the model's begins. Raises `Invalid`."""
        tokenizer = self.tokenizer
        with self._tokenizing:
            return conversation_tokens(tokenizer, messages, answer=answer)

    def prefill(
        self, tokens: Tokens, cache: Any = None, *, chunk: int | None = None, cancelled: Callable[[], bool] | None = None
    ) -> Prefilled:
        """Reads `tokens`, after what `cache` holds, `chunk` tokens at a time (None: all at once), to the same effect.

        A cache with a `last_chunk` is told before each chunk whether it is the last, and one with `settle` is called after it. Raises `Invalid` for
        tokens that the model does not know, that are none, or that are too many, and for a cache of other rows, or of another model.
        """
        past, rows = self._start(tokens, cache, chunk)
        return self._reader.read(past, rows, chunk, cancelled=cancelled)[0]

    def logits(self, tokens: Tokens, cache: Any = None, *, chunk: int | None = None) -> list[Tensor]:
        """Reads `tokens` as `prefill` does; for each row (its tokens, vocabulary), float32: what the model expected after each of them. Tokens that
        were pending in `cache` come first. Raises `Invalid`."""
        past, rows = self._start(tokens, cache, chunk)
        return self._reader.read(past, rows, chunk, every=True)[1]

    def generate(
        self,
        tokens: Tokens,
        cache: Any = None,
        *,
        max_tokens: int = 256,
        stop: Sequence[str] = (),
        ends: Sequence[int] | None = None,
        sampling: Sampling = GREEDY,
        chunk: int | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Generation:
        """A stream of what follows `tokens`, after what `cache` holds; no tokens (`()`) go on right after a `Prefilled`. `Generation.run` gives all.

        `stop`: texts before which a row ends; `ends`: tokens that end a row, by default the model's own; `cancelled` is asked before each chunk and
        each token. A row ends with "length" at `max_tokens` and where the model's window is full. Raises `Invalid` as `prefill` does, and for a
        prompt that leaves no room.
        """
        check_sampling(sampling)
        if isinstance(stop, str) or not all(isinstance(each, str) and each for each in stop):
            raise Invalid("stop is a sequence of texts, none of them empty: use stop=[\"…\"]")
        if stop and self._tokenizer is None:
            raise Invalid("stop sequences are found in the text, and this model has no tokenizer: end by tokens (`ends`), or pass tokenizer=…")
        past, rows = self._start(tokens, cache, chunk, begun=True)
        lengths = [length + len(row) for length, row in zip(past.lengths, rows, strict=True)]
        limits = limits_for(lengths, max_tokens, self._window_of(past))
        if not self._reader.fit_together(lengths, limits):
            raise Invalid(
                f"this model turns its keys differently beyond {self._reader.switch} tokens, and this batch may reach over that: "
                "run its rows one by one, or ask for fewer tokens"
            )
        plan = Plan(limits, self._ends if ends is None else frozenset(ends), tuple(stop), sampling, chunk, cancelled)
        return Generation(self._reader, past, rows, plan, self.decode if self._tokenizer is not None else _no_text)

    def chat(self, messages: Sequence[Message], **settings: Any) -> Generation:
        """The model's next turn, by the tokenizer's chat template; `settings` are those of `generate`. `Conversation` keeps its cache between turns.
        Raises `Invalid`, also where there is no template."""
        return self.generate(self.encode_chat(messages), **settings)

    def continues(self, past: Prefilled, tokens: int) -> bool:
        """Whether so many tokens can follow in each row. A LongRoPE model turns all keys differently beyond some length: it reads anew there."""
        return self._reader.fits(past, [range(tokens)] * past.rows)

    def fit_together(self, lengths: Sequence[int], max_tokens: int) -> bool:
        """Whether prompts of these lengths can go on for so many tokens in one batch; not where a LongRoPE model would change within it."""
        return self._reader.fit_together(lengths, [max_tokens] * len(lengths))

    def time_to_first_token(
        self,
        tokens: Tokens,
        *,
        cache: Callable[[], Any] | None = None,
        chunk: int | None = None,
        repeats: int = 3,
        clock: Callable[[], float] = time.perf_counter,
    ) -> float:
        """Seconds from `tokens` to the next token's choice: the median of `repeats`. `cache` makes the cache that each begins with, untimed."""
        if repeats < 1:
            raise Invalid(f"repeats is {repeats}: use at least 1")
        taken = []
        for _ in range(repeats):
            start_with = None if cache is None else cache()
            self._synchronise()
            begun = clock()
            logits = self.prefill(tokens, start_with, chunk=chunk).logits
            assert logits is not None
            logits.argmax(-1).tolist()  # brings the tokens here, so nothing is left in an accelerator's queue
            taken.append(clock() - begun)
        return statistics.median(taken)

    def _synchronise(self) -> None:
        if self.device.type != "cpu":
            torch.accelerator.synchronize()

    def _start(self, tokens: Tokens, cache: Any, chunk: int | None, *, begun: bool = False) -> tuple[Prefilled, list[list[int]]]:
        """What has been read, and the rows to read: what was pending, then `tokens`; with `begun`, none where logits are there. Raises `Invalid`."""
        if chunk is not None and chunk < 1:
            raise Invalid(f"chunk is {chunk}: use at least 1 token, or None for all at once")
        if cache is not None and not isinstance(cache, Prefilled) and cache.get_seq_length():
            there, own = len(cache.layers), len(DynamicCache(config=self._module.config).layers)
            if own and there != own:
                raise Invalid(f"the cache has {there} layers, and those of this model have {own}: it is of another model, so read the tokens again")
        past, rows = resumed(self.new_cache() if cache is None else cache, rows_from(tokens))
        if any(rows) or past.logits is None or not begun:
            check_rows(past, rows, self._vocabulary, self._window_of(past))
        claim(past.cache, self._module)
        return past, rows

    def _window_of(self, past: Prefilled) -> int | None:
        """Tokens that a row may have, those in the cache and those to come."""
        room = past.cache.room() if isinstance(past.cache, Roomy) else None
        return self._window if room is None else max(past.lengths) + room


def _no_text(tokens: Sequence[int]) -> str:
    """Without a tokenizer there are only tokens."""
    return ""
