"""Asking a language model for a value of a known form. What it says never raises: it is read kindly, checked, asked for once more, or refused.

A caller gets a dict that fits the schema, or a `Refused` that says why not; then it goes its way without a model, and its `Report` tells so.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson

from mnemos.base.errors import Invalid, ModelUnavailable
from mnemos.base.protocols import ChatModel, Message, Reply, ReplyModel, Tool
from mnemos.text.json_answers import find_values
from mnemos.text.json_schema import bare, check_schema, fault, fitted
from mnemos.text.prompts import Prompt

GIVE_UP_AFTER = 3
"""Requests in a row that found no model; from then on a report's further questions are refused without asking."""
TOKENS_OF_TURN = 8
"""Tokens that a turn takes beside its text, in the templates of chat models; rather too many."""
_EXCERPT = 300
_REFUSAL = re.compile(
    r"^\W*(?:i['’]?m (?:really |very )?sorry|sorry|i apologi[sz]e|unfortunately,? i|as an ai\b"
    r"|i (?:can(?:no|['’])t|won['’]t|will not|am (?:not able|unable)|must decline))",
    re.I,
)

Answer = dict[str, Any]
Check = Callable[[Answer], str | None]
"""Says what is wrong with an answer that fits the schema, in words that a model can act on; None where nothing is."""


class Reason(StrEnum):
    """Why there is no answer."""

    MALFORMED = "malformed"
    """What it said could not be read, or had not the form that was asked for, twice."""
    REFUSAL = "refusal"
    TIMEOUT = "timeout"
    RATE_LIMIT = "rate limit"
    TRUNCATED = "truncated"
    """It was cut off, twice, the second time with twice as many tokens."""
    TOO_LONG = "too long"
    """The request does not fit into the model's context window; it was not sent."""
    UNAVAILABLE = "unavailable"
    """Not reachable, not installed, or failing; or not asked any more, because the last requests found it so."""


_REASONS = {reason.value: reason for reason in Reason}
_AWAY = frozenset([Reason.UNAVAILABLE, Reason.TIMEOUT, Reason.RATE_LIMIT])
"""Reasons that lie with the model's server, not with what was asked."""


@dataclass(frozen=True, slots=True)
class Refused:
    """No answer, and why."""

    reason: Reason
    detail: str
    """What was wrong, for people."""
    said: str = ""
    """The beginning of what the model said last."""

    def __bool__(self) -> bool:
        return False


@dataclass
class Report:
    """What came of asking: counted over calls, threads and prompts. One for each job, so that a model that is away is given up once for it."""

    asked: int = 0
    """Values that were asked for."""
    answered: int = 0
    requests: int = 0
    """Conversations that were sent: the repairs too."""
    repairs: int = 0
    """Answers that were asked for once more."""
    mended: int = 0
    """Answers that were accepted though their JSON had faults, or more in it than was asked for."""
    unsupported: int = 0
    """Statements that the caller rejected because their sources do not say them; it counts them itself, by `reject`."""
    tokens_in: int = 0
    """Of those requests of which the model told them."""
    tokens_out: int = 0
    unmeasured: int = 0
    """Requests of which it did not."""
    refused: Counter[Reason] = field(default_factory=Counter)
    """Values for which the caller had to do without a model."""
    lost_in_a_row: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def degraded(self) -> int:
        """How often the caller had to do without a model."""
        return sum(self.refused.values())

    @property
    def given_up(self) -> bool:
        """Whether the model is not asked any more."""
        return self.lost_in_a_row >= GIVE_UP_AFTER

    def reject(self, count: int = 1) -> None:
        """Count statements that were rejected as not supported."""
        with self._lock:
            self.unsupported += count

    def add(self, other: Report) -> None:
        """Count what `other` counted, too."""
        with self._lock:
            for name in _COUNTS:
                setattr(self, name, getattr(self, name) + getattr(other, name))
            self.refused.update(other.refused)

    def as_json(self) -> dict[str, Any]:
        """The counts, for the report of a job."""
        return {**{name: getattr(self, name) for name in _COUNTS}, "refused": {reason.value: count for reason, count in sorted(self.refused.items())}}

    def sent(self, reply: Reply) -> None:
        """Count a request and what came of it."""
        with self._lock:
            self.requests += 1
            self.tokens_in += reply.tokens_in or 0
            self.tokens_out += reply.tokens_out or 0
            self.unmeasured += reply.tokens_in is None
            away = reply.problem is not None and _reason(reply.problem) in _AWAY
            self.lost_in_a_row = self.lost_in_a_row + 1 if away else 0

    def ended(self, outcome: Answer | Refused, *, mended: bool = False, repaired: bool = False) -> None:
        """Count a value that was asked for."""
        with self._lock:
            self.asked += 1
            self.repairs += repaired
            if isinstance(outcome, Refused):
                self.refused[outcome.reason] += 1
            else:
                self.answered += 1
                self.mended += mended


