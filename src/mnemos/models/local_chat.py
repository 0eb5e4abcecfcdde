"""A chat model of the Hugging Face family, run here: its own chat template, greedy decoding, in batches. Needs the `[models]` extra."""

from __future__ import annotations

import hashlib
import importlib
import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mnemos.base.errors import Invalid, ModelUnavailable
from mnemos.base.protocols import Message, Reply, Tool
from mnemos.base.utf8 import sendable

DEFAULT_MAX_TOKENS = 512
"""Tokens of an answer, where the caller names no number."""
_DIGESTED = (".safetensors", ".bin", ".json", ".jinja", ".model", ".txt")
_READ_BYTES = 1 << 22


class LocalChat:
    """A causal language model and its tokenizer in a folder, as `save_pretrained` writes them: the tokenizer must have a chat template.

    `device`: "cpu", "cuda", …; `dtype`: the name of a torch type ("float32", "bfloat16"), "auto" for that of the weights; `batch_size`:
    conversations decoded at once. Decoding is greedy, so that a model says the same of the same; of different batches only up to rounding. Code
    that a folder brings is not run. A schema is not enforced: the prompt asks for it, and `mnemos.text.asking` checks it. Tools are spoken of in
    words (`mnemos.text.tools_in_text`). Loaded at first use. Safe to share between threads: calls take turns.
    """

    takes_tools = False

    def __init__(self, folder: str | Path, *, device: str = "cpu", dtype: str = "auto", batch_size: int = 8) -> None:
        if batch_size < 1:
            raise Invalid(f"batch_size is {batch_size}: use at least 1")
        self.folder = Path(folder)
        try:
            config = json.loads((self.folder / "config.json").read_bytes())
            window = config.get("max_position_embeddings")
        except (OSError, ValueError, AttributeError) as error:
            raise Invalid(f"{self.folder} is no folder of a Hugging Face model: its config.json cannot be read ({error})") from error
        self._window = window if isinstance(window, int) and window > 0 else None
        self._device = device
        self._dtype = dtype
        self._batch_size = batch_size
        self._lock = threading.RLock()
        self._loaded: tuple[Any, Any, Any] | None = None
        self._fingerprint = ""

    def __repr__(self) -> str:
        return f"LocalChat({str(self.folder)!r})"

    @property
    def fingerprint(self) -> str:
        """The digest of the weights, the tokenizer and their settings, and the type they run in; computed once, by reading the files."""
        with self._lock:
            if not self._fingerprint:
                self._fingerprint = f"local:{self.folder.name}:{_digest(self.folder)[:16]}:{self._dtype}"
            return self._fingerprint

    @property
    def context_window(self) -> int | None:
        """Positions that the model was made for, where its configuration says so."""
        return self._window

    def count_tokens(self, text: str) -> int:
        """The tokens of `text` by the model's tokenizer, without those that a template adds. Loads it."""
        _, _, tokenizer = self._load()
        return len(tokenizer(sendable(text), add_special_tokens=False)["input_ids"])

    def complete(
        self, conversations: Sequence[Sequence[Message]], *, schema: Mapping[str, Any] | None = None, max_tokens: int | None = None
    ) -> list[str]:
        """The model's next turn in each conversation. Raises `ModelUnavailable` where one is cut off at `max_tokens`, or has no room."""
        replies = self.respond(conversations, schema=schema, max_tokens=max_tokens)
        for reply in replies:
            if reply.problem is not None:
                raise reply.problem
            if reply.finish == "length":
                raise ModelUnavailable(f"the chat model {self.folder.name!r} was cut off; allow more tokens, or ask for less", "truncated")
        return [reply.text for reply in replies]

    def respond(
        self,
        conversations: Sequence[Sequence[Message]],
        *,
        schema: Mapping[str, Any] | None = None,
        max_tokens: int | None = None,
        tools: Sequence[Tool] = (),
        tool_choice: str = "auto",
    ) -> list[Reply]:
        """The model's next turn in each conversation, in their order, batched by length.

        A conversation that leaves no room for an answer, or that the template does not take, has a reply that says so. Raises `Invalid` for
        tools and for a conversation without a turn; `ModelUnavailable` where the model cannot be loaded.
        """
        if tools:
            raise Invalid(f"{self!r} takes no tools: wrap it with mnemos.text.tools_in_text.with_tools")
        if not all(conversations) or (max_tokens is not None and max_tokens < 1):
            raise Invalid("each conversation needs at least one message, and max_tokens is 1 or more")
        with self._lock:
            torch, model, tokenizer = self._load()
            limit = max_tokens or DEFAULT_MAX_TOKENS
            out: dict[int, Reply] = {}
            told: dict[int, list[int]] = {}
            for number, turns in enumerate(conversations):
                prepared = self._prepared(tokenizer, turns)
                if isinstance(prepared, Reply):
                    out[number] = prepared
                else:
                    told[number] = prepared
            order = sorted(told, key=lambda number: len(told[number]))  # like lengths together: less padding
            for start in range(0, len(order), self._batch_size):
                batch = order[start : start + self._batch_size]
                for number, reply in zip(batch, self._decoded(torch, model, tokenizer, [told[n] for n in batch], limit), strict=True):
                    out[number] = reply
            return [out[number] for number in range(len(conversations))]

    def _prepared(self, tokenizer: Any, turns: Sequence[Message]) -> list[int] | Reply:
        """The tokens of a conversation, up to where the answer begins; what is said in it gives no control token of the template."""
        said = [{"role": turn["role"], "content": _without_marks(sendable(turn["content"]), _marks(tokenizer))} for turn in turns]
        try:
            text = tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
        except Exception as error:  # noqa: BLE001  (templates raise what they like of roles that they do not know)
            return self._failed(f"its chat template does not take this conversation ({error})")
        tokens: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        if self._window is not None and len(tokens) >= self._window:
            return self._failed(f"the conversation has {len(tokens)} tokens, its window {self._window}", "too long")
        return tokens

    def _decoded(self, torch: Any, model: Any, tokenizer: Any, batch: list[list[int]], limit: int) -> list[Reply]:
        """The replies to a batch, greedily. The tokens of the batch are padded on the left."""
        longest = max(map(len, batch))
        room = limit if self._window is None else min(limit, self._window - longest)
        ends = _ends(model, tokenizer)
        filler = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(ends, default=0)
        ids = torch.tensor([[filler] * (longest - len(one)) + one for one in batch], device=model.device)
        mask = torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in batch], device=model.device)
        settings = {"do_sample": False, "num_beams": 1, "temperature": None, "top_p": None, "top_k": None}
        with torch.inference_mode():
            made = model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=room, pad_token_id=filler, eos_token_id=sorted(ends) or None, **settings
            )
        return [_reply(tokenizer, one, row[longest:].tolist(), ends) for one, row in zip(batch, made, strict=True)]

    def _failed(self, problem: str, reason: str = "unavailable") -> Reply:
        return Reply("", finish="failed", problem=ModelUnavailable(f"the chat model {self.folder.name!r} failed: {problem}", reason))

    def _load(self) -> tuple[Any, Any, Any]:
        with self._lock:
            if self._loaded is None:
                self._loaded = self._opened()
            return self._loaded

    def _opened(self) -> tuple[Any, Any, Any]:
        """torch, the model and its tokenizer."""
        try:
            torch, library = importlib.import_module("torch"), importlib.import_module("transformers")
        except ImportError as error:
            raise ModelUnavailable(
                f"the local chat model {self.folder.name!r} needs torch and transformers, which cannot be imported ({error}): "
                "run `pip install 'mnemos[models]'`"
            ) from error
        if self._dtype != "auto" and not isinstance(getattr(torch, self._dtype, None), torch.dtype):
            raise Invalid(f"dtype: torch has no type {self._dtype!r}; use 'float32', 'bfloat16', 'float16' or 'auto'")
        offline = {"local_files_only": True, "trust_remote_code": False}
        try:
            tokenizer = library.AutoTokenizer.from_pretrained(self.folder, **offline)
            model = library.AutoModelForCausalLM.from_pretrained(self.folder, dtype=self._dtype, use_safetensors=True, **offline)
            model = model.to(self._device).eval()
        except Exception as error:  # the libraries raise many kinds of a file that is not as it should be
            raise ModelUnavailable(f"the chat model in {self.folder} cannot be loaded: {error}") from error
        if not getattr(tokenizer, "chat_template", None):
            raise ModelUnavailable(f"the tokenizer in {self.folder} has no chat template: this is no chat model")
        return torch, model, tokenizer


