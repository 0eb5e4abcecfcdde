"""The memory of concepts: entries by name, merged by ArcMemo's rule, with aliases, the table of types, lessons and solutions.

A name alone does not say that two annotations mean the same: their signatures have to be compatible and, where vectors are at hand, what they say
not to be far apart; else the newcomer gets a name of its own. A concept under another name with the same signature and nearly the same words becomes
an alias. Every merge can be taken back, in any order, because an entry is always what its annotations come to (these checks are ours).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Invalid, NotFound, shown
from mnemos.text.concepts.concept import Concept, Lesson, Solution, compatible, lines_of, same_signature
from mnemos.text.concepts.types import TypeTable
from mnemos.text.trajectories.credit import Counts

Embed = Callable[[Sequence[str]], NDArray[np.float32] | None]
"""Unit vectors (n, d) of texts; None where there is no embedder."""
ALIKE = 0.92
"""Cosine from which on concepts of one signature and two names are the same (the threshold of procedures, `trajectories.duplicates`)."""
APART = 0.1
"""Cosine below which descriptions under one name speak of different things. Ours: paraphrases of one sentence lie far above it."""
IDLE = 200
"""Problems after which a concept that was selected for none of them is shown by name alone; it is never deleted for that."""


@dataclass(frozen=True, slots=True)
class Merge:
    """What came of an annotation: the entry that it went to, and how ("new", "same name", "alias", "split": the name was taken by something else).
    `changed` is False where it was there already. `unmerge` takes it back."""

    name: str
    how: str
    annotation: Concept
    changed: bool = True


@dataclass
class Entry:
    """An entry: the annotations that it is made of, and the solutions that use it beside those that they name."""

    annotations: list[Concept] = field(default_factory=list)
    uses: tuple[str, ...] = ()

    def folded(self, name: str) -> Concept:
        first, *rest = self.annotations
        out = first if first.name == name else replace(first, name=name, aliases=(*first.aliases, first.name))
        for one in rest:
            out = out.merged(one)
        if self.uses:
            out = out.merged(Concept(name, out.kind, used_in=self.uses))
        return replace(out, aliases=tuple(one for one in out.aliases if one != name))


class ConceptMemory:
    """Concepts, lessons, solutions and types. `embed` serves the checks of names. Not safe for several threads without a lock."""

    def __init__(self, embed: Embed | None = None) -> None:
        self.entries: dict[str, Entry] = {}
        self.lessons: list[Lesson] = []
        self.solutions: dict[str, Solution] = {}
        self.types = TypeTable()
        self.changes = 0
        """Goes up with every change: what was derived from the memory shows by it whether it is of today."""
        self.problems = 0
        """Problems for which a selection was noted."""
        self._selections: dict[str, tuple[int, int, int]] = {}
        self._embed = embed
        self._folded: dict[str, Concept] = {}

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.resolve(name) is not None

    def __getitem__(self, name: str) -> Concept:
        found = self.resolve(name)
        if found is None:
            raise NotFound(f"concepts: there is no {shown(name)}; `names` lists those that there are")
        if found not in self._folded:
            self._folded[found] = self.entries[found].folded(found)
        return self._folded[found]

    @property
    def names(self) -> list[str]:
        return list(self.entries)

    def concepts(self) -> list[Concept]:
        """All concepts, in the order in which they came."""
        return [self[name] for name in self.entries]

    def resolve(self, name: str) -> str | None:
        """The entry that a name or an alias means; None where there is none."""
        name = " ".join(name.split())
        if name in self.entries:
            return name
        return next((one for one in self.entries if name in self._of(one).aliases), None)

    # -- writing --
    def merge(self, annotation: Concept | Mapping[str, Any]) -> Merge:
        """Take in an annotation. Raises `Invalid` for what is no concept, an unknown kind among it."""
        given = annotation if isinstance(annotation, Concept) else Concept.from_json(annotation)
        self.types.harvest(given.output_typing, given.routine_subtype, *(one.typing for one in given.parameters))
        name, how = self._place(given)
        entry = self.entries.setdefault(name, Entry())
        changed = given not in entry.annotations
        if changed:
            entry.annotations.append(given)
            self._touched(name)
        return Merge(name, how, given, changed)

    def unmerge(self, merge: Merge) -> None:
        """Take a merge back: the entry is what its other annotations come to, and goes where none is left. Raises `NotFound` where it was taken
        back before."""
        entry = self.entries.get(merge.name)
        if not merge.changed:
            return
        if entry is None or merge.annotation not in entry.annotations:
            raise NotFound(f"concepts: {shown(merge.name)} holds no such annotation; it was taken back before")
        entry.annotations.remove(merge.annotation)
        self._touched(merge.name)
        if not entry.annotations:
            del self.entries[merge.name]

    def used(self, name: str, solution: str) -> None:
        """Note that a solution uses a concept, once."""
        found = self.resolve(name)
        if found is None:
            raise NotFound(f"concepts: there is no {shown(name)}")
        entry = self.entries[found]
        if solution not in entry.uses:
            entry.uses = (*entry.uses, solution)
            self._touched(found)

    def compress(self, name: str, cues: Iterable[str], implementation: Iterable[str]) -> Concept:
        """Put fewer lines in the place of those of a concept; its annotations become one. Raises `NotFound`."""
        whole = self[name]
        made = replace(whole, cues=tuple(cues), implementation=tuple(implementation))
        self.entries[whole.name] = Entry([made], self.entries[whole.name].uses)
        self._touched(whole.name)
        return self[whole.name]

    def add_lesson(self, lesson: Lesson) -> None:
        if lesson not in self.lessons:
            self.lessons.append(lesson)
            self.changes += 1

    def add_solution(self, solution: Solution) -> None:
        """Keep a verified solution; a later one of the same problem takes its place. Its concepts, where they are held, are used in it."""
        self.solutions[solution.id] = solution
        self.changes += 1
        for name in solution.concepts:
            if name in self:
                self.used(name, solution.id)

    def _touched(self, name: str) -> None:
        self._folded.pop(name, None)
        self.changes += 1

    # -- credit --
    def note_selection(self, names: Iterable[str], solved: bool) -> None:
        """Note for which problem's solution concepts were selected, and whether that succeeded."""
        self.problems += 1
        for name in {found for one in names if (found := self.resolve(one)) is not None}:
            selected, won, _ = self._selections.get(name, (0, 0, 0))
            self._selections[name] = selected + 1, won + solved, self.problems

    def counts(self, name: str) -> Counts:
        """How often a concept was selected (`f`), and how many of these problems were solved (`u`)."""
        selected, won, _ = self._selections.get(name, (0, 0, 0))
        return Counts(selected, won)

    def set_selections(self, problems: int, selections: Mapping[str, tuple[int, int, int]]) -> None:
        """Put counts that were kept elsewhere in the place of these: of problems, and for each concept how often it was selected, how many of these
        were solved, and for which problem it was last."""
        self.problems, self._selections = problems, dict(selections)

    def idle(self) -> list[str]:
        """Concepts that were selected for none of the last 200 problems."""
        return [name for name in self.entries if self.problems - self._selections.get(name, (0, 0, 0))[2] >= IDLE]

    def _place(self, given: Concept) -> tuple[str, str]:
        held = self.resolve(given.name)
        if held is None:
            other = self._synonym(given)
            return (other, "alias") if other is not None else (given.name, "new")
        number, name = 1, held
        while name in self.entries:
            if self._same(self._of(name), given):
                return name, "same name" if number == 1 else "split"
            number += 1
            name = f"{given.name} ({number})"
        return name, "split"

    def _same(self, held: Concept, given: Concept) -> bool:
        if not compatible(held, given):
            return False
        if not (held.description and given.description):
            return True
        cosine = self._cosines(given.description, [held.description])
        return cosine is None or bool(cosine[0] >= APART)

    def _synonym(self, given: Concept) -> str | None:
        names = [name for name in self.entries if same_signature(self._of(name), given)]
        if not names or not (given.description or given.cues):
            return None
        cosines = self._cosines(_said(given), [_said(self._of(name)) for name in names])
        if cosines is None or cosines.max() < ALIKE:
            return None
        return names[int(cosines.argmax())]

    def _cosines(self, text: str, others: Sequence[str]) -> NDArray[np.float32] | None:
        vectors = self._embed([text, *others]) if self._embed is not None else None
        return None if vectors is None else vectors[1:] @ vectors[0]

    def _of(self, name: str) -> Concept:
        if name not in self._folded:
            self._folded[name] = self.entries[name].folded(name)
        return self._folded[name]

    # -- as a whole --
    def as_json(self) -> dict[str, Any]:
        """Everything, as plain JSON values."""
        return {
            "concepts": {name: {"annotations": [one.as_json() for one in entry.annotations], "uses": list(entry.uses)}
                         for name, entry in self.entries.items()},
            "lessons": [one.as_json() for one in self.lessons],
            "solutions": [one.as_json() for one in self.solutions.values()],
            "types": self.types.as_json(),
            "problems": self.problems,
            "selections": {name: list(told) for name, told in self._selections.items()},
        }  # fmt: skip

    @classmethod
    def from_json(cls, record: object, embed: Embed | None = None) -> ConceptMemory:
        """The memory that `as_json` described. Raises `Invalid`, naming what is wrong."""
        if not isinstance(record, Mapping) or not isinstance(record.get("concepts"), Mapping):
            raise Invalid(f"concepts: expected a dict with concepts, lessons, solutions and types, not {shown(record)}")
        memory = cls(embed)
        for name, told in record["concepts"].items():
            if not isinstance(told, Mapping) or not isinstance(told.get("annotations"), list) or not told["annotations"]:
                raise Invalid(f"concepts: {shown(name)}: expected its annotations")
            memory.entries[name] = Entry([Concept.from_json(one) for one in told["annotations"]], lines_of(told.get("uses"), "uses"))
        for part in ("lessons", "solutions"):
            if not isinstance(record.get(part, []), (list, tuple)):
                raise Invalid(f"concepts: {part}: expected a list, not {shown(record[part])}")
        memory.lessons = [Lesson.from_json(one) for one in record.get("lessons", ())]
        memory.solutions = {one.id: one for one in map(Solution.from_json, record.get("solutions", ()))}
        memory.types = TypeTable(_lists(record.get("types", {}), "types", str, None))
        told = _lists(record.get("selections", {}), "selections", int, 3)
        problems = record.get("problems", 0)
        if not isinstance(problems, int) or isinstance(problems, bool) or problems < 0:
            raise Invalid(f"concepts: problems: expected a whole number, not {shown(problems)}")
        memory.set_selections(problems, {name: (one[0], one[1], one[2]) for name, one in told.items()})
        return memory

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ConceptMemory) and self.as_json() == other.as_json()

    __hash__ = None  # type: ignore[assignment]


def _said(concept: Concept) -> str:
    return "; ".join([*([concept.description] if concept.description else []), *concept.cues])


def _lists(value: object, name: str, of: type, length: int | None) -> dict[str, list[Any]]:
    """A dict of lists of one type, of `length` where that is given."""
    if not isinstance(value, Mapping):
        raise Invalid(f"concepts: {name}: expected a dict, not {shown(value)}")
    for one in value.values():
        if not isinstance(one, (list, tuple)) or not one or not all(type(part) is of for part in one) or len(one) != (length or len(one)):
            raise Invalid(f"concepts: {name}: expected lists of {length or 'some'} {of.__name__}, not {shown(one)}")
    return {str(key): list(one) for key, one in value.items()}
