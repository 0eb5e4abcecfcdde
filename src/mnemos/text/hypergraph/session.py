"""A session: one question, a working memory of points, and turns of retrieving, evolving, merging and planning, until the points suffice.

Source: HGMem, arXiv 2512.23959, section 3. Turn 0 asks the question; each further turn asks what came of planning: about a point (local) or about
what no point touches (global). At most `turns` + 1 retrievals. With a language model its judgement rules; without one, or where it has none,
names and words do. Nothing in it is random: the same corpus and question give the same session.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum

from mnemos.base.errors import Invalid, shown
from mnemos.base.protocols import ChatModel
from mnemos.text.asking import Reason, Refused, Report
from mnemos.text.hypergraph.answering import Context, Room, context
from mnemos.text.hypergraph.by_model import Advisor
from mnemos.text.hypergraph.corpus import Corpus, Passage, Sentence, SubQuery
from mnemos.text.hypergraph.evidence import Evidence
from mnemos.text.hypergraph.evolving import Growth, evolve, merge
from mnemos.text.hypergraph.memory import Point, WorkingMemory
from mnemos.text.hypergraph.overlay import Overlay
from mnemos.text.hypergraph.planning import Judgement, Mode, Plan, covered, distinct, plan, uncovered
from mnemos.text.hypergraph.retrieval import Limits


@dataclass(frozen=True, slots=True)
class Settings:
    """How a session runs. Defaults are the paper's, but for those marked as ours."""

    turns: int = 3
    """After the first one."""
    concerns: int = 3
    """Sub-queries of a turn."""
    gain: float = 0.01
    """Of the question's words, by weight, or of the sub-queries that brought anything, below which a turn without a model is the last. Ours."""
    mode: Mode = Mode.ADAPTIVE
    merge_every: int = 1
    """Turns from one merging to the next, from the second turn on; 0: never. 2 is the cheap profile. The paper: every turn."""
    reconcile: bool = True
    """Whether a model is asked about objects that no text names. False is the cheap profile."""
    tokens: int | None = None
    """That a language model may read and write in one session; when they are used up the session goes on by rules. None: no limit."""
    seconds: float | None = None
    """After which no further turn begins. None: no limit."""
    limits: Limits = field(default_factory=Limits)
    growth: Growth = field(default_factory=Growth)
    room: Room = field(default_factory=Room)

    def __post_init__(self) -> None:
        for name, least in (("turns", 0), ("concerns", 1), ("merge_every", 0)):
            if getattr(self, name) < least:
                raise Invalid(f"settings.{name}: expected {least} or more, not {shown(getattr(self, name))}")


class Ended(StrEnum):
    """Why a session is over."""

    SUFFICIENT = "sufficient"
    TURNS = "turns"
    NOTHING_NEW = "nothing new"
    """No sub-query is left that was not asked, or the last turn brought nothing."""
    SECONDS = "seconds"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Step:
    """A turn, as it ended."""

    turn: int
    queries: tuple[SubQuery, ...]
    passages: tuple[Passage, ...]
    """That were retrieved, each once, in the order of their documents."""
    inserted: tuple[int, ...]
    updated: tuple[int, ...]
    merged: tuple[int, ...]
    points: tuple[Point, ...]
    """All there are now."""
    covered: float
    """Share of the question's words, by weight, that the points hold that bear on it."""
    judgement: Judgement | None = None
    """What planning came to; None where the session ended before it, or with nothing new."""
    concerns: tuple[SubQuery, ...] = ()
    """What the next turn asks."""
    widened: int = 0
    """Sub-queries that found nothing where they looked, and so looked everywhere."""


HELD = 0.95
"""Share of the question's words, by weight, that counts as all of them."""
_UNREAD = frozenset([Reason.MALFORMED, Reason.TRUNCATED, Reason.REFUSAL])


