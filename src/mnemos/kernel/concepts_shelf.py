"""A memory of concepts as memories of a space: solutions, concepts and lessons as cubes, counts of selections as counters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mnemos.base.cube import Link, MemCube
from mnemos.base.errors import Invalid
from mnemos.base.ids import parse_id
from mnemos.base.lineage import VIEW_OF
from mnemos.kernel.procedures.keeping import cubes_of, highest_label
from mnemos.kernel.rights.governance import label_level
from mnemos.kernel.writing import writes
from mnemos.store.base import Snapshot
from mnemos.store.sqlite_write import Writer
from mnemos.text.concepts.concept import Concept, Lesson, Solution
from mnemos.text.concepts.domain import Domain
from mnemos.text.concepts.memory import ConceptMemory, Embed, Entry
from mnemos.text.concepts.retrieving import fills
from mnemos.text.concepts.solving import settled
from mnemos.text.concepts.terms import read_term
from mnemos.text.encoding import LONGEST_WHOLE

if TYPE_CHECKING:
    from mnemos.kernel.space import Space

CONCEPT, SOLUTION, LESSON = "concept", "solution", "lesson"
"""Types of the cubes. Their records stand in the metadata under the same words."""
MOST_SOURCES = 20
"""Solutions that a concept is a view of, at most: the first from which it was abstracted. The others say themselves what they use."""


@dataclass
class Shelf:
    """A memory as it is at a position of the log, and which cube holds what: ids by name of the concept, and by problem of the solution."""

    space: Space
    domain: Domain
    position: int
    memory: ConceptMemory
    concepts: dict[str, str]
    solutions: dict[str, str]

    @classmethod
    def read(cls, space: Space, domain: Domain, embed: Embed, snapshot: Snapshot) -> Shelf:
        """The memory of one domain, as the caller may read it."""
        memory = ConceptMemory(embed)
        shelf = cls(space, domain, snapshot.position, memory, {}, {})
        for cube, record in shelf._records(SOLUTION):
            solution = Solution.from_json(record)
            memory.solutions[solution.id] = solution
            shelf.solutions[solution.id] = cube.id
        for cube, record in shelf._records(CONCEPT):
            annotations = [Concept.from_json(one) for one in record.get("annotations", ())]
            name = record.get("name")
            if not annotations or not isinstance(name, str):
                raise Invalid(f"cube {cube.id} is of type {cube.type!r} and holds no concept; add concepts with `space.concepts`")
            memory.entries[name] = Entry(annotations)
            shelf.concepts[name] = cube.id
            for one in annotations:
                memory.types.harvest(one.output_typing, one.routine_subtype, *(parameter.typing for parameter in one.parameters))
        memory.lessons = [Lesson.from_json(record) for _, record in shelf._records(LESSON)]
        settled(memory, domain)
        shelf._count(snapshot)
        return shelf

    def _records(self, type: str) -> Iterable[tuple[MemCube, Mapping[str, Any]]]:
        """The cubes of a type that are of this domain, oldest first, whenever they were revised, each with its record."""
        for cube in sorted(cubes_of(self.space, type), key=lambda one: one.id):
            record = cube.metadata.get(type)
            if isinstance(record, Mapping) and cube.metadata.get("domain") == self.domain.name:
                yield cube, record

    # -- writing, within a transaction --
    def write_solution(self, solution: Solution, fields: Mapping[str, Any]) -> str:
        """A solution as it was found, in primitives: which concepts it can be written with follows from those. Gives the id."""
        record = replace(solution, term=solution.solution if solution.term else "", concepts=() if solution.term else solution.concepts)
        text = _short(f"{solution.id}: {solution.summary or 'solved'}\n{record.term or solution.pseudocode}".strip())
        metadata = {SOLUTION: record.as_json(), "domain": self.domain.name}
        cube = writes.add(self.space, text, {"type": SOLUTION, "origin": "inference", **fields, "metadata": metadata})
        self.solutions[solution.id] = cube.id
        return cube.id

    def write_concept(self, name: str, sources: Sequence[str]) -> None:
        """A concept that rests on `sources` (ids of problems), or, where it is there already, its next version, which rests on them, too."""
        concept = self.memory[name]
        record = {"name": name, "annotations": [replace(one, used_in=()).as_json() for one in self.memory.entries[name].annotations]}
        text, id = _short(concept.text), self.concepts.get(name)
        cubes = [self.space.get(self.solutions[one]) for one in sources]
        label = highest_label(cubes)  # of all, though links are made to the first of them
        links = [Link(parse_id(cube.id), cube.version, VIEW_OF) for cube in cubes[:MOST_SOURCES]]
        edges = [{"to": cube.id, "kind": "used_in", "weight": 1.0} for cube in cubes[:MOST_SOURCES]]
        if id is not None:
            held = self.space.get(id)
            linked = {str(link.id) for link in held.derived_from}
            metadata = {**held.metadata, CONCEPT: record, "edges": held.metadata["edges"] + [one for one in edges if one["to"] not in linked]}
            more = [link for link in links if str(link.id) not in linked]
            fields: dict[str, Any] = {"text": text, "metadata": metadata, "derived_from": [*held.derived_from, *more]}
            if label_level(label) > label_level(held.sensitivity):
                fields["sensitivity"] = label
            writes.revise(self.space, parse_id(id), fields)
            return
        used = read_term(concept.program).routines() if concept.program and "(" in concept.program else []
        edges += [{"to": self.concepts[one], "kind": "uses", "weight": 1.0} for one in used if one in self.concepts]
        edges += [{"to": self.concepts[one], "kind": "parameter", "weight": 1.0} for one in self._fitting(concept)]
        metadata = {CONCEPT: record, "domain": self.domain.name, "edges": edges}
        fields = {"type": CONCEPT, "origin": "inference", "tags": [concept.kind], "metadata": metadata, "derived_from": links}
        self.concepts[name] = writes.add(self.space, text, {**fields, "sensitivity": label}).id

    def _fitting(self, concept: Concept) -> list[str]:
        """Concepts that are there already and could be given as its parameters, but for what a problem's input is."""
        wanted = [type for type in concept.parameter_types() if type is not None and type != self.domain.input]
        return [name for name in self.concepts if name != concept.name and any(fills(self.memory[name], type) for type in wanted)]

    def write_lesson(self, lesson: Lesson) -> None:
        """A lesson, as a view of its solution."""
        cube = self.space.get(self.solutions[lesson.source])
        metadata = {LESSON: lesson.as_json(), "domain": self.domain.name}
        links = [Link(parse_id(cube.id), cube.version, VIEW_OF)]
        fields = {"type": LESSON, "origin": "inference", "metadata": metadata, "derived_from": links, "sensitivity": highest_label([cube])}
        writes.add(self.space, _short(f"When {lesson.situation}: try {lesson.suggestion}"), fields)

    # -- credit --
    def credit(self, transaction: Writer, selected: Iterable[str], solved: bool) -> None:
        """Count a problem: what was selected for it, and whether it was solved."""
        now = transaction.count_up(self._counter("problems"))
        for name in {self.memory.resolve(one) for one in selected} - {None}:
            at = self.concepts.get(str(name))
            if at is not None:
                transaction.count_up(self._counter(f"{at}/f"))
                transaction.count_up(self._counter(f"{at}/u"), int(solved))
                transaction.count_up(self._counter(f"{at}/last"), now - transaction.counter(self._counter(f"{at}/last")))

    def _count(self, snapshot: Snapshot) -> None:
        read = snapshot.counter
        told = {}
        for name, id in self.concepts.items():
            selected = read(self._counter(f"{id}/f"))
            if selected:
                told[name] = (selected, read(self._counter(f"{id}/u")), read(self._counter(f"{id}/last")))
        self.memory.set_selections(read(self._counter("problems")), told)

    def _counter(self, what: str) -> str:
        return f"concepts/{self.space.num}/{self.domain.name}/{what}"


def _short(text: str) -> str:
    """As much as a memory holds in one piece: a document of parts would copy the record into each."""
    return text if len(text) <= LONGEST_WHOLE else text[: LONGEST_WHOLE - 1] + "…"
