"""How much of a history to read for a question: everything, blocks of it, or what a search finds, and how many of the finds.

After ConvoMem (Convomem Benchmark: Why Your First 150 Conversations Don't Need RAG, 2025, arXiv 2511.10523, sections 4 and 5): small
histories are best read whole; beyond, a fixed number of hits starves questions with several pieces of evidence and floods the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Invalid
from mnemos.text.question import Question

MASS = 0.95
"""Share of the relevance after which the cut falls."""
GAP = 3.0
"""Times the median gap between neighbouring scores that a gap must exceed to be taken for the end of the evidence."""
ENOUGH = 0.5
"""Share of the relevance that must be kept before a gap may end it."""


def adaptive_cut(
    scores: NDArray[np.floating], minimum: int = 3, maximum: int = 40, multi_evidence: bool = False, gap: float | None = GAP
) -> int:
    """How many of the hits with these `scores` (log odds, best first) to keep.

    Keeps until the kept hold 95 % of the relevance, the softmax of the scores, or half of it before a gap of more than `gap` median gaps
    (scores fall ever more slowly, so early gaps are always wide: without the half, nearly every cut would be the minimum; None looks at no
    gap); at least `minimum`, twice that with `multi_evidence`, at most `maximum`, and never more than there are. Raises `Invalid` where the
    scores do not fall or the bounds contradict each other.
    """
    if not 0 <= minimum <= maximum:
        raise Invalid(f"adaptive cut: minimum {minimum} and maximum {maximum} must be 0 <= minimum <= maximum")
    values = np.asarray(scores, dtype=np.float64)
    values = values[: np.count_nonzero(values > -np.inf)]
    falls = -np.diff(values)
    if np.isnan(values).any() or (falls < 0).any():
        raise Invalid("adaptive cut: expected scores in falling order, without NaN")
    least = min(minimum * (2 if multi_evidence else 1), maximum)
    if len(values) <= max(least, 1):
        return min(len(values), maximum)
    relevance = np.exp(values - values[0])
    held = np.cumsum(relevance) / relevance.sum()
    keep = int(np.searchsorted(held, MASS)) + 1
    if gap is not None:
        wide = np.flatnonzero(falls[:maximum] > gap * max(float(np.median(falls[: max(maximum, 1)])), 1e-9))
        ends = wide[(wide + 1 >= least) & (held[wide] >= ENOUGH)] + 1
        if len(ends):
            keep = min(keep, int(ends[0]))
    return max(least, min(keep, maximum, len(values)))


@dataclass(frozen=True, slots=True)
class HistoryStats:
    """The size of what could be read."""

    conversations: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What to read."""

    kind: Literal["exhaustive", "blocks", "retrieve", "hybrid"]
    """Everything; blocks of conversations one after the other, then what they gave; the best hits; or hits from a full ranking, then blocks."""
    hits: int
    """How many hits to consider before the adaptive cut; 0 where the search is not needed."""
    tokens: int
    """Predicted tokens that reach the reader or its helper."""


@dataclass(frozen=True, slots=True)
class ReadPolicy:
    """Thresholds in conversations and in tokens (a "conversation" is no stable unit: 150 of them were 63,000 to 299,000 tokens)."""

    window_tokens: int = 128_000
    """Context window of the reader, tokens; more than 0. Half of it is used at most. Default: common for current models."""
    budget_tokens: int | None = None
    """Tokens that one question may cost at most; None for no limit but the window."""
    whole_conversations: int = 30
    """Up to here, everything is read. Default: the paper's derived rule, section 5."""
    whole_tokens: int = 40_000
    """The same in tokens. Default: 30 conversations of its one-evidence user facts (36,000 tokens)."""
    block_conversations: int = 150
    """Up to here, blocks are compared with reading everything; beyond, hybrid. Default: the paper's title."""
    block_tokens: int = 228_000
    """The same in tokens. Default: 150 conversations of its one-evidence user facts."""
    extract_share: float = 0.07
    """Tokens that block extraction leaves for the last prompt, of those read; 0 to 1. Default: the paper's 35,000 of 528,000."""
    helper_price: float = 0.25
    """Price of a token read by the helper model over one read by the reader; 0 or more. Default: medium against small models, about."""
    cached_share: float = 0.0
    """Share of an exhaustive prompt expected in the prompt or KV cache; 0 to 1. Default: nothing is known of a cache."""
    cached_price: float = 0.25
    """Price of a cached over an uncached token; 0 to 1. Default: the upper end of what providers ask (0.1 to 0.25)."""
    hit_tokens: int = 60
    """Expected tokens of one hit in a context; 1 or more. Default: turns of chats with an assistant, about."""

    def plan(self, question: Question, stats: HistoryStats) -> Plan:
        """What to read for `question`; never above the budget, nor above half of the window in one prompt."""
        limit = self.window_tokens // 2
        if self.budget_tokens is not None:
            limit = min(limit, self.budget_tokens)
        tokens, n = max(stats.tokens, 0), stats.conversations
        if n <= self.whole_conversations and tokens <= min(self.whole_tokens, limit):
            return Plan("exhaustive", 0, tokens)
        blocks_cost = tokens * (self.helper_price + self.extract_share)
        blocks_fit = self.budget_tokens is None or tokens * (1 + self.extract_share) <= self.budget_tokens
        hits = 80 if question.asks_several else 40
        if n <= self.block_conversations and tokens <= self.block_tokens:
            whole_cost = tokens * (1 - self.cached_share * (1 - self.cached_price))
            if tokens <= limit and whole_cost <= blocks_cost:
                return Plan("exhaustive", 0, tokens)
            if blocks_fit and question.asks_several:
                return Plan("blocks", 0, int(tokens * (1 + self.extract_share)))
        found = hits * self.hit_tokens
        if question.asks_several and found * (1 + self.extract_share) <= limit:
            return Plan("hybrid", hits, int(found * (1 + self.extract_share)))
        hits = max(1, min(hits, limit // self.hit_tokens))
        return Plan("retrieve", hits, min(hits * self.hit_tokens, limit))
