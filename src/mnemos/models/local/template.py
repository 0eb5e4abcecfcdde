"""Conversations as tokens, by the chat template that a tokenizer brings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mnemos.base.errors import Invalid
from mnemos.base.protocols import Message
from mnemos.base.utf8 import sendable


def has_template(tokenizer: Any) -> bool:
    """Whether the tokenizer can write conversations."""
    return bool(getattr(tokenizer, "chat_template", None))


def conversation_tokens(tokenizer: Any, messages: Sequence[Message], *, answer: bool = True) -> list[int]:
    """The tokens of a conversation, with `answer` up to where the model's begins.

    What is said in it gives no control token of the template: each gets a blank within. Raises `Invalid` where there is no template, or it does
    not take the conversation.
    """
    if not has_template(tokenizer):
        raise Invalid("the tokenizer has no chat template, so this is no chat model: set `tokenizer.chat_template`, or give the prompt as plain text")
    if not messages:
        raise Invalid("a conversation needs at least one message")
    marks = _marks(tokenizer)
    said = [{"role": turn["role"], "content": _without_marks(sendable(turn["content"]), marks)} for turn in messages]
    try:
        text = tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=answer)
    except Exception as error:  # templates raise what they like of roles that they do not know
        raise Invalid(f"the chat template does not take this conversation ({error})") from error
    tokens: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return tokens


def _marks(tokenizer: Any) -> list[str]:
    """The control tokens that a tokenizer reads in a text, longest first."""
    return sorted({str(token) for token in (*tokenizer.get_added_vocab(), *tokenizer.all_special_tokens)}, key=len, reverse=True)


def _without_marks(text: str, marks: Sequence[str]) -> str:
    """`text` with a blank within each control token, which then is read as the characters that it is written with."""
    for mark in marks:
        if len(mark) > 1:
            while mark in text:
                text = text.replace(mark, f"{mark[0]} {mark[1:]}")
    return text
