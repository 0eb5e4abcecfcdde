"""The shape of the benchmark's data, read and written as the public set has it (Salesforce/ConvoMem): one JSON object a line.

A conversation that many cases share is one object in memory; a file holds it in each case.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import orjson

from mnemos.base.errors import Invalid, NotFound
from mnemos.text.tokens import count_tokens

CATEGORIES = ("user_facts", "assistant_facts", "changing_facts", "abstention", "preferences", "implicit_connections", "temporal")
"""The six of the paper, and the temporal one that its code generates as well."""
SIZES = (1, 2, 3, 4, 5, 6, 10, 20, 30, 50, 70, 100, 150, 200, 300)
"""Conversations in a history, section 4."""


@dataclass(frozen=True, slots=True)
class Message:
    """What somebody says: `speaker` is "user" or "assistant" (in other sets a name)."""

    speaker: str
    text: str


@dataclass(frozen=True, eq=False)
class Conversation:
    """One conversation; compared by identity, since thousands of cases share the same ones."""

    messages: tuple[Message, ...]
    id: str | None = None
    contains_evidence: bool | None = None
    model_name: str | None = None

    @cached_property
    def tokens(self) -> int:
        """Tokens of all messages, each with its speaker (`mnemos.text.tokens`)."""
        return sum(count_tokens(message.text) + 2 for message in self.messages)


@dataclass(frozen=True, eq=False)
class EvidenceItem:
    """A question with its answer or rubric, and the conversations that hold the messages it rests on: each verbatim, in time order."""

    question: str
    answer: str
    message_evidences: tuple[Message, ...]
    conversations: tuple[Conversation, ...]
    category: str
    scenario_description: str | None = None
    person_id: str | None = None
    use_case_model_name: str | None = None
    core_model_name: str | None = None

    @property
    def evidence_count(self) -> int:
        return len(self.message_evidences)


@dataclass(frozen=True, eq=False)
class TestCase:
    """One history of `context_size` conversations, and the items that are asked of it: one, or many in batched mode."""

    __test__: ClassVar[bool] = False

    evidence_items: tuple[EvidenceItem, ...]
    conversations: tuple[Conversation, ...]
    context_size: int
    labels: Mapping[str, Any] = field(default_factory=dict)
    """What sets that are no ConvoMem say beside (categories of LoCoMo, types of LongMemEval); not written to files."""

    @cached_property
    def tokens(self) -> int:
        return sum(conversation.tokens for conversation in self.conversations)


def write_items(path: Path, items: Iterable[EvidenceItem]) -> int:
    """Write evidence items, one a line; how many."""
    return _write(path, map(item_json, items))


def read_items(path: Path) -> Iterator[EvidenceItem]:
    """The items of a file: one a line, or one JSON object with `evidence_items` as the public set has them. Raises `NotFound`, `Invalid`."""
    for where, value in _objects(path, ("evidence_items", "evidenceItems")):
        yield item_of(value, where)


def write_cases(path: Path, cases: Iterable[TestCase]) -> int:
    """Write test cases, one a line; how many."""
    return _write(path, map(case_json, cases))


def read_cases(path: Path) -> Iterator[TestCase]:
    """The test cases of a file, one a line, or one JSON array. Raises `NotFound`, `Invalid`."""
    for where, value in _objects(path, ("test_cases", "testCases")):
        items = [item_of(item, f"{where}, item {i}") for i, item in enumerate(_list(value, "evidenceItems", where))]
        conversations = [_conversation(one, f"{where}, conversation {i}") for i, one in enumerate(_list(value, "conversations", where))]
        size = value.get("contextSize", len(conversations))
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise Invalid(f"{where}: contextSize must be a whole number, 1 or more")
        yield TestCase(tuple(items), tuple(conversations), size)


def case_json(case: TestCase) -> dict[str, Any]:
    """A case as the schema's names have it."""
    return {
        "evidenceItems": [item_json(item) for item in case.evidence_items],
        "conversations": [conversation_json(conversation) for conversation in case.conversations],
        "contextSize": case.context_size,
    }


