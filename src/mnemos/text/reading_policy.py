"""How much of a history to read for a question: everything, blocks of it, or what a search finds, and how many of the finds.

After ConvoMem (Convomem Benchmark: Why Your First 150 Conversations Don't Need RAG, 2025, arXiv 2511.10523, sections 4 and 5): small
histories are best read whole; beyond, a fixed number of hits starves questions with several pieces of evidence and floods the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Invalid, shown
from mnemos.text.advice import asks_advice
from mnemos.text.question import Question
from mnemos.text.reading_costs import ReadingAccuracy, ReadingCosts

Kind = Literal["exhaustive", "blocks", "retrieve", "hybrid"]

MASS = 0.95
"""Share of the relevance after which the cut falls."""
GAP = 3.0
"""Times the median gap between neighbouring scores that a gap must exceed to be taken for the end of the evidence."""
ENOUGH = 0.5
"""Share of the relevance that must be kept before a gap may end it."""
DROP = 1.0
"""Fall of the log odds from the best hit at which a cut by odds ends: what follows is less than 0.37 times as likely. Twice that for several."""


def _whole(value: object, least: int, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise Invalid(f"{name}: expected a whole number, {least} or more, not {shown(value)}")
    return int(value)


def adaptive_cut(
    scores: NDArray[np.floating],
    minimum: int = 3,
    maximum: int = 40,
    multi_evidence: bool = False,
    gap: float | None = GAP,
    drop: float | None = None,
    enough: float = ENOUGH,
) -> int:
    """How many of the hits with these `scores` (log odds, best first) to keep.

    Keeps until the kept hold 95 % of the relevance, the softmax of the scores, or a share `enough` of it before a gap of more than `gap`
    median gaps (scores fall ever more slowly, so early gaps are always wide: without the half, nearly every cut would be the minimum; None
    looks at no gap); with `drop`, also no hit whose score lies further than that below the best. At least `minimum`, twice that with
    `multi_evidence`, which doubles `drop` as well; at most `maximum`, and never more than there are. Raises `Invalid` where the scores do
    not fall or the bounds contradict each other.
    """
    _whole(maximum, _whole(minimum, 0, "adaptive cut: minimum"), "adaptive cut: maximum")
    if not (drop is None or drop >= 0) or not (gap is None or gap >= 0) or not 0 <= enough <= 1:
        raise Invalid(f"adaptive cut: need drop >= 0, gap >= 0 and enough within 0 and 1, not {drop}, {gap} and {enough}")
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or np.isnan(values).any() or (values == np.inf).any():
        raise Invalid("adaptive cut: expected scores in falling order, without NaN and infinity")
    values = values[: np.count_nonzero(values > -np.inf)]
    falls = -np.diff(values)
    if (falls < 0).any():
        raise Invalid("adaptive cut: expected scores in falling order")
    several = 2 if multi_evidence else 1
    least = min(minimum * several, maximum)
    if len(values) <= max(least, 1):
        return min(len(values), maximum)
    relevance = np.exp(values - values[0])
    held = np.cumsum(relevance) / relevance.sum()
    keep = int(np.searchsorted(held, MASS)) + 1
    if drop is not None:
        keep = min(keep, int(np.count_nonzero(values >= values[0] - drop * several)))
    if gap is not None:
        wide = np.flatnonzero(falls[:maximum] > gap * max(float(np.median(falls[: max(maximum, 1)])), 1e-9))
        ends = wide[(wide + 1 >= least) & (held[wide] >= enough)] + 1
        if len(ends):
            keep = min(keep, int(ends[0]))
    return max(least, min(keep, maximum, len(values)))


BLOCK = 10
"""Conversations of a block. Default: the paper's."""
MOST_CONVERSATIONS = 40
"""Conversations that survive a ranking, at most. Default: the most hits that a cut keeps."""


@dataclass(frozen=True, slots=True)
class HistoryStats:
    """The size of what could be read."""

    conversations: int
    tokens: int

    def __post_init__(self) -> None:
        for name in ("conversations", "tokens"):
            _whole(getattr(self, name), 0, f"history: {name}")


@dataclass(frozen=True, slots=True)
class Plan:
    """What to read."""

    kind: Kind
    """Everything; blocks of conversations side by side, then what they gave; the best hits; or every conversation ranked by its best hit, cut,
    and what survives read whole, or by blocks where it is still too much for one prompt."""
    hits: int
    """How many hits to consider before the adaptive cut; 0 where the search is not needed."""
    tokens: int
    """Predicted tokens that are read, by reader and helper together."""
    cost: float = 0.0
    """Predicted, in dollars by the policy's prices."""
    accuracy: float = 0.0
    """Predicted share of such questions that are answered rightly."""


