"""What a request costs: every message and tool as the JSON that is sent, counted before each call."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence

import orjson

from mnemos.base.errors import Invalid, ModelUnavailable
from mnemos.base.protocols import Message, Tool
from mnemos.base.utf8 import tokens_by_bytes
from mnemos.text.tokens import token_counter

_REMEMBERED = 512
_BYTES_OF_TOKEN = 4


def bytes_bound(text: str) -> int:
    """The tokens of `text` where no tokenizer is at hand: its bytes in UTF-8 by four, rounded up. Above the count of common tokenizers for
    English and for code; not a bound for rare scripts, for which a tokenizer is to be given."""
    return tokens_by_bytes(text, _BYTES_OF_TOKEN)


def tiktoken_counter(model: str) -> Callable[[str], int]:
    """A counter by OpenAI's tokenizer of `model`. Raises `ModelUnavailable` where tiktoken is not installed, `Invalid` for an unknown model."""
    try:
        import tiktoken  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise ModelUnavailable("tiktoken is not installed: pip install tiktoken, or count with another tokenizer, or by bytes") from None
    try:
        return token_counter(tiktoken.encoding_for_model(model))
    except KeyError:
        raise Invalid(f"tokenizer: tiktoken knows no model {model!r}; give a counter of your own") from None


Rendered = Callable[[Sequence[Message], Sequence[Tool]], Sequence[Message]]
"""Gives the messages, tools among them, as a model is told them in words."""


class RequestCounter:
    """Counts requests by the tokens that `count` gives of a text; what was counted once is remembered. `rendered`: how messages and tools are
    told to a model that knows no tools."""

    def __init__(self, count: Callable[[str], int] = bytes_bound, rendered: Rendered | None = None) -> None:
        self.text: Callable[[str], int] = functools.lru_cache(maxsize=_REMEMBERED)(count)
        self._rendered = rendered

    def message(self, message: Message) -> int:
        """The tokens of one message: of the JSON that says it, marks included, which is more than chat templates add."""
        return self.text(orjson.dumps(message).decode())

    def tools(self, tools: Iterable[Tool]) -> int:
        """The tokens of the tools' schemas."""
        return sum(self.text(orjson.dumps(tool).decode()) for tool in tools)

    def request(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> int:
        """The tokens of a whole request."""
        if self._rendered is not None:
            messages, tools = self._rendered(messages, tools), ()
        return sum(map(self.message, messages)) + self.tools(tools)

    def quoted(self, text: str) -> int:
        """The tokens of a text as a part of a message's JSON."""
        return self.text(orjson.dumps(text).decode())

    def cut(self, text: str, tokens: int, notice: Callable[[int, int], str]) -> str:
        """`text` where it costs at most so many tokens, else its beginning with `notice(whole, shown)`, in characters, behind it. What is
        handed back costs no more than `tokens`, as a part of a message's JSON, unless the notice alone does."""
        if self._fits(text, tokens):
            return text
        low, high = 0, len(text)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self._fits(text[:middle] + notice(len(text), middle), tokens) else (low, middle - 1)
        return text[:low] + notice(len(text), low)

    def _fits(self, text: str, tokens: int) -> bool:
        return self.quoted(text) <= tokens


def last_fitting(groups: Sequence[int], room: int) -> int:
    """The first of the groups, in order, from which on all of them together cost at most `room`."""
    first = len(groups)
    while first and groups[first - 1] <= room:
        first -= 1
        room -= groups[first]
    return first


