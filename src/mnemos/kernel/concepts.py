"""Concepts of a space: durable memories of type "concept", views of the solutions that they were abstracted from (ArcMemo, arXiv 2509.04439).

What is stored are verified solutions, what was said of each concept, and lessons. How solutions are written with the concepts that there are, and
what is used in what, follows from these and is derived when they are read.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from numpy.typing import NDArray

from mnemos.base.errors import Invalid, StoreUnavailable
from mnemos.base.protocols import ChatModel
from mnemos.kernel.concepts_shelf import Shelf
from mnemos.store.sqlite_write import Writer
from mnemos.text.concepts.coding import Coded, Coder
from mnemos.text.concepts.concept import Concept, Lesson, Problem, Solution
from mnemos.text.concepts.domain import Domain
from mnemos.text.concepts.domains.grid import grid_domain
from mnemos.text.concepts.executing import Executor
from mnemos.text.concepts.memory import ConceptMemory
from mnemos.text.concepts.modelled import Thinker
from mnemos.text.concepts.rendering import SELECTED, rendered
from mnemos.text.concepts.retrieving import MOST, Retriever
from mnemos.text.concepts.selecting import Selector
from mnemos.text.concepts.solving import Outcome, Settings, Solver
from mnemos.text.trajectories.credit import Counts

if TYPE_CHECKING:
    from mnemos.kernel.space import Space


@dataclass(frozen=True, slots=True)
class Learnt:
    """What came of outcomes: ids of memories that were written (solutions, new concepts, concepts that were revised), and what was not taken."""

    solutions: tuple[str, ...] = ()
    concepts: tuple[str, ...] = ()
    revised: tuple[str, ...] = ()
    rejected: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class _Said:
    """What a model made of programs that hold."""

    solutions: tuple[Solution, ...] = ()
    annotations: tuple[Concept, ...] = ()
    lessons: tuple[Lesson, ...] = ()
    rejected: tuple[tuple[str, str], ...] = ()


class Concepts:
    """What solving problems of one domain has taught. Get it as `space.concepts`, for grids; safe to use from many threads.

    Without a model problems are solved by typed search. With one (`chat`, by default the store's) what a search does not solve is tried by programs
    that the model writes, run in a process of their own (`executor`); `thinker.report` counts what it was asked. Only what reproduces a problem's
    own pairs is learnt from. Forgetting a solution forgets the concepts and lessons that were abstracted from it.
    """

    def __init__(
        self,
        space: Space,
        domain: Domain | None = None,
        settings: Settings | None = None,
        *,
        chat: ChatModel | None = None,
        executor: Executor | None = None,
    ) -> None:
        chat = chat if chat is not None else space.system.chat if isinstance(space.system.chat, ChatModel) else None
        self.space = space
        self.domain = domain if domain is not None else grid_domain()
        self.settings = settings if settings is not None else Settings()
        self.thinker = None if chat is None else Thinker(chat)
        self._executor = executor
        self._shelf: Shelf | None = None
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"Concepts of {self.space!r}, {self.domain.name}"

    def __len__(self) -> int:
        return len(self.memory())

    # -- using --
    def memory(self) -> ConceptMemory:
        """The memory as the caller may read it, as a copy."""
        return ConceptMemory.from_json(self._present().as_json(), self._embedded)

    def get(self, name: str) -> Concept:
        """A concept by its name or an alias. Raises `NotFound`."""
        return self._present()[name]

    def id_of(self, name: str) -> str:
        """The id of the memory that holds a concept: for its history, rights, and lineage. Raises `NotFound`."""
        self.space.admit("read")
        with self._lock:
            shelf = self._read()
            return shelf.concepts[shelf.memory[name].name]

    def solve(self, problem: Problem, *, budget: int | None = None, step: int = 0) -> Outcome | Coded:
        """Solve a problem with what is known; nothing is learnt until `learn` is told. Its `attempts` are the answers for the test inputs."""
        memory = self._present()
        found = Solver(self.domain, memory, self.settings, self._embedded).solve(problem, budget=budget, step=step)
        if found.solved or self.thinker is None:
            return found
        among = self._retriever(memory).shortlist(sorted(self.domain.features(problem)), problem.description) if len(memory) > MOST else None
        coded = Coder(self.thinker, memory, self._executor).solve(problem, among)
        return coded if coded.solved else found

    def select(self, problem: Problem, most: int = MOST) -> list[Concept]:
        """The concepts that a problem calls for, best first, and those that fit their parameters: by a model where there is one."""
        memory = self._present()
        names = self._retriever(memory).shortlist(sorted(self.domain.features(problem)), problem.description, most=most, given=[self.domain.input])
        told = self.thinker.select(memory, problem, names) if self.thinker is not None else None
        return [memory[name] for name in (told or names)]

    def hint(self, problem: Problem, most: int = MOST) -> str:
        """The concepts that a problem calls for, as text for a prompt; what was selected for none of the last 200 problems by name alone."""
        chosen, memory = self.select(problem, most), self._present()
        idle = set(memory.idle())
        return rendered([one for one in chosen if one.name not in idle], memory.types, SELECTED, [one.name for one in chosen if one.name in idle])

    def counts(self, name: str) -> Counts:
        """For how many problems a concept was selected (`f`), and how many of them were solved (`u`). Raises `NotFound`."""
        memory = self._present()
        return memory.counts(memory[name].name)

    # -- learning --
    def learn(self, outcomes: Iterable[Outcome | Coded], **fields: Any) -> Learnt:
        """Verify what was solved once more, abstract it, and keep what is new, in one transaction. `fields` are keywords of `Space.add` for the
        solutions. A model, where there is one, is asked before anything is locked. Raises as `Space.add`."""
        self.space.admit("write")
        given = list(outcomes)
        searched = [one for one in given if isinstance(one, Outcome)]
        coded = [one for one in given if isinstance(one, Coded)]
        if len(searched) + len(coded) < len(given):
            raise Invalid("learn: expected outcomes of `solve`")
        if coded and self.thinker is None:
            raise Invalid("learn: programs of a model need it to be abstracted; give `chat`")
        said = self._abstracted(coded)
        with self._lock, self._changing() as (transaction, shelf):
            learnt = self._keep(searched, said, fields, shelf)
            for one in given:
                if isinstance(one, Coded) or self.settings.select is not None:
                    shelf.credit(transaction, one.selected, one.solved)
        return replace(learnt, rejected=(*said.rejected, *learnt.rejected))

    def run(self, problems: Sequence[Problem], **fields: Any) -> list[list[Outcome | Coded]]:
        """The continual loop of ArcMemo: batches, each learnt from before the next, what is unsolved tried again in the next pass; as many of both as
        the settings say."""
        out: list[list[Outcome | Coded]] = [[] for _ in problems]
        for step in range(self.settings.passes):
            left = [number for number, told in enumerate(out) if not any(one.solved for one in told)]
            for at in range(0, len(left), self.settings.batch):
                part = left[at : at + self.settings.batch]
                for number in part:
                    out[number].append(self.solve(problems[number], step=step))
                if self.settings.learn:
                    self.learn([out[number][-1] for number in part], **fields)
        return out

    def merge(self, annotation: Concept | Mapping[str, Any]) -> str:
        """Take in an annotation of a concept, as a person or a program gives it; gives the id of the memory. `space.rollback` takes it back. Raises
        `Invalid`, and as `Space.add`."""
        self.space.admit("write")
        given = annotation if isinstance(annotation, Concept) else Concept.from_json(annotation)
        with self._lock, self._changing() as (_, shelf):
            merge = shelf.memory.merge(given)
            if merge.changed:
                shelf.write_concept(merge.name, ())
            return shelf.concepts[merge.name]

    def compress(self, name: str) -> bool:
        """Let the model write fewer lines for a concept, as a new version; gives whether it did. Raises `NotFound`, `Invalid` without a model."""
        if self.thinker is None:
            raise Invalid("compress: needs a model; give `chat`")
        self.space.admit("write")
        before = self.get(name)
        told = self.thinker.compress(before)
        with self._lock, self._changing() as (_, shelf):
            if told is None or shelf.memory[name] != before:  # changed meanwhile
                return False
            if (tuple(told[0]), tuple(told[1])) == (before.cues, before.implementation):
                return False
            shelf.memory.compress(name, *told)
            shelf.write_concept(before.name, ())
            return True

    def export(self, path: str | Path) -> int:
        """Write the whole memory to a file of JSON; give how many concepts. Raises `StoreUnavailable`."""
        memory = self.memory()
        try:
            Path(path).write_bytes(orjson.dumps(memory.as_json(), option=orjson.OPT_INDENT_2))
        except OSError as error:
            raise StoreUnavailable(f"{path}: cannot be written ({error.strerror}); give another path") from None
        return len(memory)

    def load(self, path: str | Path) -> int:
        """Take in what `export` wrote, beside what is there; all or nothing. Gives how many concepts. Raises `Invalid`, `StoreUnavailable`."""
        self.space.admit("write")
        try:
            other = ConceptMemory.from_json(orjson.loads(Path(path).read_bytes()))
        except OSError as error:
            raise StoreUnavailable(f"{path}: cannot be read ({error.strerror})") from None
        except orjson.JSONDecodeError as error:
            raise Invalid(f"{path}: is no JSON ({error})") from None
        with self._lock, self._changing() as (_, shelf):
            memory = shelf.memory
            for solution in other.solutions.values():
                if solution.id not in memory.solutions:
                    memory.solutions[solution.id] = solution
                    shelf.write_solution(solution, {})
            merges = [memory.merge(one) for entry in other.entries.values() for one in entry.annotations]
            for name in dict.fromkeys(merge.name for merge in merges if merge.changed):
                users = [solution.id for solution in other.solutions.values() if name in solution.concepts]
                shelf.write_concept(name, [id for id in users if id in shelf.solutions])
            for lesson in other.lessons:
                if lesson not in memory.lessons and lesson.source in shelf.solutions:
                    memory.add_lesson(lesson)
                    shelf.write_lesson(lesson)
        return len(other)

    # -- within a transaction --
    def _abstracted(self, coded: Sequence[Coded]) -> _Said:
        """What a model makes of its programs: what is new beside a copy of the memory, and nothing of the copy, which may be forgotten meanwhile."""
        if not coded or self.thinker is None:
            return _Said()
        copy = self.memory()
        lessons = list(copy.lessons)
        told = Coder(self.thinker, copy, self._executor).learn(coded)
        return _Said(
            tuple(copy.solutions[id] for id in told.solutions), tuple(merge.annotation for merge in told.merges),
            tuple(one for one in copy.lessons if one not in lessons), told.rejected,
        )  # fmt: skip

    def _keep(self, searched: Sequence[Outcome], said: _Said, fields: Mapping[str, Any], shelf: Shelf) -> Learnt:
        memory = shelf.memory
        before = {name: list(entry.annotations) for name, entry in memory.entries.items()}
        solved, lessons = set(memory.solutions), list(memory.lessons)
        for solution in said.solutions:
            memory.solutions.setdefault(solution.id, solution)
        for annotation in said.annotations:
            memory.merge(annotation)
        for lesson in said.lessons:
            memory.add_lesson(lesson)
        told = Solver(self.domain, memory, self.settings, self._embedded).learn(one for one in searched if one.problem.id not in solved)
        fresh = [id for id in memory.solutions if id not in solved]
        solutions = [shelf.write_solution(memory.solutions[id], fields) for id in fresh]
        made: list[str] = []
        revised: list[str] = []
        for name, entry in list(memory.entries.items()):
            if entry.annotations != before.get(name):
                known = name in shelf.concepts
                (revised if known else made).append(name)
                shelf.write_concept(name, [id for id in memory[name].used_in if id in (fresh if known else shelf.solutions)])
        for lesson in memory.lessons:
            if lesson not in lessons and lesson.source in fresh:
                shelf.write_lesson(lesson)
        ids = shelf.concepts
        return Learnt(tuple(solutions), tuple(ids[name] for name in made), tuple(ids[name] for name in revised), told.rejected)

    @contextmanager
    def _changing(self) -> Iterator[tuple[Writer, Shelf]]:
        """A transaction over the memory as it is within it. What is held is read anew afterwards."""
        try:
            with self.space.system.writing(alone=True) as transaction:
                self.space.settings_for(transaction, "write")
                yield transaction, Shelf.read(self.space, self.domain, self._embedded, transaction)
        finally:
            self._shelf = None

    def _present(self) -> ConceptMemory:
        """The memory as it is, to be read alone: nobody changes it, a newer one takes its place."""
        self.space.admit("read")
        with self._lock:
            return self._read().memory

    def _read(self) -> Shelf:
        """The memory as it is, to be used under the lock."""
        with self.space.system.snapshot() as snapshot:
            if self._shelf is None or self._shelf.position != snapshot.position:
                self._shelf = Shelf.read(self.space, self.domain, self._embedded, snapshot)
            return self._shelf

    def _retriever(self, memory: ConceptMemory) -> Retriever:
        return Retriever(memory.concepts(), Selector(memory.solutions.values()), self._embedded, memory.counts)

    def _embedded(self, texts: Sequence[str]) -> NDArray[np.float32] | None:
        made = self.space.system.embedding.vectors(texts) if texts else None
        return None if made is None else np.stack([np.frombuffer(vector, dtype=np.float32) for vector in made])