_COUNTS = ("asked", "answered", "requests", "repairs", "mended", "unsupported", "tokens_in", "tokens_out", "unmeasured")


def ask(
    chat: ChatModel,
    prompt: Prompt,
    values: Mapping[str, Any],
    schema: Mapping[str, Any] | None = None,
    *,
    check: Check | None = None,
    max_tokens: int | None = None,
    report: Report | None = None,
) -> Answer | Refused:
    """What `chat` answers `prompt` with, put to `values`, in the form of `schema` (the prompt's own where none is given).

    An answer that cannot be read, does not fit, or that `check` finds fault with is asked for once more, with the fault; one that was cut off,
    with twice the tokens (`max_tokens`, by default the prompt's). Raises `Invalid` for values or a schema that are wrong themselves.
    """
    (outcome,) = ask_all(chat, prompt, [values], schema, check=check, max_tokens=max_tokens, report=report)
    return outcome


def ask_all(
    chat: ChatModel,
    prompt: Prompt,
    values: Sequence[Mapping[str, Any]],
    schema: Mapping[str, Any] | None = None,
    *,
    check: Check | Sequence[Check] | None = None,
    max_tokens: int | None = None,
    report: Report | None = None,
) -> list[Answer | Refused]:
    """As `ask`, for several values in one batched call, and one more for those that need it. `check`: one for all, or one for each."""
    schema = prompt.schema if schema is None else schema
    if schema.get("type") != "object":
        raise Invalid(f"prompt {prompt.name}: an answer is an object; give a schema of type 'object'")
    check_schema(schema, f"prompt {prompt.name}")
    checks = [check] * len(values) if check is None or callable(check) else list(check)
    if len(checks) != len(values):
        raise Invalid(f"ask_all: there are {len(checks)} checks for {len(values)} values; give one for each, or one for all")
    report = report if report is not None else Report()
    limit = prompt.max_tokens if max_tokens is None else max_tokens
    conversations = [prompt.messages(one, schema) for one in values]
    outcomes: dict[int, Answer | Refused] = {}
    again: dict[int, _Fault] = {}
    for number, reply in _sent(chat, dict(enumerate(conversations)), schema, limit, report).items():
        read = _read(reply, schema, checks[number])
        if isinstance(read, _Fault) and read.worth_repair:
            again[number] = read
        else:
            outcomes[number] = _closed(read, report)
    for allowed, group in ((limit, False), (2 * limit, True)):
        repairs = {n: [*conversations[n], *one.turns()] for n, one in again.items() if one.cut is group}
        for number, reply in _sent(chat, repairs, schema, allowed, report).items():
            read = _read(reply, schema, checks[number])
            unsent = isinstance(read, _Fault) and read.reason is Reason.TOO_LONG
            outcomes[number] = _closed(again[number] if unsent else read, report, repaired=not unsent)
    return [outcomes[number] for number in range(len(values))]


def refuses(text: str) -> bool:
    """Whether an answer without a value says that there will be none: many models refuse in words, and end as if they had answered."""
    return _REFUSAL.match(text) is not None


def made_by(chat: ChatModel, prompt: Prompt) -> dict[str, str]:
    """What goes into whatever is made of an answer: the model and the prompt that it came from."""
    return {"model": chat.fingerprint, "prompt": prompt.fingerprint}


def request_tokens(messages: Sequence[Message], count: Callable[[str], int], tools: Sequence[Tool] = ()) -> int:
    """The tokens of a request, by `count`: what is said, what is called, and the tools that may be; rather too many than too few."""
    total = sum(TOKENS_OF_TURN + count(turn["content"]) for turn in messages)
    total += sum(TOKENS_OF_TURN + count(call["name"]) + count(call["arguments"]) for turn in messages for call in turn.get("tool_calls", ()))
    return total + sum(TOKENS_OF_TURN + count(orjson.dumps(dict(tool)).decode()) for tool in tools)


@dataclass(frozen=True, slots=True)
class _Read:
    """An answer that fits."""

    value: Answer
    mended: bool


@dataclass(frozen=True, slots=True)
class _Fault:
    """An answer that does not, or none."""

    reason: Reason
    detail: str
    said: str = ""
    cut: bool = False

    @property
    def worth_repair(self) -> bool:
        return self.reason in (Reason.MALFORMED, Reason.TRUNCATED)

    def turns(self) -> list[Message]:
        """What is added to the conversation to have it put right; nothing where all that was missing was room."""
        if self.cut:
            return []
        request = f"That is not the answer that was asked for: {self.detail}. Answer again: one JSON object of the form given above, nothing else."
        turns: list[Message] = [{"role": "assistant", "content": self.said or "(nothing)"}, {"role": "user", "content": request}]
        return [{"role": turn["role"], "content": turn["content"].replace("<", "\\u003c")} for turn in turns]  # it may repeat a memory's marks


