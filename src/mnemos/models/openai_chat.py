"""Chat completions from any server that speaks the OpenAI `/chat/completions` protocol."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mnemos.base.errors import Invalid
from mnemos.base.protocols import Message
from mnemos.models.openai_endpoint import OPENAI_BASE_URL, Endpoint, sendable

FORMATS = ("schema", "object", "text")


class OpenAIChat:
    """Chat model behind an OpenAI-compatible endpoint: `POST {base_url}/chat/completions`, one request for each conversation.

    `parallel`: requests under way at once (default 8). `temperature`: 0 by default, so that decisions repeat as far as the server lets them.
    `json_format`: how a schema is asked for: "schema" (structured outputs, `response_format` of type `json_schema`), "object" (type
    `json_object`, for servers without the former) or "text" (nothing beyond the prompt). `timeout_s`, `retries`, `now` and `sleep` as
    `Endpoint` says. Safe to share between threads.
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
        timeout_s: float = 60.0,
        retries: int = 2,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if parallel < 1 or not 0 <= temperature <= 2:
            raise Invalid("parallel must be at least 1, temperature between 0 and 2")
        if json_format not in FORMATS:
            raise Invalid(f"json_format {json_format!r} is not known: use one of {', '.join(FORMATS)}")
        self.model = model
        self._endpoint = Endpoint("chat", model, base_url=base_url, api_key=api_key, timeout_s=timeout_s, retries=retries, now=now, sleep=sleep)
        self._temperature = temperature
        self._parallel = parallel
        self._json_format = json_format

    def __repr__(self) -> str:
        return f"OpenAIChat({self.model!r}, base_url={self._endpoint.address!r})"

    @property
    def fingerprint(self) -> str:
        """Model, temperature and endpoint."""
        return f"openai:{self.model}:t{self._temperature:g}:{self._endpoint.address}"

    def complete(
        self, conversations: Sequence[Sequence[Message]], *, schema: Mapping[str, Any] | None = None, max_tokens: int | None = None
    ) -> list[str]:
        """The model's next turn in each conversation, in their order.

        Raises `ModelUnavailable`, with the status and the beginning of the answer, where the server refuses, fails or answers wrongly for
        any of them, or a turn was cut off at `max_tokens` or withheld; `Invalid` for a conversation without a turn.
        """
        if not all(conversations):
            raise Invalid("conversations: one of them has no turn; each needs at least one message")
        bodies = [self._body(turns, schema, max_tokens) for turns in conversations]
        if len(bodies) < 2:
            return [self._turn(body) for body in bodies]
        with ThreadPoolExecutor(min(self._parallel, len(bodies)), thread_name_prefix="mnemos-chat") as pool:
            return list(pool.map(self._turn, bodies))

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        self._endpoint.close()

    def _body(self, turns: Sequence[Message], schema: Mapping[str, Any] | None, max_tokens: int | None) -> dict[str, Any]:
        messages = [{"role": turn["role"], "content": sendable(turn["content"])} for turn in turns]
        body: dict[str, Any] = {"model": self.model, "messages": messages, "temperature": self._temperature}
        if max_tokens is not None:
            body["max_tokens"] = max_tokens
        if schema is not None and self._json_format == "schema":
            body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": dict(schema)}}
        elif schema is not None and self._json_format == "object":
            body["response_format"] = {"type": "json_object"}
        return body

    def _turn(self, body: dict[str, Any]) -> str:
        answer = self._endpoint.post("/chat/completions", body)
        try:
            (choice,) = answer["choices"]
            text, finish, refusal = choice["message"]["content"], choice.get("finish_reason"), choice["message"].get("refusal")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._endpoint.misshapen("a chat completion", answer) from error
        if refusal:
            raise self._endpoint.error("it refused to answer")
        if not isinstance(text, str):
            raise self._endpoint.misshapen("a chat completion", answer)
        if finish not in (None, "stop"):
            raise self._endpoint.error(f"its answer ended early ({str(finish)[:40]}); allow more tokens, or ask for less")
        return text
