"""A local HTTP server that speaks the OpenAI `/chat/completions` protocol, answers by a function, and follows a script of faults."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from scripted_server import Answer, ScriptedServer, Step, ok

Reply = Callable[[list[dict[str, str]]], str]
"""What the served model says to a conversation."""


class ChatServer(ScriptedServer):
    """Answers by `reply` once the script is used up."""

    def __init__(self, *script: Step, reply: Reply = lambda messages: messages[-1]["content"].upper()) -> None:
        super().__init__("/v1/chat/completions", lambda body: completion(reply(body["messages"])), *script)


def completion(text: object, finish: str = "stop", **message: object) -> Answer:
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return ok({"id": "c", "object": "chat.completion", "created": 1, "model": "test", "choices": [choice], "usage": usage})


def says(text: object, finish: str = "stop", **message: object) -> Step:
    return lambda body: completion(text, finish, **message)


def says_json(value: Any) -> Step:
    return says(json.dumps(value))
