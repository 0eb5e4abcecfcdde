"""What ways of reading a history cost, how often they are right, and from which size on one is cheaper than another.

After ConvoMem (arXiv 2511.10523, section 5): a reader asked to read everything gets dearer and worse as the history grows, a search does not,
and what is in a prompt cache costs a quarter or less.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from mnemos.base.errors import Invalid


@dataclass(frozen=True, slots=True)
class Prices:
    """What tokens cost, in dollars a million. Only ratios matter to a plan. Defaults: a medium model and its lite sibling, autumn 2025."""

    read: float = 0.30
    """Reader's input; more than 0."""
    cached: float = 0.075
    """Reader's input that is in the prompt or KV cache; 0 to `read`."""
    write: float = 2.50
    """Reader's output; 0 or more."""
    helper_read: float = 0.10
    """Helper's input; 0 or more."""
    helper_write: float = 0.40
    """Helper's output; 0 or more."""
    remember: float = 0.0
    """A token of history taken into memory: nothing here, where words are indexed and a local model embeds; a model that rewrites what it
    keeps costs `read` + `write` of what it writes."""

    def __post_init__(self) -> None:
        if not (self.read > 0 and 0 <= self.cached <= self.read and min(self.write, self.helper_read, self.helper_write, self.remember) >= 0):
            raise Invalid("prices: need read > 0, 0 <= cached <= read, and no price below 0")


@dataclass(frozen=True, slots=True)
class ReadingCosts:
    """Costs of one question, in dollars."""

    prices: Prices = field(default_factory=Prices)
    cached_share: float = 0.0
    """Share of a history read whole that is found in the cache; 0 to 1. Default: nothing is known of a cache."""
    questions: float = 100.0
    """Questions over which what remembering a history costs is spread; 1 or more. Default: a batch of the benchmark."""
    frame_tokens: int = 200
    """Instructions and question, read each time."""
    answer_tokens: int = 60
    """Tokens of an answer."""

    def __post_init__(self) -> None:
        if not (0 <= self.cached_share <= 1 and self.questions >= 1 and self.frame_tokens >= 0 and self.answer_tokens >= 0):
            raise Invalid("reading costs: need cached_share within 0 and 1, questions >= 1, and no tokens below 0")

    @property
    def _frame(self) -> float:
        return self.frame_tokens * self.prices.read + self.answer_tokens * self.prices.write

    @property
    def _token(self) -> float:
        """A token of a prompt that is the same for every question."""
        return self.cached_share * self.prices.cached + (1 - self.cached_share) * self.prices.read

    def exhaustive(self, tokens: float) -> float:
        """To read a history of `tokens` whole."""
        return (tokens * self._token + self._frame) / 1e6

    def blocks(self, tokens: float, left: float) -> float:
        """To have the helper read `tokens` and write out `left` of them, which the reader reads."""
        helper = tokens * self.prices.helper_read + left * self.prices.helper_write
        return (helper + left * self.prices.read + self._frame) / 1e6

    def retrieve(self, found: float, history: float) -> float:
        """To read the `found` tokens of a search over a remembered history, each question paying its part of the remembering."""
        return (found * self.prices.read + history * self.prices.remember / self.questions + self._frame) / 1e6

    def crossover(self, found: float, conversation_tokens: float) -> float:
        """Conversations from which a search that finds `found` tokens is cheaper than reading all; infinite where it never is."""
        if conversation_tokens <= 0:
            raise Invalid("crossover: a conversation has more than 0 tokens")
        gain = self._token - self.prices.remember / self.questions
        return found * self.prices.read / gain / conversation_tokens if gain > 0 else math.inf


@dataclass(frozen=True, slots=True)
class ReadingAccuracy:
    """How often a question is answered rightly, predicted: what a reader loses with the length of its prompt, and what a search finds at all.

    Lengths: linear in the logarithm of tokens between two published points. What is found lies between what generated histories measure (0.99 of
    one message and 0.96 of six within the cut, `mnemos bench convomem`) and real ones (0.92 of LongMemEval's within 2,000 tokens).
    """

    short_tokens: float = 1_500
    short: float = 0.95
    """After one conversation (94.7 % of one-evidence user facts)."""
    long_tokens: float = 228_000
    long: float = 0.82
    """After 150 of them (82.0 %)."""
    blocks: float = 0.82
    """By blocks of ten conversations, read by a lite model: flat (70.7 % of implicit connections, where the reader has 82 % of them after one)."""
    finds_one: float = 0.95
    """Share of questions of one fact whose evidence a search hands out after the cut."""
    finds_several: float = 0.90
    """The same for questions that rest on several messages."""
    finds_around: float = 0.95
    """The same where whole conversations are handed out, each for its best hit."""
    finds_unsaid: float = 0.40
    """The same where advice is asked for, whose limits need share no word with the question: of generated ones 0.88 of stated tastes, 0 of limits."""

    def exhaustive(self, tokens: float) -> float:
        """After reading `tokens` at once; never above that of a short prompt."""
        steep = (self.short - self.long) / math.log(self.long_tokens / self.short_tokens)
        return max(0.0, self.short - steep * max(0.0, math.log(max(tokens, 1.0) / self.short_tokens)))

    def retrieve(self, found: float, several: bool, advice: bool, around: bool = False) -> float:
        """After reading the `found` tokens of a search: its hits, or with `around` the conversations around them."""
        share = self.finds_several if several else self.finds_one
        if around:
            share = max(share, self.finds_around)
        return (self.finds_unsaid if advice else share) * self.exhaustive(found)
