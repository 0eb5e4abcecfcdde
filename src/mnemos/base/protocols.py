"""Small protocols that several floors share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
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


@dataclass(frozen=True, slots=True)
class Memorised:
    """What a model keeps of a text that it has read: the bytes, how many tokens the text has, and how many places of the model's context the memory
    takes."""

    payload: bytes
    tokens: int
    positions: int


@runtime_checkable
class Recaller(Protocol):
    """A model that reads texts once, into a compressed memory, and says later what it remembers to a question. The driver stands in
    `mnemos.activation.beacon.recaller`. What it recalls serves to search, and is no evidence."""

    @property
    def fingerprint(self) -> str:
        """Names the model and how it compresses: memories of one fingerprint, and only those, fit it."""
        ...

    @property
    def section(self) -> int:
        """Tokens of a text from which on it is read as well as it gets: what is shorter is better read together with others."""
        ...

    @property
    def room(self) -> int | None:
        """Places that memories may take together; None where nothing bounds them."""
        ...

    def count(self, text: str) -> int:
        """Tokens of a text."""
        ...

    def memorise(self, name: str, text: str) -> Memorised:
        """Reads a text by itself. No two names give equal bytes. Raises `Invalid` for a text without tokens."""
        ...

    def joined(self, payloads: Sequence[bytes]) -> Any:
        """Memories of texts as one, in this order, to be asked often. Raises `Corrupt`, `FingerprintMismatch`."""
        ...

    def recall(self, memory: Any, question: str) -> list[tuple[str, str]]:
        """What the model remembers to a question, as (kind, text): "recall", a passage; "rewrite", a simpler question; "answer", a draft. The memory
        stays as it was."""
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


Tokens = Sequence[int] | Sequence[Sequence[int]]
"""Token ids of one sequence, or of a batch of sequences, one for each row; tensors and arrays of that shape as well."""
Ended = Literal["end", "stop", "length", "cancelled"]
"""How a generated sequence ended: by a token that ends it, at a stop sequence, at `max_tokens` or the model's window, or by the caller."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen. The default, a temperature of 0, is greedy: the likeliest token, the first of equals."""

    temperature: float = 0.0
    """Divides the logits; 0 is greedy, 1 the model's own distribution."""
    top_k: int | None = None
    """Only the k likeliest tokens; None: all."""
    top_p: float | None = None
    """Only the fewest likeliest tokens that have this probability together, in (0, 1]; None: all. (Holtzman et al., 2020, section 3.1)"""
    repetition_penalty: float = 1.0
    """Logits of tokens that are known to stand before, or were generated: divided by it where positive, multiplied where negative; 1: as they are.
    (Keskar et al., CTRL, 2019, section 4.1)"""
    seed: int = 0
    """Of the random numbers; row r of a batch draws from `seed + r`, so each row draws the same alone, with that seed, as in the batch."""


GREEDY = Sampling()


@dataclass(frozen=True, slots=True)
class Piece:
    """One step of one row of a generation."""

    row: int
    token: int | None
    """The token that was chosen; None where a row ended without one (it was cancelled)."""
    text: str
    """What is new and certain of the row's text: whole characters, and nothing that a stop sequence could begin with."""
    ended: Ended | None = None
    """Set in the last piece of a row."""


class Prefix(Protocol):
    """What a model has read: its keys and values, and what it expects next. Belongs to one sequence or batch, and to one thread at a time."""

    @property
    def cache(self) -> Any:
        """A transformers `Cache`."""
        ...

    @property
    def logits(self) -> Any:
        """Of the token after the last: a tensor (rows, vocabulary), float32."""
        ...


@runtime_checkable
class LanguageModel(Protocol):
    """A causal language model whose keys and values are at hand. The drivers stand in `mnemos.models.local`; tensors are torch's."""

    @property
    def fingerprint(self) -> str:
        """Names weights, tokenizer, template, position encoding and precision: keys and values of one fingerprint, and only those, fit it."""
        ...

    @property
    def context_window(self) -> int | None:
        """Tokens of a sequence, prompt and answer together; None where the model does not say."""
        ...

    @property
    def module(self) -> Any:
        """The module of transformers: what makes caches for it needs its configuration."""
        ...

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """The tokens of `text`; with `special`, those that the tokenizer puts around a text as well."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of `tokens`, without control tokens."""
        ...

    def prefill(self, tokens: Tokens, cache: Any = None, *, chunk: int | None = None) -> Prefix:
        """Reads `tokens`, after what `cache` (a transformers `Cache`, or an earlier prefix) holds, `chunk` tokens at a time. Raises `Invalid`."""
        ...

    def generate(
        self,
        tokens: Tokens,
        cache: Any = None,
        *,
        max_tokens: int = 256,
        stop: Sequence[str] = (),
        sampling: Sampling = GREEDY,
        chunk: int | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Iterator[Piece]:
        """Reads `tokens` as `prefill` does, or none where `cache` is a prefix, and goes on, piece by piece, row by row. Ends early where
        `cancelled()` is true. Raises `Invalid`."""
        ...

    def logits(self, tokens: Tokens, cache: Any = None, *, chunk: int | None = None) -> Sequence[Any]:
        """For each row a tensor (its tokens, vocabulary), float32: what the model expected after each of them. Raises `Invalid`."""
        ...

    def kv_bytes(self, tokens: int) -> int:
        """Bytes that the keys and values of one sequence of so many tokens take, uncompressed."""
        ...
