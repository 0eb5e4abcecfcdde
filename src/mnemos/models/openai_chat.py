"""Chat completions from any server that speaks the OpenAI `/chat/completions` protocol."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mnemos.base.errors import Invalid, ModelUnavailable
from mnemos.base.protocols import Finish, Message, Reply, Tool, ToolCall
from mnemos.base.utf8 import sendable, tokens_by_bytes
from mnemos.models.openai_endpoint import OPENAI_BASE_URL, Endpoint

FORMATS = ("schema", "object", "text")
_FINISHES: Mapping[object, Finish] = {None: "stop", "stop": "stop", "tool_calls": "tools", "content_filter": "refusal"}
"""What the protocol calls the ways in which a turn ends; whatever else a server says is a turn that ended early."""
_CHOICES = ("auto", "none", "required")


class OpenAIChat:
    """Chat model behind an OpenAI-compatible endpoint: `POST {base_url}/chat/completions`, one request for each conversation.

    `parallel`: requests under way at once (default 8). `temperature`: 0 by default, so that decisions repeat as far as the server lets them.
    `json_format`: how a schema is asked for: "schema" (structured outputs, `response_format` of type `json_schema`), "object" (type
    `json_object`, for servers without the former) or "text" (nothing beyond the prompt). `context_window`: tokens of a request and its answer
    together, where it is known. `count`: gives the tokens of a text by the model's own tokenizer; without one, a token for each 3 bytes.
    `takes_tools`: False for servers that know no tools. `timeout_s`, `retries`, `now` and `sleep` as `Endpoint` says. Safe to share between
    threads.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str = OPENAI_BASE_URL,
        api_key: str | None = None,
        temperature: float = 0.0,
        parallel: int = 8,
        json_format: str = "schema",
        context_window: int | None = None,
        count: Callable[[str], int] | None = None,
        takes_tools: bool = True,
        timeout_s: float = 60.0,
        retries: int = 2,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if parallel < 1 or not 0 <= temperature <= 2:
            raise Invalid("parallel must be at least 1, temperature between 0 and 2")
        if json_format not in FORMATS:
            raise Invalid(f"json_format {json_format!r} is not known: use one of {', '.join(FORMATS)}")
        if context_window is not None and context_window < 1:
            raise Invalid(f"context_window: expected a number of tokens, 1 or more, not {context_window}")
        self.model = model
        self._endpoint = Endpoint("chat", model, base_url=base_url, api_key=api_key, timeout_s=timeout_s, retries=retries, now=now, sleep=sleep)
        self._temperature = temperature
        self._parallel = parallel
        self._json_format = json_format
        self._context_window = context_window
        self._count = count
        self._takes_tools = takes_tools

    def __repr__(self) -> str:
        return f"OpenAIChat({self.model!r}, base_url={self._endpoint.address!r})"

    @property
    def fingerprint(self) -> str:
        """Model, temperature and endpoint."""
        return f"openai:{self.model}:t{self._temperature:g}:{self._endpoint.address}"

    @property
    def context_window(self) -> int | None:
        return self._context_window

    @property
    def takes_tools(self) -> bool:
        return self._takes_tools

    def count_tokens(self, text: str) -> int:
        """The tokens of `text`: by `count`, else one for each 3 bytes of UTF-8 begun, which is too many for English and about right for code."""
        return self._count(text) if self._count is not None else tokens_by_bytes(text)

    def complete(
        self, conversations: Sequence[Sequence[Message]], *, schema: Mapping[str, Any] | None = None, max_tokens: int | None = None
    ) -> list[str]:
        """The model's next turn in each conversation, in their order.

        Raises `ModelUnavailable`, with the status and the beginning of the answer, where the server refuses, fails or answers wrongly for
        any of them, or a turn was cut off at `max_tokens` or withheld; `Invalid` for a conversation without a turn.
        """
        return [self._text(reply) for reply in self._replies(conversations, schema, max_tokens, (), "auto", self._turn)]

    def respond(
        self,
        conversations: Sequence[Sequence[Message]],
        *,
        schema: Mapping[str, Any] | None = None,
        max_tokens: int | None = None,
        tools: Sequence[Tool] = (),
        tool_choice: str = "auto",
    ) -> list[Reply]:
        """The model's next turn in each conversation, in their order; a conversation for which the server failed has a reply that says so.
        Raises `Invalid` for a conversation without a turn, a choice that names no tool, and tools where the server takes none."""
        if tools and not self._takes_tools:
            raise Invalid(f"{self!r} takes no tools: wrap it with mnemos.text.tools_in_text.with_tools")
        if tool_choice not in _CHOICES and tool_choice not in [tool["name"] for tool in tools]:
            raise Invalid(f"tool_choice: {tool_choice!r} is none of {', '.join(_CHOICES)}, and no tool has that name")
        return self._replies(conversations, schema, max_tokens, tools, tool_choice, self._told_turn)

    def at_temperature(self, temperature: float) -> OpenAIChat:
        """This model at another temperature, over the same connections: for who asks a second time, and wants another answer."""
        if not 0 <= temperature <= 2:
            raise Invalid("temperature must lie between 0 and 2")
        other = copy.copy(self)
        other._temperature = temperature
        return other

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        self._endpoint.close()

    def _replies(
        self,
        conversations: Sequence[Sequence[Message]],
        schema: Mapping[str, Any] | None,
        max_tokens: int | None,
        tools: Sequence[Tool],
        tool_choice: str,
        turn: Callable[[dict[str, Any]], Reply],
    ) -> list[Reply]:
        if not all(conversations):
            raise Invalid("conversations: one of them has no turn; each needs at least one message")
        bodies = [self._body(turns, schema, max_tokens, tools, tool_choice) for turns in conversations]
        if len(bodies) < 2:
            return [turn(body) for body in bodies]
        with ThreadPoolExecutor(min(self._parallel, len(bodies)), thread_name_prefix="mnemos-chat") as pool:
            return list(pool.map(turn, bodies))

    def _body(
        self, turns: Sequence[Message], schema: Mapping[str, Any] | None, max_tokens: int | None, tools: Sequence[Tool], tool_choice: str
    ) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self.model, "messages": [_sent(turn) for turn in turns], "temperature": self._temperature}
        if max_tokens is not None:
            body["max_tokens"] = max_tokens
        if schema is not None and self._json_format == "schema":
            body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": dict(schema)}}
        elif schema is not None and self._json_format == "object":
            body["response_format"] = {"type": "json_object"}
        if tools:
            body["tools"] = [{"type": "function", "function": dict(tool)} for tool in tools]
            body["tool_choice"] = tool_choice if tool_choice in _CHOICES else {"type": "function", "function": {"name": tool_choice}}
        return body

    def _turn(self, body: dict[str, Any]) -> Reply:
        """The reply to one request. Raises `ModelUnavailable` where there is none."""
        answer = self._endpoint.post("/chat/completions", body)
        try:
            (choice,) = answer["choices"]
            message = choice["message"]
            text, ended, refusal = message["content"], choice.get("finish_reason"), message.get("refusal")
            calls = tuple(_called(call) for call in message.get("tool_calls") or ())
            finish: Finish = "refusal" if refusal else _FINISHES.get(ended, "length")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._endpoint.misshapen("a chat completion", answer) from error
        if isinstance(refusal, str) and refusal and text is None:
            text = refusal
        if text is None and (calls or finish != "stop"):
            text = ""
        if not isinstance(text, str):
            raise self._endpoint.misshapen("a chat completion", answer)
        tokens_in, tokens_out = _usage(answer.get("usage"))
        if calls and finish == "stop":
            finish = "tools"  # some servers say so only by the calls
        return Reply(text, calls, finish, tokens_in, tokens_out)

    def _told_turn(self, body: dict[str, Any]) -> Reply:
        """As `_turn`, with a failure as a reply."""
        try:
            return self._turn(body)
        except ModelUnavailable as error:
            return Reply("", finish="failed", problem=error)

    def _text(self, reply: Reply) -> str:
        """The text of a turn that ended as it should. Raises `ModelUnavailable` for any other."""
        if reply.finish == "refusal":
            raise self._endpoint.error("it refused to answer, or its answer ended early, withheld by a filter", "refusal")
        if reply.finish == "length":
            raise self._endpoint.error("its answer ended early; allow more tokens, or ask for less", "truncated")
        return reply.text


def _sent(turn: Message) -> dict[str, Any]:
    """A turn as the protocol has it."""
    out: dict[str, Any] = {"role": turn["role"], "content": sendable(turn["content"])}
    if turn.get("tool_calls"):
        out["tool_calls"] = [
            {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": sendable(call["arguments"])}}
            for call in turn["tool_calls"]
        ]
    if "tool_call_id" in turn:
        out["tool_call_id"] = turn["tool_call_id"]
    return out


def _called(call: Mapping[str, Any]) -> ToolCall:
    function = call["function"]
    if not all(isinstance(part, str) for part in (call["id"], function["name"], function["arguments"])):
        raise TypeError("a tool call has an id, a name and arguments, all of them strings")
    return {"id": call["id"], "name": function["name"], "arguments": function["arguments"]}


def _usage(usage: object) -> tuple[int | None, int | None]:
    """Tokens in and out, where the server says them as whole numbers."""
    if not isinstance(usage, Mapping):
        return None, None
    counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    tokens_in, tokens_out = (count if isinstance(count, int) and not isinstance(count, bool) and count >= 0 else None for count in counts)
    return tokens_in, tokens_out
