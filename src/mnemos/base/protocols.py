"""Small protocols that several floors share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, Protocol, TypedDict, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import ModelUnavailable

Vectors = NDArray[np.float32]
Progress = Callable[[int, int], None]
"""Called with (done, total) while long work goes on."""


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into unit vectors. One protocol, several drivers (`mnemos.models`)."""

    @property
    def fingerprint(self) -> str:
        """Names the model, its weights and its precision: vectors of one fingerprint, and only those, are comparable."""
        ...

    @property
    def dimensions(self) -> int:
        """Length of each vector."""
        ...

    def embed(self, texts: Sequence[str], *, progress: Progress | None = None) -> Vectors:
        """Unit vectors, float32, shape (len(texts), dimensions), in the order of `texts`. Raises `ModelUnavailable`."""
        ...


class ToolCall(TypedDict):
    """A call that a language model asks for."""

    id: str
    """Names the call; the turn with its result repeats it."""
    name: str
    arguments: str
    """JSON as the model wrote it: parse it with care."""


class Tool(TypedDict):
    """What a language model may call. `parameters` is the JSON Schema of an object."""

    name: str
    description: str
    parameters: Mapping[str, Any]


class Message(TypedDict):
    """One turn of a conversation with a language model."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: NotRequired[Sequence[ToolCall]]
    """Of a turn of the assistant: what it called."""
    tool_call_id: NotRequired[str]
    """Of a turn of a tool: the call whose result it is."""


Finish = Literal["stop", "tools", "length", "refusal", "failed"]


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's next turn in one conversation, and how it came about."""

    text: str
    calls: tuple[ToolCall, ...] = ()
    finish: Finish = "stop"
    """`stop`: it said what it had to say; `tools`: it waits for results; `length`: cut off; `refusal`: withheld; `failed`: see `problem`."""
    tokens_in: int | None = None
    """Tokens of the request, as the model counted them; None where it did not say."""
    tokens_out: int | None = None
    problem: ModelUnavailable | None = None
    """Why there is no answer, where `finish` is `failed`."""


@runtime_checkable
class ChatModel(Protocol):
    """Completes conversations. One protocol, several drivers (`mnemos.models`)."""

    @property
    def fingerprint(self) -> str:
        """Names the model and where it runs: what it says is only comparable within one fingerprint."""
        ...

    def complete(
        self, conversations: Sequence[Sequence[Message]], *, schema: Mapping[str, Any] | None = None, max_tokens: int | None = None
    ) -> list[str]:
        """The next turn of each conversation, in their order: one batched call. With `schema` (JSON Schema of an object) the model is asked
        to answer in that form; the texts come as the model wrote them, so parse them with care. Raises `ModelUnavailable`, where any fails."""
        ...


@runtime_checkable
class ReplyModel(ChatModel, Protocol):
    """A chat model that also tells how each turn ended and what it cost, and, where `takes_tools`, calls tools."""

    @property
    def context_window(self) -> int | None:
        """Tokens of a request and its answer together; None where it is not known."""
        ...

    @property
    def takes_tools(self) -> bool:
        """Whether `respond` takes tools; where not, `mnemos.text.tools_in_text` speaks of them in words."""
        ...

    def count_tokens(self, text: str) -> int:
        """The tokens of `text`: exactly where the model's tokenizer is at hand, otherwise an estimate that is rather too high."""
        ...

    def respond(
        self,
        conversations: Sequence[Sequence[Message]],
        *,
        schema: Mapping[str, Any] | None = None,
        max_tokens: int | None = None,
        tools: Sequence[Tool] = (),
        tool_choice: str = "auto",
    ) -> list[Reply]:
        """The next turn of each conversation, in their order. `tool_choice`: "auto", "none", "required" (some tool), or the name of the tool
        that must be called. What fails for one conversation is told in its reply, and the others have theirs. Raises `Invalid` for a request
        that no model could take."""
        ...
