"""Three ways to hold a conversation over a record: tokens in a method, messages of a chat model, memories of a space."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Protocol

from mnemos.base.protocols import ChatModel, Message, ReplyModel
from mnemos.bench.scbench.methods import PLAIN, Codec, Method, Stats, Template, evidence_tokens, retention
from mnemos.bench.scbench.records import Record, Turn


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer, and what it took. Seconds to the first token begin with the question and leave out what was read before; None where nobody tells."""

    text: str
    tokens: int | None = None
    first_seconds: float | None = None
    rest_seconds: float | None = None
    fork_seconds: float = 0.0
    stats: Stats = field(default_factory=Stats)
    retention: float | None = None
    """Share of the turn's evidence that is still stored when it is asked."""
    read: float | None = None
    """Of a memory that is searched: share of the evidence that was found and read."""
    reused: float | None = None
    """Of the tokens before the answer, the share that had been read before the question came: the cache's hits."""
    rolled_back: bool | None = None
    """Whether the state after the answer is the one before it, by its hash; None where it was not checked."""


class Conversation(Protocol):
    """One context and what was said over it."""

    def ask(self, turn: Turn, n: int) -> Answered:
        """The answer, of at most `n` tokens. Question stays, generated tokens do not."""
        ...

    def settle(self, answer: str) -> None:
        """Puts an answer into the history."""
        ...

    def change(self, record: Record) -> None:
        """The context is now that of `record`. What was said is dropped, but by a text memory, which keeps what it was told."""
        ...

    def fork(self) -> Conversation: ...
    def digest(self) -> str | None: ...
    def close(self) -> None: ...


class Client(Protocol):
    """Opens conversations. `template` is the digest of what stands around questions and answers."""

    name: str
    query_aware: bool
    template: str

    def open(self, record: Record, query: Turn | None = None) -> Conversation:
        """Reads the context; of a query-aware client, with the question that will be asked first."""
        ...


class TokenClient:
    """A method with a codec and a template. `verify` compares hashes of the state around each answer, which reads all of it."""

    def __init__(self, method: Method, codec: Codec, template: Template = PLAIN, stop: Collection[int] | None = None, verify: bool = True) -> None:
        self.method, self.codec, self.verify = method, codec, verify
        self.name, self.query_aware = method.name, method.query_aware
        self.around, self.template = template, template.digest
        self.stop = tuple(getattr(codec, "stop", ())) if stop is None else tuple(stop)

    def open(self, record: Record, query: Turn | None = None) -> TokenConversation:
        context = self.codec.encode(self.around.before_context + record.context)
        asked = self._question(query) if query is not None and self.query_aware else []
        handle = self.method.prefill(context, asked)
        return TokenConversation(self, record, handle, query if asked else None)

    def _question(self, turn: Turn) -> list[int]:
        return self.codec.encode(self.around.before_question + turn.input + self.around.before_answer)


