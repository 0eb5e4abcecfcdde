"""Several grains at once: turns, whole sessions, their summaries and their key phrases, weighed by how sure each is, with associated sessions.

Source: MemGAS, arXiv 2505.19549, section 3. A session is what stands in one thread (the turns of a conversation, the parts of a document); a
memory that stands alone is a session of its own. Here summaries and key phrases only lead to memories and are never handed out; turns
count by the best of them, where the paper takes their mean; and the sessions' scores do not replace the foundation's ranking of
memories, but bear on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from mnemos.base.cube import Content
from mnemos.index.graph import Graph
from mnemos.text.asking import Refused, Report, ask, made_by
from mnemos.text.granularity.gathering import ENOUGH, MOST_TERMS, leaned, one_turn
from mnemos.text.granularity.mixture import split
from mnemos.text.granularity.nodes import KEYWORDS, SESSION, SUMMARY, Nodes
from mnemos.text.granularity.router import TEMPERATURE, profile, standard, weights
from mnemos.text.key_phrases import key_phrases
from mnemos.text.plain import Plain, distinct
from mnemos.text.prompts import prompt
from mnemos.text.question import Question
from mnemos.text.quoting import Cited, find_quote, supported
from mnemos.text.ranking import top
from mnemos.text.strategy import Draft, Floats, Memory, Portion, Recall, View, Workbench
from mnemos.text.summary import Passage, sentences, summarise

Numbers = NDArray[np.float64]
Rows = NDArray[np.int64]

GRAINS = ("turn", "session", "summary", "keywords")


@dataclass(frozen=True, slots=True)
class Parameters:
    """How sessions are read and associated. Defaults are the paper's where it gives any."""

    candidates: int = 30
    """Nodes of earlier sessions that each node of a new one is compared with: the nearest."""
    seeds: int = 15
    """Nodes from which the walk begins."""
    follow: float = 0.1
    """Probability that the walk follows an association; it else begins again."""
    temperature: float = TEMPERATURE
    bearing: float = 0.3
    """Log odds that a memory of the best session gains. Ours, and small: the foundation's own evidence of neighbours says much of it already."""
    fewest: int = 3
    """Memories of a session from which on it has a summary and key phrases."""
    summary_tokens: int = 80
    phrases: int = 12


DEFAULTS = Parameters()


class Session(NamedTuple):
    """A session as it stands: its thread, its memories in order."""

    thread: int
    memories: list[Memory]


