"""A chat model of the Hugging Face family, run here: its own chat template, greedy decoding, in batches. Needs the `[models]` extra."""

from __future__ import annotations

import hashlib
import importlib
import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnemos.base.errors import Invalid, ModelUnavailable
from mnemos.base.protocols import Message, Reply, Tool

if TYPE_CHECKING:
    from mnemos.models.local.model import LocalModel

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
        self._model: LocalModel | None = None
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
    def model(self) -> LocalModel:
        """The model itself, loaded at the first asking. Raises `ModelUnavailable`."""
        with self._lock:
            if self._model is None:
                self._model = self._opened()
            return self._model

    @property
    def context_window(self) -> int | None:
        """Positions that the model was made for, where its configuration says so."""
        return self._window

    def count_tokens(self, text: str) -> int:
        """The tokens of `text` by the model's tokenizer, without those that a template adds. Loads it."""
        return len(self.model.encode(text, special=False))

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
            limit = max_tokens or DEFAULT_MAX_TOKENS
            out: dict[int, Reply] = {}
            told: dict[int, list[int]] = {}
            for number, turns in enumerate(conversations):
                prepared = self._prepared(turns)
                if isinstance(prepared, Reply):
                    out[number] = prepared
                else:
                    told[number] = prepared
            order = sorted(told, key=lambda number: len(told[number]))  # like lengths together: less padding
            for start in range(0, len(order), self._batch_size):
                batch = order[start : start + self._batch_size]
                for number, reply in zip(batch, self._decoded([told[n] for n in batch], limit), strict=True):
                    out[number] = reply
            return [out[number] for number in range(len(conversations))]

    def _prepared(self, turns: Sequence[Message]) -> list[int] | Reply:
        """The tokens of a conversation, up to where the answer begins; what is said in it gives no control token of the template."""
        try:
            tokens = self.model.encode_chat(turns)
        except Invalid as error:
            return self._failed(str(error))
        if self._window is not None and len(tokens) >= self._window:
            return self._failed(f"the conversation has {len(tokens)} tokens, its window {self._window}", "too long")
        return tokens

    def _decoded(self, batch: list[list[int]], limit: int) -> list[Reply]:
        """The replies to a batch, greedily."""
        together = self.model.fit_together(list(map(len, batch)), limit)
        parts = [batch] if together else [[one] for one in batch]
        written = [row for part in parts for row in self.model.generate(part, max_tokens=limit).run()]
        return [
            Reply(row.text, finish="stop" if row.ended == "end" else "length", tokens_in=len(asked), tokens_out=len(row.tokens))
            for asked, row in zip(batch, written, strict=True)
        ]

    def _failed(self, problem: str, reason: str = "unavailable") -> Reply:
        return Reply("", finish="failed", problem=ModelUnavailable(f"the chat model {self.folder.name!r} failed: {problem}", reason))

    def _opened(self) -> LocalModel:
        try:
            local = importlib.import_module("mnemos.models.local.model")
        except ImportError as error:
            raise ModelUnavailable(
                f"the local chat model {self.folder.name!r} needs torch and transformers, which cannot be imported ({error}): "
                "run `pip install 'mnemos[models]'`"
            ) from error
        model: LocalModel = local.LocalModel.load(self.folder, dtype=self._dtype, device=self._device)
        if not model.has_template:
            raise ModelUnavailable(f"the tokenizer in {self.folder} has no chat template: this is no chat model")
        return model


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
