"""The reward of a step: what the memory answers in the end, whether its calls were right, how small the memory is, and whether things are where they
belong.

Source: Mem-α, arXiv 2509.25911, section 3.3: r_t = r1 + r2,t + β·r3 + γ·r4,t. One thing is ours: an explicit no-op has the full r2. In the paper a
step without calls has none, so that the policy is pushed to write on every chunk. A step that makes no call at all still has none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mnemos.text.constructor.candidates import Sort, happened, is_dated, sort_of
from mnemos.text.constructor.gist import Read, read_gist, without_author
from mnemos.text.constructor.memory import Outcome, Status
from mnemos.text.constructor.operations import CORE, EPISODIC, INSERT, NO_OPERATION, SEMANTIC, UPDATE, Operation

Judge = Callable[[Operation, int | None], bool]
"""Whether a call puts something where it belongs, by its content and the time of its chunk. Frozen: it is no part of what is learnt."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What the terms count; the first, what is answered, always counts 1."""

    calls: float = 1.0
    """Of r2; the paper's 1."""
    size: float = 0.05
    """β, of r3; the paper's best."""
    types: float = 0.1
    """γ, of r4; the paper's."""


DEFAULTS = Weights()


@dataclass(frozen=True, slots=True)
class Terms:
    """The four terms of a step."""

    answers: float
    """r1, 0..1: mean score of the questions; the same for all steps, unless credit is given entry by entry."""
    calls: float
    """r2, 0..1."""
    size: float
    """r3: 1 and less; below nought where the memory is longer than what it was made of."""
    types: float
    """r4, 0..1."""

    def total(self, weights: Weights = DEFAULTS) -> float:
        return self.answers + weights.calls * self.calls + weights.size * self.size + weights.types * self.types


def answered(scores: Sequence[float]) -> float:
    """r1: the mean of the questions' scores; 0 where nothing is asked."""
    return sum(scores) / len(scores) if scores else 0.0


def called(operations: Sequence[Operation], outcomes: Sequence[Outcome]) -> float:
    """r2: the share of calls that were done; what is skipped was not. An explicit no-op, alone, is 1; no call is 0."""
    if not operations:
        return 0.0
    return sum(outcome.status is Status.OK for outcome in outcomes) / len(operations)


def compressed(memory_tokens: int, chunk_tokens: int) -> float:
    """r3: 1 − tokens of the memory ÷ tokens of all chunks; 0 where the chunks have none."""
    return 1.0 - memory_tokens / chunk_tokens if chunk_tokens > 0 else 0.0


def typed(operations: Sequence[Operation], at: int | None, judge: Judge) -> float:
    """r4: the share of the calls that store something (insert, update) that belongs there; 0 where none does. An explicit no-op puts nothing where it
    does not belong: were it worth nothing here, a policy would still be pushed to write on every chunk."""
    judged = [call.tool == NO_OPERATION or judge(call, at) for call in operations if call.tool in (INSERT, UPDATE, NO_OPERATION)]
    return sum(judged) / len(judged) if judged else 0.0


_PLACEHOLDER = re.compile(
    r"\W*(?:none|n/?a|empty|todo|tbd|unknown|nothing|placeholder|no (?:information|content|data)(?: yet| available)?|\.*)\W*", re.I
)


def rule_judge(read: Read = read_gist) -> Judge:
    """The judge without a language model: the core is no placeholder, a fact is knowledge, an event has a time and something that happened.
    It remembers what it judged as long as it is."""

    known: dict[tuple[str, str, bool], bool] = {}

    def judge(call: Operation, at: int | None) -> bool:
        key = (call.memory_type, call.content, call.at is not None or at is not None)
        if key not in known:
            known[key] = _belongs(*key, read)
        return known[key]

    return judge


def _belongs(kind: str, content: str, timed: bool, read: Read) -> bool:
    text = without_author(content.strip())
    if kind == CORE:
        return _PLACEHOLDER.fullmatch(text) is None
    gist = read(content)
    dated = is_dated(text)
    sort = sort_of(text, gist, dated)
    if kind == SEMANTIC:
        return sort in (Sort.FACT, Sort.RULE) and len(gist.words) > 1
    return kind == EPISODIC and timed and sort in (Sort.EVENT, Sort.FACT) and not gist.key and (dated or happened(text))
