"""Investigations of a space: one question, a working memory of its own, turn by turn (HGMem, arXiv 2512.23959); and what of it may be kept.

Nothing of a session enters the space by itself. `keep` writes how it went as an episodic record; `promote` writes those points that rest on two or
more independent sources as views of type "relation". Both are views of the memories they rest on: who forgets one of these forgets them, too. What
rests on a memory with rules of its own is in neither: what only some may read is woven into nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import numpy as np

from mnemos.base.clock import optional_datetime
from mnemos.base.cube import Link, MemCube
from mnemos.base.errors import Invalid
from mnemos.base.lineage import VIEW_OF
from mnemos.base.protocols import ChatModel, Vectors
from mnemos.index.terms import query_terms
from mnemos.kernel.reading.conditions import conditions, question_text
from mnemos.kernel.reading.searching import found
from mnemos.kernel.reading.viewing import whole_of
from mnemos.kernel.rights.governance import LABELS, label_level
from mnemos.kernel.writing import writes
from mnemos.text.answering.candidates import Source
from mnemos.text.answering.reader import Answer, answer
from mnemos.text.bridging import bridged
from mnemos.text.hypergraph.answering import Context
from mnemos.text.hypergraph.corpus import Passage, Retrieved, SubQuery, retrieved_from
from mnemos.text.hypergraph.held import graph_of
from mnemos.text.hypergraph.memory import Change, Point, WorkingMemory
from mnemos.text.hypergraph.retrieval import Limits, Wanted, neighbours, retrieve
from mnemos.text.hypergraph.session import Ended, Session, Settings, Step
from mnemos.text.hypergraph.strategy import Hypergraph
from mnemos.text.plain import Plain
from mnemos.text.question import Question
from mnemos.text.strategy import Recall, View
from mnemos.text.tokens import token_counter

if TYPE_CHECKING:
    from mnemos.kernel.guard.hooks import GuardedSpace
    from mnemos.kernel.space import Space

INVESTIGATION = "investigation"
"""The type of a session that was kept."""
RELATION = "relation"
INDEPENDENT = 2
"""Sources that a point must rest on to become a relation."""
_MOST_TERMS = 62
_SOURCES_OF_ANSWER = 10


class Investigation:
    """One question put to a space; get it by `space.investigate`. Iterate over it, or over `run()`, for the turns; then `context`, `answer`."""

    def __init__(
        self, space: Space, question: str, settings: Settings | None = None, chat: ChatModel | None = None, tokenizer: object = None,
        **where: Any,
    ) -> None:  # fmt: skip
        space.admit("read")
        self.space, self.question = space, question_text(question)
        self.corpus = SpaceCorpus(space, self.question, where)
        self.session = Session(self.corpus, settings, chat, count=token_counter(tokenizer))
        self._context: Context | None = None

    def __repr__(self) -> str:
        return f"Investigation({self.question!r}, in space {self.space.name!r}, {len(self.session.memory)} points)"

    # -- running --
    def __iter__(self) -> Iterator[Step]:
        return self.run()

    def run(self) -> Iterator[Step]:
        """Turn by turn; raises `Invalid` where it has been run."""
        return self.session.run(self.question)

    @property
    def points(self) -> list[Point]:
        """The working memory as it stands."""
        return list(self.session.memory)

    @property
    def ended(self) -> Ended | None:
        """Why it is over; None where it is not."""
        return self.session.ended

    def context(self) -> Context:
        """What is known, for a prompt: points, and the passages that they rest on. Runs it where it was not begun. What has been forgotten, changed,
        or closed to the caller since it was found is not in it, nor what rested on it."""
        self._finished()
        self._context = self.session.context()
        return self._context

    def answer(self) -> Answer:
        """The answer word for word from the passages, by rules; it is falsy where none is sure."""
        context = self.context()
        cited = list(dict.fromkeys(id_ for point in context.points for id_ in sorted(point.passages)))
        passages = {passage.id: passage for passage in context.passages}
        best = [passages[id_] for id_ in dict.fromkeys([*cited, *context.best]) if id_ in passages][:_SOURCES_OF_ANSWER]
        sources = [Source(one.id, one.text, one.author, one.said_at) for one in best]
        return answer(self.question, sources, now=self.space.system.clock())

    def _finished(self) -> None:
        if self.session.evidence is None:
            for _ in self.run():
                pass

    # -- keeping --
    def keep(self) -> MemCube:
        """Write how it went as a memory of type "investigation": the question and the points as text, the journal in the metadata, from which
        `replayed` builds the working memory anew. Raises `Invalid` where there is no point to keep."""
        self.context()
        memory = WorkingMemory.replayed(self.session.memory.journal)
        open_ = {id_ for id_ in self.corpus.readable(self.corpus.passages) if not self.corpus.read(id_).ruled}
        memory.keep(open_)
        if not len(memory):
            raise Invalid("keep: the investigation has no points that may be kept")
        whole = {span.passage for change in memory.journal if change.point is not None for span in change.point.spans} <= open_
        journal = memory.journal if whole else [Change("insert", (), point) for point in memory]
        passages = sorted({span.passage for change in journal if change.point is not None for span in change.point.spans})
        metadata = {"question": self.question, "ended": str(self.ended or ""), "journal": [change.as_json() for change in journal]}
        text = "\n".join([self.question, *(f"- {point.statement}" for point in memory)])
        return writes.add(self.space, text, self._view(INVESTIGATION, passages, metadata))

    def promote(self, guard: GuardedSpace | None = None) -> list[MemCube]:
        """Write the points with two or more independent sources (documents, conversations) as relations, views of these sources. A statement that
        is there already is not written twice. With a guard (`space.guarded()`) each is admitted by it; what it refuses goes into quarantine. Gives
        those that were written, in quarantine or not."""
        self.context()
        known = {(cube.text, frozenset(str(link.id) for link in cube.derived_from)) for cube in self._relations()}
        out = []
        for point in self.session.memory:
            passages = sorted(point.passages)
            documents = {self.corpus.passages[id_].document for id_ in passages}
            ruled = any(self.corpus.read(id_).ruled for id_ in passages)
            if len(documents) >= INDEPENDENT and not ruled and (point.statement, frozenset(passages)) not in known:
                metadata = {
                    "members": [{"id": id_, "role": "source", "weight": 1.0} for id_ in passages],
                    "spans": [list(span) for span in sorted(point.spans)], "question": self.question, "by": point.by,
                }  # fmt: skip
                fields = self._view(RELATION, passages, metadata, self._shown(point))
                cube = writes.add(self.space, point.statement, fields) if guard is None else guard.add(point.statement, **fields).cube
                out += [] if cube is None else [cube]
        return out

    def _shown(self, point: Point) -> list[str]:
        """The names of a point, as they are written."""
        evidence = self.session.evidence
        return [name if evidence is None else evidence.name(name) for name in sorted(point.names)]

    def _relations(self) -> list[MemCube]:
        """The relations of the space that investigations have written."""
        out: list[MemCube] = []
        cursor: str | None = None
        while True:
            page = self.space.list(types=[RELATION], filter={"strategy": Hypergraph.name}, cursor=cursor, limit=500)
            out += page
            cursor = page.cursor
            if cursor is None:
                return out

    def _view(self, type_: str, passages: Sequence[str], metadata: Mapping[str, Any], entities: Sequence[str] = ()) -> dict[str, Any]:
        """The keywords of `add` for a view of some passages. It inherits the highest label of them, and the earliest end."""
        read = [self.corpus.read(id_) for id_ in passages]
        level = max(one.level for one in read)
        return {
            "type": type_,
            "origin": "inference",
            "derived_from": [Link(UUID(id_), one.version, VIEW_OF) for id_, one in zip(passages, read, strict=True)],
            "metadata": {**metadata, "strategy": Hypergraph.name},
            "entities": list(entities),
            "expires_at": optional_datetime(min((one.expires_at for one in read if one.expires_at is not None), default=None)),
            "sensitivity": LABELS[level] if level else None,
        }


def replayed(cube: MemCube) -> WorkingMemory:
    """The working memory of an investigation that was kept. Raises `Invalid` for another cube."""
    if cube.type != INVESTIGATION or not isinstance(cube.metadata.get("journal"), (list, tuple)):
        raise Invalid(f"replayed: {cube.id} is no investigation that was kept")
    return WorkingMemory.replayed(Change.of_json(one) for one in cube.metadata["journal"])


class _Looking:
    """A strategy that asks `look` and hands out nothing."""

    name, about, consolidates = "", "", False

    def __init__(self, look: Callable[[Question, View], Any]) -> None:
        self._look = look
        self.seen: Any = None

    def encode(self, content: Any, new_id: Any) -> Any:
        raise Invalid("this strategy reads only")

    def recall(self, question: Question, view: View, k: int) -> Recall:
        self.seen = self._look(question, view)
        return Recall(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))

    def consolidate(self, work: Any) -> None:
        raise Invalid("this strategy reads only")


class Read(NamedTuple):
    """The version of a passage that was read, and what a view of it inherits."""

    seq: int
    version: int
    expires_at: int | None
    level: int
    ruled: bool
    """Whether only some may read it, by rules of its own."""


class SpaceCorpus:
    """A space as a session reads it: through the caller's rights, each time as it then is. Sources only, no views."""

    def __init__(self, space: Space, question: str, where: Mapping[str, Any]) -> None:
        self._space, self._question = space, question
        self._where = conditions(**where)
        self._ranking = Plain()
        self.passages: dict[str, Passage] = {}
        """All that were read, by id."""
        self._read: dict[str, Read] = {}

    # -- what a session asks --
    def retrieve(self, query: SubQuery, limits: Limits) -> Retrieved:
        def look(question: Question, view: View) -> Retrieved:
            graph = graph_of(view)
            scores = bridged(question, view, self._ranking.ranking(question, view).scores).astype(np.float64)
            wanted = Wanted(query.text, graph.numbers(query.near), graph.numbers(query.away), query.deep)
            gathered = retrieve(graph, view.allowed, scores, wanted, limits)
            rows = [*gathered.rows, *gathered.ranked, *graph.passage_of(np.array(gathered.units, dtype=np.int64)).tolist()]
            passages = self._passages(view, list(dict.fromkeys(rows)))
            return retrieved_from(graph, gathered, passages, scores, _weights(query.text, view))

        return self._looked(query.text, look)  # type: ignore[no-any-return]

    def neighbours(self, names: Iterable[str], most: int) -> tuple[str, ...]:
        def look(question: Question, view: View) -> tuple[str, ...]:
            graph = graph_of(view)
            return neighbours(graph, graph.numbers(names), view.allowed, most)

        return self._looked(self._question, look)  # type: ignore[no-any-return]

    def readable(self, passages: Iterable[str]) -> frozenset[str]:
        def look(question: Question, view: View) -> frozenset[str]:
            seqs = view.index.seq.view()
            return frozenset(
                id_ for id_ in passages if id_ in self._read
                and any(view.allowed[row] and int(seqs[row]) == self._read[id_].seq for row in view.index.rows_of(UUID(id_)))
            )  # fmt: skip

        return self._looked(self._question, look)  # type: ignore[no-any-return]

    def embed(self, texts: Sequence[str]) -> Vectors | None:
        return self._space.system.embedding.matrix(texts)

    def read(self, passage: str) -> Read:
        """How a passage was when it was read."""
        return self._read[passage]

    def _looked(self, text: str, look: Callable[[Question, View], Any]) -> Any:
        looking = _Looking(look)
        with found(self._space, text, 1, self._where, looking, None, None):
            return looking.seen

    def _passages(self, view: View, rows: Sequence[int]) -> dict[int, Passage]:
        index = view.index
        out: dict[int, Passage] = {}
        for row, content in zip(rows, view.contents(rows), strict=True):
            id_, thread = str(content.id), int(index.thread.view()[row])
            whole = whole_of(content)
            document = str(whole) if whole != content.id or thread < 0 else f"thread {index.threads.words[thread]}"
            out[row] = Passage(id_, content.text or "", document, int(index.first.view()[row]), content.author, content.event_at)
            self.passages[id_] = out[row]
            level = label_level(content.sensitivity)
            self._read[id_] = Read(int(index.seq.view()[row]), content.version, content.expires_at, level, bool(index.acl.view()[row] >= 0))
        return out


def _weights(text: str, view: View) -> dict[int, float]:
    """How telling each term of a sub-query is among the rows that may be seen."""
    hashes = query_terms(text).hashes[:_MOST_TERMS]
    held = view.index.lexical.holding(hashes)[view.allowed]
    counts = [int(np.count_nonzero(held >> at & 1)) for at in range(len(hashes))]
    weights = [max(math.log((len(held) + 1) / (count + 0.5)), 0.0) if count else 0.0 for count in counts]
    return dict(zip(hashes.tolist(), weights, strict=True))
