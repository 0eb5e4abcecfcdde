"""A chat model as a worker: tools where it knows them, in words where it does not, and tokens counted as they are sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mnemos.base.errors import ModelUnavailable
from mnemos.base.protocols import ChatModel, Message, Reply, ReplyModel, Tool
from mnemos.text.program.counting import RequestCounter
from mnemos.text.program.request import Request
from mnemos.text.tools_in_text import ToolsInText, with_tools


class ChatWorker:
    """Asks a chat model what the control unit asks. `counter` counts as the model does; give it to the run.

    The temperature that the control unit wants is handed on to models that take one (`at_temperature(temperature)` gives the model at it);
    others answer as they do. Raises `ModelUnavailable` where the model does not answer: the run keeps what it has, and can go on later.
    """

    def __init__(self, chat: ChatModel) -> None:
        self._chat = chat
        self._tools: ReplyModel = with_tools(chat)
        rendered = _in_words if isinstance(self._tools, ToolsInText) else None
        self.counter = RequestCounter(self._tools.count_tokens, rendered)

    def __call__(self, request: Request) -> Reply:
        (reply,) = self._at(request.temperature).respond(
            [request.messages], tools=request.tools, tool_choice=request.choice, max_tokens=request.max_tokens
        )
        if reply.finish == "failed":
            raise reply.problem or ModelUnavailable("the model gave no answer, and did not say why")
        return reply

    def _at(self, temperature: float) -> ReplyModel:
        at = getattr(self._chat, "at_temperature", None)
        return with_tools(at(temperature)) if temperature and callable(at) else self._tools


class _Listener:
    """A chat model that says nothing, and keeps what it was told."""

    fingerprint = "listener"

    def __init__(self) -> None:
        self.heard: Sequence[Message] = ()

    def complete(
        self, conversations: Sequence[Sequence[Message]], *, schema: Mapping[str, Any] | None = None, max_tokens: int | None = None
    ) -> list[str]:
        self.heard = conversations[0]
        return [""]


def _in_words(messages: Sequence[Message], tools: Sequence[Tool]) -> Sequence[Message]:
    """The messages as a model without tools is told them."""
    listener = _Listener()
    ToolsInText(listener).respond([messages], tools=tools)
    return listener.heard