class Session:
    """`corpus`: what is read. `chat`: a language model, or None. `count`: tokens of a text; `clock`: seconds."""

    def __init__(
        self, corpus: Corpus, settings: Settings | None = None, chat: ChatModel | None = None, *,
        count: Callable[[str], int] = lambda text: -(-len(text.encode()) // 4), clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.corpus = corpus
        self.settings = settings or Settings()
        self.advisor = None if chat is None else Advisor(chat)
        self._count, self._clock = count, clock
        self.memory = WorkingMemory()
        self.overlay = Overlay()
        self.asked: list[str] = []
        """All sub-queries so far."""
        self.ended: Ended | None = None
        self._misread = False
        self.evidence: Evidence | None = None
        self.steps: list[Step] = []

    @property
    def report(self) -> Report | None:
        """What came of asking the language model; None without one."""
        return None if self.advisor is None else self.advisor.report

    def stop(self) -> None:
        """Let the turn that runs be the last one; from another thread, or while iterating."""
        self.ended = self.ended or Ended.STOPPED

    # -- running --
    def run(self, question: str) -> Iterator[Step]:
        """Turn by turn. Whoever stops iterating has the memory as it stands. A session is for one question: raises `Invalid` for a second."""
        if not question.strip():
            raise Invalid("session: give a question")
        if self.evidence is not None:
            raise Invalid("session: it has been run; make a new one, a working memory is for one question")
        self.evidence = evidence = Evidence(question, self.corpus)
        began = self._clock()
        queries: tuple[SubQuery, ...] = (SubQuery(question, deep=self.settings.room.passages),)
        looked: frozenset[str] = frozenset()
        for turn in range(self.settings.turns + 1):
            before = covered(self.memory, evidence)
            step, brought = self._turn(turn, queries)
            looked |= {name for query in queries for name in query.near}
            gained = max(step.covered - before, brought)
            if self.ended is None and turn == self.settings.turns:
                self.ended = Ended.TURNS
            elif self.ended is None and self.settings.seconds is not None and self._clock() - began >= self.settings.seconds:
                self.ended = Ended.SECONDS
            following = None if self.ended is not None else self._plan(looked, gained)
            if following is not None:
                step = replace(step, judgement=following.judgement, concerns=following.queries)
            self.steps.append(step)
            yield step
            if self.ended is not None or following is None:
                return
            queries = following.queries

    def finish(self, question: str) -> Context:
        """Run to the end. The context."""
        for _ in self.run(question):
            pass
        return self.context()

    def _turn(self, turn: int, queries: tuple[SubQuery, ...]) -> tuple[Step, float]:
        """(the turn without its planning, share of its sub-queries that brought a new point, or more to one)"""
        evidence = self._evidence()
        fresh: dict[Sentence, None] = {}
        passages: dict[str, Passage] = {}
        widened = 0
        brought_by: list[set[str]] = []
        for query in queries:
            self.asked.append(query.text)
            found = self.corpus.retrieve(query, self.settings.limits)
            widened += found.widened
            new = evidence.take(query, found)
            fresh |= dict.fromkeys(new)
            passages |= {passage.id: passage for passage in found.passages}
            brought_by.append({one.span.passage for one in new})
        ordered = sorted(passages.values(), key=lambda passage: (passage.position, passage.id))
        targets = frozenset(name for query in queries for name in query.near) or evidence.asked
        inserted, updated = self._evolve(list(fresh), ordered, targets, turn)
        merged = self._merge(turn) if turn and self.settings.merge_every and turn % self.settings.merge_every == 0 else []
        changed = {id_ for point in self.memory if point.turn == turn for id_ in point.passages}
        brought = sum(bool(own & changed) for own in brought_by) / len(queries)
        share = covered(self.memory, evidence)
        points = tuple(self.memory)
        step = Step(turn, queries, tuple(ordered), tuple(inserted), tuple(updated), tuple(merged), points, share, widened=widened)
        return step, brought

    def _evolve(self, fresh: list[Sentence], passages: list[Passage], targets: frozenset[str], turn: int) -> tuple[list[int], list[int]]:
        if (advisor := self._adviser()) is not None:
            within = passages_within(passages, self.settings.room.tokens // 2, self._count)
            changed = advisor.evolve(self.memory, self._evidence(), within, self.overlay if self.settings.reconcile else None, turn)
            if changed is not None:
                return changed
        return evolve(self.memory, self._evidence(), fresh, targets, turn, self.settings.growth)

    def _merge(self, turn: int) -> list[int]:
        if len(self.memory) < 2:
            return []
        if (advisor := self._adviser()) is not None:
            merged = advisor.merge(self.memory, self._evidence(), turn)
            if merged is not None:
                return merged
        return merge(self.memory, self._evidence(), turn, self.settings.growth)

    def _plan(self, looked: frozenset[str], gained: float) -> Plan | None:
        """What the next turn asks; `ended` is set where there is none. None where the last turn brought nothing."""
        evidence, settings = self._evidence(), self.settings
        following: Plan | None = None
        if (advisor := self._adviser()) is not None:
            hints = self.corpus.neighbours(self.overlay.around(self.memory.names), settings.limits.used)
            answer = advisor.plan(self.memory, evidence, hints, self.asked, self.overlay, settings.concerns)
            if not isinstance(answer, Refused):
                following = answer
            elif answer.reason in _UNREAD:
                following = self._unread()
        if following is None:
            if gained < settings.gain and self.asked[1:]:
                self.ended = Ended.NOTHING_NEW
                return None
            following = plan(self.memory, evidence, self.asked, looked, settings.mode, settings.concerns)
        if following.judgement is Judgement.SUFFICIENT:
            self.ended = Ended.SUFFICIENT
        elif not following.queries:
            self.ended = Ended.NOTHING_NEW
        return following

    def _unread(self) -> Plan:
        """What to do where a model's judgement cannot be read: look for what no point holds, once."""
        if self._misread:
            return Plan(Judgement.GLOBAL)
        self._misread = True
        return Plan(Judgement.GLOBAL, distinct([uncovered(self.memory, self._evidence())], self.asked))

    def _adviser(self) -> Advisor | None:
        """The language model, while its budget lasts and it answers at all."""
        advisor, most = self.advisor, self.settings.tokens
        if advisor is None or advisor.report.given_up:
            return None
        spent = advisor.report.tokens_in + advisor.report.tokens_out
        return None if most is not None and spent >= most else advisor

    def _evidence(self) -> Evidence:
        if self.evidence is None:
            raise Invalid("session: it has not been run; iterate over `run(question)` first")
        return self.evidence

    # -- the end --
    def context(self) -> Context:
        """The points and the passages that they rest on, for whoever answers. Points are dropped that rest on what may not be read any more."""
        evidence = self._evidence()
        left = self.corpus.readable(evidence.passages)
        self.memory.keep(left)
        for id_ in evidence.passages.keys() - left:
            del evidence.passages[id_]
        evidence.sentences = {span: one for span, one in evidence.sentences.items() if span.passage in left}
        return context(self.memory, evidence, self.settings.room, self._count, self._believed(evidence))

    def _believed(self, evidence: Evidence) -> bool:
        """Whether the points are to be believed before what the question finds by itself. A model's are. Those of rules, where they hold all names
        that the question gives and all of its words, and did not do so after the first search; the words of a question of several parts recur in
        each of them, so that there the first search tells nothing.
        """
        if any(point.by != "rules" for point in self.memory):
            return True
        if not evidence.asked or not evidence.asked <= self.memory.names or covered(self.memory, evidence) < HELD:
            return False
        return self.steps[0].covered < HELD or len(evidence.parts) > 1


def passages_within(passages: list[Passage], tokens: int, count: Callable[[str], int]) -> list[Passage]:
    """The first of some passages that fit into so many tokens."""
    out: list[Passage] = []
    for passage in passages:
        tokens -= count(passage.text)
        if tokens < 0:
            break
        out.append(passage)
    return out