class TokenConversation:
    """A handle of a method, and which question it has already read."""

    def __init__(self, client: TokenClient, record: Record, handle: Any, known: Turn | None) -> None:
        self._client, self._record, self._handle, self._known = client, record, handle, known
        self._places = client.codec.places(client.around.before_context + record.context)

    def ask(self, turn: Turn, n: int) -> Answered:
        method, client = self._client.method, self._client
        stats = method.stats(self._handle)
        kept = None
        if stats.held is not None and self._places is not None:
            shift = len(client.around.before_context)
            kept = retention(stats.held, evidence_tokens(self._places, [(start + shift, end + shift) for start, end in turn.evidence]))
        start = perf_counter()
        known, self._known = turn is self._known, None
        if not known:
            method.append(self._handle, client._question(turn))
        asked = perf_counter()
        reused = 0.0 if known else stats.length / max(1, method.stats(self._handle).length)
        before = method.digest(self._handle) if client.verify else ""
        forking = perf_counter()
        probe = method.fork(self._handle)
        forked = perf_counter()
        made = method.generate(probe, n, client.stop)
        stats = method.stats(probe)
        method.release(probe)
        rolled = before == method.digest(self._handle) if client.verify else None
        return Answered(
            client.codec.decode(made.tokens), len(made.tokens), asked - start + made.first_seconds, made.rest_seconds, forked - forking, stats, kept,
            reused=reused, rolled_back=rolled,
        )  # fmt: skip

    def settle(self, answer: str) -> None:
        self._client.method.append(self._handle, self._client.codec.encode(answer + self._client.around.after_answer))

    def change(self, record: Record) -> None:
        """Keeps what both contexts begin with, where the method can take back what follows; else reads all anew."""
        method, client = self._client.method, self._client
        before = client.codec.encode(client.around.before_context + self._record.context)
        now = client.codec.encode(client.around.before_context + record.context)
        same = next((i for i, (old, new) in enumerate(zip(before, now, strict=False)) if old != new), min(len(before), len(now)))
        rewind = getattr(method, "rewind", None)
        if rewind is not None and 0 < same < len(now) and rewind(self._handle, same):
            method.append(self._handle, now[same:])
        else:
            method.release(self._handle)
            self._handle = method.prefill(now)
        self._record, self._known = record, None
        self._places = client.codec.places(client.around.before_context + record.context)

    def fork(self) -> TokenConversation:
        return TokenConversation(self._client, self._record, self._client.method.fork(self._handle), self._known)

    def digest(self) -> str | None:
        return self._client.method.digest(self._handle) if self._client.verify else None

    def close(self) -> None:
        self._client.method.release(self._handle)


class ChatClient:
    """A chat model: the context in the first message, then questions and answers in turn. The model keeps no handle."""

    query_aware = False

    def __init__(self, chat: ChatModel, template: Template = PLAIN, system: str = "") -> None:
        self.chat, self.around, self.system = chat, template, system
        self.name = f"chat {chat.fingerprint}"
        self.template = hashlib.sha256(f"chat\x1f{template.digest}\x1f{system}".encode()).hexdigest()[:16]

    def open(self, record: Record, query: Turn | None = None) -> ChatConversation:
        messages: list[Message] = [{"role": "system", "content": self.system}] if self.system else []
        return ChatConversation(self, self.around.before_context + record.context, messages)


class ChatConversation:
    """The messages so far."""

    def __init__(self, client: ChatClient, context: str, messages: Sequence[Message]) -> None:
        self._client, self._context, self._messages = client, context, list(messages)

    def ask(self, turn: Turn, n: int) -> Answered:
        """Raises `ModelUnavailable` where the model does not answer; an answer that is cut off at `n` tokens counts as it stands."""
        text = f"{self._context}{self._client.around.before_question}{turn.input}" if self._context else turn.input
        self._messages.append({"role": "user", "content": text})
        self._context = ""
        chat, start = self._client.chat, perf_counter()
        if isinstance(chat, ReplyModel):
            (reply,) = chat.respond([self._messages], max_tokens=n)
            if reply.problem is not None:
                raise reply.problem
            said, tokens = reply.text, reply.tokens_out
        else:
            (said,) = chat.complete([self._messages], max_tokens=n)
            tokens = None
        return Answered(said, tokens, rest_seconds=perf_counter() - start, rolled_back=self._messages[-1]["role"] == "user")

    def settle(self, answer: str) -> None:
        self._messages.append({"role": "assistant", "content": answer})

    def change(self, record: Record) -> None:
        system = [message for message in self._messages if message["role"] == "system"]
        self._context, self._messages = self._client.around.before_context + record.context, system

    def fork(self) -> ChatConversation:
        return ChatConversation(self._client, self._context, self._messages)

    def digest(self) -> str | None:
        said = "\x1e".join(f"{message['role']}\x1f{message['content']}" for message in self._messages)
        return hashlib.sha256(f"{self._context}\x1e{said}".encode()).hexdigest()

    def close(self) -> None:
        """Nothing is held."""