def _digest(folder: Path) -> str:
    """SHA-256 of the files that decide what a model says, by name."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.suffix in _DIGESTED and path.is_file()):
        content = hashlib.sha256()
        with path.open("rb") as file:
            while part := file.read(_READ_BYTES):
                content.update(part)
        digest.update(f"{path.name}\0{content.hexdigest()}\n".encode())
    return digest.hexdigest()


def _marks(tokenizer: Any) -> list[str]:
    """The control tokens that a tokenizer reads in a text, longest first."""
    return sorted({str(token) for token in (*tokenizer.get_added_vocab(), *tokenizer.all_special_tokens)}, key=len, reverse=True)


def _without_marks(text: str, marks: Sequence[str]) -> str:
    """`text` with a blank within each control token, which then is read as the characters that it is written with."""
    for mark in marks:
        if len(mark) > 1:
            while mark in text:
                text = text.replace(mark, f"{mark[0]} {mark[1:]}")
    return text


def _ends(model: Any, tokenizer: Any) -> set[int]:
    """The tokens that end a turn."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    known = configured if isinstance(configured, list) else [configured]
    return {int(token) for token in (*known, tokenizer.eos_token_id) if token is not None}


def _reply(tokenizer: Any, asked: list[int], made: list[int], ends: set[int]) -> Reply:
    """The reply that `made` is, up to the first token that ends a turn; cut off where there is none."""
    at = next((number for number, token in enumerate(made) if token in ends), None)
    said = made if at is None else made[:at]
    text = tokenizer.decode(said, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return Reply(text, finish="length" if at is None else "stop", tokens_in=len(asked), tokens_out=len(said) + (at is not None))
