"""What a prompt is made of: words, tokens or messages, and in them memories, hits and contexts of a space, which say where they are from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import UUID

from mnemos.base.cube import MemCube
from mnemos.base.errors import Invalid
from mnemos.base.ids import parse_id
from mnemos.base.protocols import LanguageModel, Message
from mnemos.kernel.reading.results import Context, Hit

Remembered: TypeAlias = MemCube | Hit | Context
"""What stands for its text in a prompt, and is known by its ids."""
Prompt: TypeAlias = "str | Remembered | Sequence[int] | Sequence[str | Remembered] | Sequence[Message]"
"""A text, tokens, messages, or pieces, which are joined as they are; `content` of a message may be pieces, too."""
Sources: TypeAlias = "Iterable[str | UUID | Remembered] | Remembered"

_REMEMBERED = (MemCube, Hit, Context)


@dataclass(frozen=True, slots=True)
class Asked:
    """The tokens of a prompt, and each memory that it says it holds, with its text as it stands there."""

    tokens: list[int]
    shown: tuple[tuple[UUID, str], ...]


def asked(model: LanguageModel, prompt: Prompt) -> Asked:
    """Raises `Invalid`."""
    if isinstance(prompt, (str, *_REMEMBERED)):
        prompt = [prompt]
    given = list(prompt) if isinstance(prompt, Iterable) and not isinstance(prompt, (bytes, Mapping)) else []
    shown: list[tuple[UUID, str]] = []
    if given and all(isinstance(each, (str, *_REMEMBERED)) for each in given):
        return Asked(model.encode(_joined(given, shown)), tuple(shown))
    if given and all(isinstance(each, Mapping) for each in given):
        encode = getattr(model, "encode_chat", None)
        if encode is None:
            raise Invalid("this language model has no template for messages: give the prompt as a text, or as tokens")
        return Asked(encode([_message(each, shown) for each in given]), tuple(shown))
    if not given or not all(isinstance(each, int) for each in given):
        raise Invalid("a prompt is a text, a list of pieces (texts, memories, hits, contexts), of messages, or of tokens, and has at least one")
    return Asked([token for token in given if isinstance(token, int)], ())


def ids_of(sources: Sources) -> list[UUID]:
    """The memories that are meant, each once."""
    given = [sources] if isinstance(sources, (str, UUID, *_REMEMBERED)) else list(sources)
    out: list[UUID] = []
    for each in given:
        out += [id for id, _ in _told(each)] if isinstance(each, _REMEMBERED) else [parse_id(each)]
    return list(dict.fromkeys(out))


def check_together(model: LanguageModel, count: int, mode: str | None) -> None:
    """Raises `Invalid` for texts whose `count` tokens together are more than the model reads, or than those whose keys it turns alike."""
    window, switch = getattr(model, "context_window", None), getattr(model, "switch", None)
    if window is not None and count > window:
        raise Invalid(f"these texts have {count} tokens together, {count - window} more than the {window} that the model was made for: take fewer")
    if switch is not None and count > switch and mode != "rebuilt":
        raise Invalid(f"these texts have {count} tokens together, and beyond {switch} this model turns keys differently: take them as \"rebuilt\"")


def _message(message: Any, shown: list[tuple[UUID, str]]) -> Any:
    content = message.get("content")
    pieces = list(content) if isinstance(content, (list, tuple)) else [content]
    if isinstance(content, str) or not pieces or not all(isinstance(each, (str, *_REMEMBERED)) for each in pieces):
        return message
    return {**message, "content": _joined(pieces, shown)}


def _joined(pieces: Iterable[Any], shown: list[tuple[UUID, str]]) -> str:
    texts = []
    for piece in pieces:
        if isinstance(piece, _REMEMBERED):
            shown += _told(piece)
        texts.append(piece if isinstance(piece, str) else _text(piece))
    return "".join(texts)


def _text(piece: Remembered) -> str:
    if isinstance(piece, MemCube):
        return piece.text
    return piece.cube.text if isinstance(piece, Hit) else str(piece)


def _told(piece: Remembered) -> list[tuple[UUID, str]]:
    """Each memory of it, with its words."""
    if isinstance(piece, Context):
        lines = piece.lines or [hit.cube.text for hit in piece.hits]
        return [(parse_id(hit.cube.id), line) for hit, line in zip(piece.hits, lines, strict=True)]
    cube = piece.cube if isinstance(piece, Hit) else piece
    return [(parse_id(cube.id), cube.text)]
