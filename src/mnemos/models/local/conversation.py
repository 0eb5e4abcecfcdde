"""A conversation over many turns that keeps what the model has read, and lets it read only what is new."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mnemos.base.protocols import Message
from mnemos.models.local.context import Prefilled
from mnemos.models.local.generation import Generation
from mnemos.models.local.model import LocalModel


class Conversation:
    """Turns with a model. `messages` is what has been said; `read_last` and `kept_last` say how many tokens the last turn read, and how many it
    found in the cache.

    Before each turn the whole conversation is written by the template, and compared with the tokens that were read, one by one: what is the same at
    their beginning is kept. Where a template rewrites earlier turns (some leave out what the model thought), or the answer is cut into other tokens
    than it was made of, the cache is cropped to there; where it cannot be, as beyond a window, the conversation is read anew with a new cache.

    `cache` makes the caches, by default the model's own. `settings` are those of `LocalModel.generate` for every turn. For one thread at a time.
    """

    def __init__(
        self,
        model: LocalModel,
        system: str | None = None,
        *,
        messages: Sequence[Message] = (),
        cache: Callable[[], Any] | None = None,
        **settings: Any,
    ) -> None:
        self.model = model
        self.messages: list[Message] = [*([Message(role="system", content=system)] if system is not None else []), *messages]
        self.read_last = self.kept_last = 0
        self._make = cache or model.new_cache
        self._settings = settings
        self._context: Prefilled | None = None
        self._newest: Generation | None = None

    @property
    def context(self) -> Prefilled | None:
        """What the model has read; None before the first turn."""
        return self._context

    def stream(self, text: str, **settings: Any) -> Iterator[str]:
        """Says `text`, and gives the model's answer as it comes. The turn is part of the conversation once the stream has ended, or was closed (then
        with as much of the answer as was made), but not where another turn was begun before. `settings` go before the conversation's. Raises
        `Invalid`; what has been said is then as before."""
        asked: list[Message] = [*self.messages, Message(role="user", content=text)]
        tokens = self.model.encode_chat(asked)
        self._newest = generation = self._continue(tokens, self._settings | settings)
        return self._pieces(asked, generation)

    def say(self, text: str, **settings: Any) -> str:
        """Says `text`, and gives the model's whole answer. Raises `Invalid`."""
        return "".join(self.stream(text, **settings))

    def _pieces(self, asked: list[Message], generation: Generation) -> Iterator[str]:
        try:
            for piece in generation:
                if piece.text:
                    yield piece.text
        finally:
            if self._newest is generation:
                self._context = generation.context
                if generation.written[0].tokens:
                    self.messages = [*asked, Message(role="assistant", content=generation.text)]

    def _continue(self, tokens: list[int], settings: dict[str, Any]) -> Generation:
        """The generation after `tokens`, of which the model reads those that differ from what it has read."""
        known = self._context.tokens[0] if self._context is not None and self._context.tokens is not None else ()
        keep = 0
        for had, wanted in zip(known, tokens[:-1], strict=False):  # one is left to read, for it gives the logits
            if had != wanted:
                break
            keep += 1
        kept = self._context.cropped(keep) if keep and self._context is not None else None
        if kept is not None and not self.model.continues(kept, len(tokens) - keep):
            kept = None
        if kept is None:
            keep = 0
        self._context = None  # the cache is changed from here on, and is no longer what was read before
        generation = self.model.generate([tokens[keep:]], kept if kept is not None else self._make(), **settings)
        self.read_last, self.kept_last = len(tokens) - keep, keep
        return generation