class Granularity(Plain):
    """Sessions get a summary, key phrases, and links to sessions that stand out as like them."""

    name = "granularity"
    about = "turns, sessions, summaries and key phrases at once, each weighed by how sure it is; related sessions lend a hand"
    consolidates = True

    def __init__(self, parameters: Parameters = DEFAULTS) -> None:
        super().__init__()
        self.parameters = parameters

    # -- reading --
    def recall(self, question: Question, view: View, k: int) -> Recall:
        ranking = self.ranking(question, view)
        scores, bearing = ranking.scores, self.bearing(view, question)
        if bearing is not None:
            scores = np.asarray(scores + bearing, dtype=np.float32)
        best = distinct(view.index, scores, k)
        signals = ranking.signals(best)
        return Recall(best, scores[best], signals if bearing is None else {**signals, "grain": bearing[best]})

    def bearing(self, view: View, question: Question | None = None) -> Floats | None:
        """(n,) log odds that each row gains from its session; None where meaning cannot be compared, or one memory says enough of the question for
        the foundation to find it."""
        if view.cosines is None:
            return None
        sessions = Sessions(view)
        if len(sessions.present) < 2:
            return None
        alone = None if question is None else sessions.one_turn(question)
        if alone is not None and alone >= ENOUGH:
            return None
        scores = sessions.scores(self.parameters, alone)
        best = scores.max()
        if best <= 0:
            return None
        shares = np.zeros(sessions.slots)
        shares[sessions.present] = scores / best
        return np.asarray(self.parameters.bearing * shares[sessions.slot], dtype=np.float32)

    # -- consolidation --
    def consolidate(self, work: Workbench) -> None:
        for portion in work.portions(256):
            with portion.look() as view:
                sessions = _touched(view, portion)
                nodes = Nodes.of(Sessions(view))
            known = portion.views_of(dict.fromkeys(memory.id for session in sessions for memory in session.memories))
            kept: set[UUID] = set()
            for session in sessions:
                kept |= self._renew(work, portion, session, nodes, known)
            for old in portion.stale:
                if old.id not in kept:
                    portion.retire(old, "its session is no more")

    def _renew(
        self, work: Workbench, portion: Portion, session: Session, nodes: Nodes | None, known: Mapping[UUID, list[Memory]]
    ) -> set[UUID]:
        """Write a session's summary and key phrases, or their next versions. Gives the views that were seen to."""
        if len(session.memories) < self.parameters.fewest:
            return set()
        views = {view.content.type: view for memory in session.memories for view in known.get(memory.id, ())}
        summary, keyed, by = self._described(work, session)
        vectors = portion.embed([summary, keyed])
        edges = [] if nodes is None or vectors is None else self._associated(nodes, session, vectors)
        written: dict[str, UUID] = {}
        for type_, text, metadata in (("summary", summary, {"edges": edges}), ("keywords", keyed, {})):
            draft = Draft(text, type_, session.memories, metadata, by=by)
            old = views.get(type_)
            if old is None:
                written[type_] = portion.add(draft)
            else:
                portion.revise(old, draft, "its session has changed")
                written[type_] = old.id
        if nodes is not None and vectors is not None:
            nodes.put(session, written["summary"], vectors)
        return {old.id for old in views.values()}

    def _associated(self, nodes: Nodes, session: Session, vectors: Floats) -> list[dict[str, Any]]:
        """Edges from a session to the earlier ones that stand out as like it, from grain to grain."""
        out = []
        likeness = nodes.likeness(session, np.vstack([nodes.mean_of(session)[None], vectors]))
        for grain, near in zip((SESSION, SUMMARY, KEYWORDS), likeness, strict=True):
            nearest = nodes.nearest(near, self.parameters.candidates)
            found = split(near[nearest].astype(np.float64))
            for at, posterior in zip(nearest[found.accepted].tolist(), found.posterior[found.accepted].tolist(), strict=True):
                out.append({"to": str(nodes.id_at(at)), "kind": f"{GRAINS[grain]}-{GRAINS[nodes.grain_of(at)]}", "weight": round(posterior, 6)})
        return out

    def _described(self, work: Workbench, session: Session) -> tuple[str, str, str]:
        """(summary, key phrases, who made them): a language model's where there is one and every statement is supported, else extracted."""
        turns = [memory.content for memory in session.memories]
        if work.chat is not None:
            report = Report()
            lines = [{"id": f"m{n}", "author": turn.author or "", "text": turn.text or ""} for n, turn in enumerate(turns, 1)]
            answer = ask(work.chat, prompt("session"), {"turns": lines, "tokens": self.parameters.summary_tokens}, report=report)
            if isinstance(answer, Refused):
                work.report(f"degraded: {answer.reason}")
            elif (phrases := _quoted(answer["keywords"], turns)) and _faithful(answer["summary"], turns):
                return answer["summary"].strip(), ", ".join(phrases), str(made_by(work.chat, prompt("session")))
            else:
                work.report("rejected: not in its sources")
        passages = [Passage(turn.text or "", turn.author) for turn in turns]
        summary = summarise(passages, budget=self.parameters.summary_tokens).text
        found = key_phrases([passage.text for passage in passages], self.parameters.phrases)
        first = passages[0].text[:400]
        return summary or first, ", ".join(phrase.text for phrase in found) or first, "rules"