@dataclass(frozen=True, slots=True)
class ReadPolicy:
    """Thresholds in conversations and in tokens (a "conversation" is no stable unit: 150 of them were 63,000 to 299,000 tokens)."""

    window_tokens: int = 128_000
    """Context window of the reader, tokens; more than 0. Half of it is used at most. Default: common for current models."""
    budget_tokens: int | None = None
    """Tokens that one question may cost at most, the helper's included; None for no limit but the window."""
    whole_conversations: int = 30
    """Up to here, everything is read. Default: the paper's derived rule, section 5."""
    whole_tokens: int = 40_000
    """The same in tokens. Default: 30 conversations of its one-evidence user facts (36,000 tokens)."""
    block_conversations: int = 150
    """Up to here, reading everything is considered; beyond, blocks and what a search finds. Default: the paper's title."""
    block_tokens: int = 228_000
    """The same in tokens. Default: 150 conversations of its one-evidence user facts."""
    extract_share: float = 0.07
    """Tokens that block extraction leaves for the last prompt, of those read; 0 to 1. Default: the paper's 35,000 of 528,000."""
    hit_tokens: int = 60
    """Expected tokens of one hit in a context; 1 or more. Default: turns of chats with an assistant, about."""
    costs: ReadingCosts = field(default_factory=ReadingCosts)
    accuracy: ReadingAccuracy = field(default_factory=ReadingAccuracy)
    within: float = 0.01
    """Of the ways that lose no more than this share of right answers against the best, the cheapest is taken; 0 to 1."""

    def __post_init__(self) -> None:
        for name, least in (
            ("window_tokens", 1), ("whole_conversations", 0), ("whole_tokens", 0), ("block_conversations", 0), ("block_tokens", 0), ("hit_tokens", 1),
        ):  # fmt: skip
            _whole(getattr(self, name), least, f"read policy: {name}")
        if self.budget_tokens is not None:
            _whole(self.budget_tokens, 0, "read policy: budget_tokens")
        for name in ("extract_share", "within"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
                raise Invalid(f"read policy: {name}: expected a share, 0 to 1, not {shown(value)}")

    def plan(self, question: Question, stats: HistoryStats) -> Plan:
        """What to read for `question`; never above the budget, nor above half of the window in one prompt.

        Small histories are read whole. Of larger ones, the cost and the accuracy of each way that fits are predicted, and the cheapest of
        those about as good as the best is taken. Advice is asked in words that what must shape it does not share, so a search finds little
        of that: then blocks are read, or everything. Where nothing else fits, as many hits as do.
        """
        frame = self.costs.frame_tokens
        limit = max(0, self.window_tokens // 2 - frame)
        budget = None if self.budget_tokens is None else max(0, self.budget_tokens - frame)
        if budget is not None:
            limit = min(limit, budget)
        tokens, n = stats.tokens, stats.conversations
        whole = Plan("exhaustive", 0, tokens, self.costs.exhaustive(tokens), self.accuracy.exhaustive(tokens))
        if n <= self.whole_conversations and tokens <= min(self.whole_tokens, limit):
            return whole
        options = self._found(question, stats, limit)
        if n <= self.block_conversations and tokens <= min(self.block_tokens, limit):
            options.append(whole)
        left = int(tokens * self.extract_share)
        read = tokens + left + frame * -(-n // BLOCK)
        if left <= limit and (budget is None or read <= budget):
            options.append(Plan("blocks", 0, read, self.costs.blocks(read - left, left), self.accuracy.blocks))
        best = max(option.accuracy for option in options)
        return min((option for option in options if option.accuracy >= best - self.within), key=lambda option: option.cost)

    def _found(self, question: Question, stats: HistoryStats, limit: int) -> list[Plan]:
        """The ways that rest on a search, as far as they fit."""
        several, advice = question.asks_several, asks_advice(question.text)
        hits = max(1, min(80 if several else 40, limit // self.hit_tokens))
        found = min(hits * self.hit_tokens, limit)
        options = [Plan("retrieve", hits, found, self.costs.retrieve(found, stats.tokens), self.accuracy.retrieve(found, several, advice))]
        around = int(min(stats.tokens, MOST_CONVERSATIONS * stats.tokens / max(stats.conversations, 1)))
        if several and around <= limit:
            right = self.accuracy.retrieve(around, several, advice, around=True)
            options.append(Plan("hybrid", hits, around, self.costs.retrieve(around, stats.tokens), right))
        return options