def _sent(chat: ChatModel, conversations: Mapping[int, list[Message]], schema: Mapping[str, Any], limit: int, report: Report) -> dict[int, Reply]:
    """The replies to `conversations`, with those that were not sent because they would not fit, or nobody answers."""
    out: dict[int, Reply] = {}
    for number, messages in conversations.items():
        if report.given_up:
            out[number] = _failed(f"it was not asked: the last {GIVE_UP_AFTER} requests found no model", Reason.UNAVAILABLE)
        elif (excess := _excess(chat, messages, limit)) is not None:
            out[number] = _failed(excess, Reason.TOO_LONG)
    open_ = {number: messages for number, messages in conversations.items() if number not in out}
    if open_:
        replies = _replies(chat, list(open_.values()), bare(schema), limit)
        if len(replies) != len(open_):  # whose is whose, nobody can tell
            replies = [_failed(f"{len(replies)} replies came to {len(open_)} conversations", Reason.MALFORMED)] * len(open_)
        for number, reply in zip(open_, replies, strict=True):
            report.sent(reply)
            out[number] = reply
    return {number: out[number] for number in conversations}


def _excess(chat: ChatModel, messages: list[Message], limit: int) -> str | None:
    """By how much a request does not fit into the model's window; None where it does, or nobody knows."""
    try:
        if isinstance(chat, ReplyModel) and chat.context_window is not None:
            needed, window = request_tokens(messages, chat.count_tokens) + limit, chat.context_window
            return f"about {needed} tokens with the answer, the window has {window}" if needed > window else None
    except ModelUnavailable:
        pass  # the request itself will tell
    return None


def _replies(chat: ChatModel, conversations: Sequence[list[Message]], schema: Mapping[str, Any], limit: int) -> list[Reply]:
    try:
        if isinstance(chat, ReplyModel):
            return chat.respond(conversations, schema=schema, max_tokens=limit)
        return [Reply(text) for text in chat.complete(conversations, schema=schema, max_tokens=limit)]
    except ModelUnavailable as error:
        if len(conversations) == 1 or _reason(error) in _AWAY:
            return [Reply("", finish="failed", problem=error)] * len(conversations)
    return [reply for one in conversations for reply in _replies(chat, [one], schema, limit)]  # one of them spoilt the batch


def _failed(detail: str, reason: Reason) -> Reply:
    return Reply("", finish="failed", problem=ModelUnavailable(detail, reason))


def _reason(error: ModelUnavailable) -> Reason:
    return _REASONS.get(error.reason, Reason.UNAVAILABLE)


def _read(reply: Reply, schema: Mapping[str, Any], check: Check | None) -> _Read | _Fault:
    said = reply.text[: 8 * _EXCERPT]
    if reply.problem is not None:
        reason = _reason(reply.problem)
        return _Fault(reason, str(reply.problem), said, cut=reason is Reason.TRUNCATED)
    if reply.finish == "refusal":
        return _Fault(Reason.REFUSAL, "the model refused to answer", said)
    values = [one for one in find_values(reply.text) if not (one.cut and reply.finish == "length")]
    if not values:
        if reply.finish == "length":
            return _Fault(Reason.TRUNCATED, "the answer was cut off", said, cut=True)
        if refuses(reply.text):
            return _Fault(Reason.REFUSAL, "the model refused to answer", said)
        return _Fault(Reason.MALFORMED, "it holds no JSON object", said)
    fits: list[_Read] = []
    faults: list[str] = []
    for one in values:
        value = fitted(one.value, schema)
        wrong = fault(value, schema) or (check(value) if check is not None else None)
        if wrong is not None:
            faults.append(wrong)
        elif all(value != other.value for other in fits):
            fits.append(_Read(value, one.mended or value != one.value))
    if not fits:
        return _Fault(Reason.MALFORMED, faults[0], said)
    return fits[0] if len(fits) == 1 else _Fault(Reason.MALFORMED, "it holds several answers", said)


def _closed(read: _Read | _Fault, report: Report, *, repaired: bool = False) -> Answer | Refused:
    outcome = read.value if isinstance(read, _Read) else Refused(read.reason, read.detail, read.said[:_EXCERPT])
    report.ended(outcome, mended=isinstance(read, _Read) and read.mended, repaired=repaired)
    return outcome