def item_json(item: EvidenceItem) -> dict[str, Any]:
    more = {
        "scenario_description": item.scenario_description,
        "personId": item.person_id,
        "use_case_model_name": item.use_case_model_name,
        "core_model_name": item.core_model_name,
    }
    return {
        "question": item.question,
        "answer": item.answer,
        "message_evidences": [_message_json(message) for message in item.message_evidences],
        "conversations": [conversation_json(conversation) for conversation in item.conversations],
        "category": item.category,
        **{key: value for key, value in more.items() if value is not None},
    }


def conversation_json(conversation: Conversation) -> dict[str, Any]:
    more = {"id": conversation.id, "containsEvidence": conversation.contains_evidence, "model_name": conversation.model_name}
    messages = [_message_json(message) for message in conversation.messages]
    return {"messages": messages, **{key: value for key, value in more.items() if value is not None}}


def item_of(value: Any, where: str) -> EvidenceItem:
    """An item from its JSON value. Raises `Invalid`, naming what is missing and where."""
    evidences = tuple(_message(one, f"{where}, evidence {i}") for i, one in enumerate(_list(value, "message_evidences", where)))
    conversations = tuple(_conversation(one, f"{where}, conversation {i}") for i, one in enumerate(_list(value, "conversations", where)))
    return EvidenceItem(
        _text(value, "question", where),
        _text(value, "answer", where),
        evidences,
        conversations,
        _text(value, "category", where) if "category" in value else "",
        *(_maybe(value, key, where) for key in ("scenario_description", "personId", "use_case_model_name", "core_model_name")),
    )


def _message_json(message: Message) -> dict[str, str]:
    return {"speaker": message.speaker, "text": message.text}


def _message(value: Any, where: str) -> Message:
    return Message(_text(value, "speaker", where).lower(), _text(value, "text", where))


def _conversation(value: Any, where: str) -> Conversation:
    messages = tuple(_message(one, f"{where}, message {i}") for i, one in enumerate(_list(value, "messages", where)))
    flag = value.get("containsEvidence")
    if flag is not None and not isinstance(flag, bool):
        raise Invalid(f"{where}: containsEvidence must be true or false")
    return Conversation(messages, _maybe(value, "id", where), flag, _maybe(value, "model_name", where))


def _text(value: Any, key: str, where: str) -> str:
    found = value.get(key) if isinstance(value, Mapping) else None
    if not isinstance(found, str):
        raise Invalid(f"{where}: expected an object with a text {key!r}")
    return found


def _maybe(value: Mapping[str, Any], key: str, where: str) -> str | None:
    return None if value.get(key) is None else _text(value, key, where)


def _list(value: Any, key: str, where: str) -> list[Any]:
    found = value.get(key) if isinstance(value, Mapping) else None
    if not isinstance(found, list):
        raise Invalid(f"{where}: expected an object with a list {key!r}")
    return found


def _write(path: Path, objects: Iterable[Mapping[str, Any]]) -> int:
    count = 0
    with path.open("wb") as file:
        for value in objects:
            file.write(orjson.dumps(value) + b"\n")
            count += 1
    return count


def _objects(path: Path, wrappers: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Each object of a file with the words that name its place: of JSON lines, of an array, or of an object that holds the array."""
    if not path.is_file():
        raise NotFound(f"ConvoMem: no file {path}")
    data = path.read_bytes()
    try:
        whole = orjson.loads(data)
    except orjson.JSONDecodeError:
        yield from _lines(path, data)
        return
    wrapped = next((whole[key] for key in wrappers if key in whole), None) if isinstance(whole, dict) else whole
    values = wrapped if isinstance(wrapped, list) else [whole]
    for number, value in enumerate(values, 1):
        yield f"{path.name}, object {number}", value


def _lines(path: Path, data: bytes) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            try:
                yield f"{path.name}, line {number}", orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise Invalid(f"{path.name}, line {number}: no JSON ({error})") from error