class Sessions:
    """The sessions among the allowed rows of a view. A session's slot is its thread, or, for a row that stands alone, a number of its own."""

    def __init__(self, view: View) -> None:
        index = view.index
        thread = index.thread.view()
        threads = len(index.threads.words)
        self.view = view
        self.slot = np.where(thread >= 0, thread, threads + index.first.view())
        self.slots = threads + len(index)
        self.rows = np.flatnonzero(view.allowed)
        self.counts = np.bincount(self.slot[self.rows], minlength=self.slots)
        self.present = np.flatnonzero(self.counts)
        """(u,) slots of the sessions that have an allowed row."""
        own = view.made_by(Granularity.name)
        views, sources = view.relations.sources(own) if view.relations is not None else (np.zeros(0, np.int64), np.zeros(0, np.int64))
        at = np.flatnonzero(np.diff(views, prepend=-1))  # pairs come in the order of the views
        self.views = views[at]
        """(v,) rows of summaries and key phrases."""
        self.of = self.slot[sources[at]]
        """(v,) the slot of the session that each is of."""
        self.grain = np.full(len(self.views), SUMMARY)
        keywords = index.types.number("keywords")
        if keywords is not None:
            self.grain[index.type.view()[self.views] == keywords] = KEYWORDS

    # -- reading --
    def scores(self, parameters: Parameters, alone: float | None = None) -> Numbers:
        """(u,) how much each present session bears on the question: where a walk from the surest nodes of all grains, along associations, is.
        `alone`: what `one_turn` gives; None goes by how sure each grain is, and nothing else."""
        grains = self.grains()
        sure = self.weights(grains, parameters, alone)
        together = np.sum([weight * standard(scores) for weight, scores in zip(sure, grains, strict=True)], axis=0)
        nodes = np.outer(sure, profile(together, parameters.temperature)).ravel()
        best = top(nodes, parameters.seeds)
        seeds = np.zeros(len(nodes))
        seeds[best] = nodes[best]
        graph = self.view.index.attached("granularity graph", Drawn).graph(self)
        return np.asarray(graph.pagerank(seeds, parameters.follow, tolerance=1e-9).reshape(len(GRAINS), -1).sum(axis=0))

    def weights(self, grains: Sequence[Numbers], parameters: Parameters, alone: float | None) -> Numbers:
        """(g,) how much each grain counts."""
        sure = weights(grains, parameters.temperature)
        return sure if alone is None else leaned(sure, alone)

    def one_turn(self, question: Question) -> float:
        """How much of the question the best memory says by itself, against the best session (`gathering.one_turn`)."""
        hashes = question.terms.hashes[:MOST_TERMS]
        held = self.view.index.lexical.holding(hashes)[self.rows]
        return one_turn(held, np.searchsorted(self.present, self.slot[self.rows]), len(hashes))

    def grains(self) -> list[Numbers]:
        """For each grain (u,) the present sessions' likeness to the question. A session without a description is as like as its best turn."""
        assert self.view.cosines is not None
        cosines = np.nan_to_num(self.view.cosines.astype(np.float64))
        slot, near = self.slot[self.rows], cosines[self.rows]
        turn = np.full(self.slots, -np.inf)
        np.maximum.at(turn, slot, near)
        mean = np.bincount(slot, weights=near, minlength=self.slots)[self.present] / self.counts[self.present]
        out = [turn[self.present], mean]
        for grain in (SUMMARY, KEYWORDS):
            scores = turn.copy()
            chosen = self.grain == grain
            scores[self.of[chosen]] = cosines[self.views[chosen]]
            out.append(scores[self.present])
        return out

    def associations(self) -> tuple[Rows, Rows, Numbers]:
        """Edges between nodes; a node is grain · u + the place of its session among those present."""
        view, relations = self.view, self.view.relations
        if relations is None or view.views is None:
            return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
        first = view.index.first.view()
        place = np.full(self.slots, -1)
        place[self.present] = np.arange(len(self.present))
        slot_of = self.slot.copy()
        slot_of[first[self.views]] = self.of
        own = np.zeros(len(view.index), dtype=bool)
        own[self.views] = True
        parts = []
        for one, name in enumerate(GRAINS):
            for other, word in enumerate(GRAINS):
                edges = relations.edges(first, own, [f"{name}-{word}"])
                source, target = place[slot_of[edges.source]], place[slot_of[edges.target]]
                inside = (source >= 0) & (target >= 0) & (source != target)
                parts.append((source[inside] + one * len(self.present), target[inside] + other * len(self.present), edges.weight[inside]))
        return tuple(np.concatenate([part[i] for part in parts]) for i in range(3))  # type: ignore[return-value]


class Drawn:
    """The graph of associations that a search walked last, for the next one that sees the same sessions and views. Goes with what is forgotten."""

    def __init__(self) -> None:
        self._rows = -1
        self._present: Rows = np.zeros(0, dtype=np.int64)
        self._views: Rows = np.zeros(0, dtype=np.int64)
        self._graph: Graph | None = None

    def graph(self, sessions: Sessions) -> Graph:
        same = self._rows == len(sessions.slot) and np.array_equal(self._present, sessions.present) and np.array_equal(self._views, sessions.views)
        if self._graph is None or not same:
            self._graph = Graph(len(GRAINS) * len(sessions.present), *sessions.associations())
            self._rows, self._present, self._views = len(sessions.slot), sessions.present, sessions.views
        return self._graph


def _touched(view: View, portion: Portion) -> list[Session]:
    """The sessions that something has happened in, whole."""
    index = view.index
    thread = index.thread.view()
    rows = [memory.row for memory in portion.fresh]
    if view.relations is not None and portion.stale:
        stale = np.zeros(len(index), dtype=bool)
        stale[[old.row for old in portion.stale]] = True
        sources = view.relations.sources(stale)[1]
        rows += sources[sources >= 0].tolist()
    out = []
    for number in dict.fromkeys(thread[rows].tolist() if rows else []):
        if number >= 0:
            members = np.flatnonzero(view.allowed & (thread == number)).tolist()
            out.append(Session(number, _memories(view, members)))
    return out


def _memories(view: View, rows: Sequence[int]) -> list[Memory]:
    contents: Iterable[Content] = view.contents(rows)
    return [Memory(content, row) for content, row in zip(contents, rows, strict=True)]


def _quoted(phrases: Sequence[str], turns: Sequence[Content]) -> list[str]:
    """Those of a model's key phrases that stand in the turns."""
    texts = [turn.text or "" for turn in turns]
    return [phrase for phrase in phrases if find_quote(phrase, texts) is not None]


def _faithful(summary: str, turns: Sequence[Content]) -> bool:
    """Whether every sentence of a summary is supported by the turns."""
    sources = [Cited(turn.text or "", turn.author, said_at=turn.event_at) for turn in turns]
    told = sentences(summary)
    return bool(told) and all(supported(sentence, sources) for sentence in told)
