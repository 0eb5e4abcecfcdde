"""From runs to entries: what was distilled is checked, set against what is there, and written with the runs that it rests on, all or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mnemos.base.cube import MemCube
from mnemos.kernel.procedures import keeping
from mnemos.text.procedures.distilling import Lesson, in_common
from mnemos.text.procedures.procedure import LONGEST, Procedure, Standing
from mnemos.text.trajectories.trajectory import Trajectory
from mnemos.text.trajectories.validation import Verdict, by_rules

if TYPE_CHECKING:
    from mnemos.kernel.procedures.service import Procedures


@dataclass(frozen=True, slots=True)
class Learnt:
    """What came of lessons: ids of entries that were added, that advise something else now, and that were found again; what was not kept, and why;
    and the runs that were stored."""

    added: tuple[str, ...] = ()
    revised: tuple[str, ...] = ()
    reinforced: tuple[str, ...] = ()
    rejected: tuple[tuple[Procedure, str], ...] = ()
    trajectories: tuple[str, ...] = ()


class Learning:
    """One transaction's work. `failed_with` names entries that a run of these tasks had in its prompt when it failed."""

    def __init__(self, service: Procedures, runs: Sequence[Trajectory], failed_with: Iterable[str], fields: Mapping[str, Any]) -> None:
        self._service = service
        self._space = service.space
        self._runs = runs
        self._failed_with = set(failed_with)
        self._fields = fields
        self._written: dict[int, MemCube] = {}
        self._rejected: list[tuple[Procedure, str]] = []
        self._added: list[str] = []
        self._revised: list[str] = []
        self._reinforced: list[str] = []

    def keep(self, lessons: Sequence[Lesson], verdicts: Sequence[Verdict | None]) -> Learnt:
        """Write what of the lessons is new. `verdicts`: a judge's on what a model wrote; None leaves it to the rules. To be called within a
        transaction."""
        service = self._service
        pool = service.pool()
        held = keeping.supported(self._space, service.ledger, pool.entries)
        passed: list[Lesson] = []
        for lesson, judged in zip(lessons, verdicts, strict=True):
            verdict = judged if judged is not None else by_rules(lesson.procedure, held.values())
            if len(lesson.procedure.text) > LONGEST:
                verdict = Verdict(False, 0.0, f"is longer than {LONGEST:,} characters")
            if verdict.kept:
                passed.append(Lesson(replace(lesson.procedure, score=verdict.score), lesson.sources))
            else:
                self._rejected.append((lesson.procedure, verdict.reason or f"the judge's score is {verdict.score:.2f}"))
        repeats = pool.repeated([lesson.procedure for lesson in passed], service.settings.repeated)
        ids: list[str | None] = []
        for lesson, repeat in zip(passed, repeats, strict=True):
            if isinstance(repeat, int):
                repeat = ids[repeat]
                if repeat is None:  # what it repeats was not kept either
                    ids.append(None)
                    continue
            ids.append(self._settled(lesson, repeat))
        written = tuple(self._written[number].id for number in sorted(self._written))
        return Learnt(tuple(self._added), tuple(self._revised), tuple(self._reinforced), tuple(self._rejected), written)

    def _settled(self, lesson: Lesson, repeat: str | None) -> str | None:
        """The entry that a lesson became, or was found to repeat; None where it was not kept."""
        if repeat is not None and repeat in self._service.pool():  # what was absorbed meanwhile is there no more
            return self._reinforce(repeat, lesson)
        procedure = lesson.procedure
        related = {id: how for id, one in self._service.pool().entries.items() if (how := procedure.stands_to(one)) is not None}
        target = next((id for id, how in related.items() if how in (Standing.SAME, Standing.LONGER) and id not in self._failed_with), None)
        if target is not None:
            return self._reinforce(target, lesson)
        target = next(iter(related), None)
        if target is None:
            return self._add(lesson)
        if related.pop(target) is Standing.CROSSING and target not in self._failed_with:
            lesson = replace(lesson, procedure=in_common(procedure, self._service.entry(target)))
        if self._revise(target, lesson) is None:
            return None
        for id, how in related.items():
            if how in (Standing.SAME, Standing.SHORTER):
                self._absorb(id, target)
        return target

    def _absorb(self, id: str, into: str) -> None:
        """Let an entry go that says no more than another, which is then found for its tasks, too."""
        self._widen(into, self._service.entry(into).widened(self._service.entry(id)), ())
        if not self._space.get(id).frozen:
            self._space.archive(id, f"see {into}")
            self._service.note(id, None)

    def _reinforce(self, id: str, lesson: Lesson) -> str:
        """Count the runs for an entry that says as much, and let it be found for another kind of task, for which it worked too."""
        new, entry = lesson.procedure, self._service.entry(id)
        with self._space.system.writing() as transaction:
            self._service.ledger.add_support(transaction, id, entry.revision, new.support, new.contradiction)
        self._reinforced.append(id)
        self._widen(id, entry.widened(new), lesson.sources)
        return id

    def _widen(self, id: str, wider: Procedure, sources: Sequence[int]) -> None:
        """Let an entry be found for more tasks; a frozen one stays as it is."""
        if wider == self._service.entry(id) or self._space.get(id).frozen:
            return
        if keeping.revise_procedure(self._space, id, wider, [self._source(number) for number in sources], self._service.guard) is not None:
            self._service.note(id, wider)

    def _add(self, lesson: Lesson) -> str | None:
        cubes = [self._source(number) for number in lesson.sources]
        cube = keeping.write_procedure(self._space, lesson.procedure, cubes, self._service.guard)
        if cube is None or cube.state == "quarantined":
            self._rejected.append((lesson.procedure, "the guard did not admit it"))
            return None
        self._added.append(cube.id)
        self._service.note(cube.id, lesson.procedure)
        return cube.id

    def _revise(self, id: str, lesson: Lesson) -> str | None:
        """Let an entry advise what the lesson does; None where it stays as it is."""
        if self._space.get(id).frozen:
            self._rejected.append((lesson.procedure, f"the entry that it would change is frozen: {id}"))
            return None
        entry = self._service.entry(id)
        procedure = replace(lesson.procedure, revision=entry.revision + 1).widened(entry)
        sources = [self._source(number) for number in lesson.sources]
        if keeping.revise_procedure(self._space, id, procedure, sources, self._service.guard) is None:
            self._rejected.append((lesson.procedure, "the guard did not admit it"))
            return None
        self._revised.append(id)
        self._service.note(id, procedure)
        return id

    def _source(self, number: int) -> MemCube:
        """The memory of a run, written when the first entry that rests on it is."""
        if number not in self._written:
            self._written[number] = keeping.write_trajectory(self._space, self._runs[number], self._fields)
        return self._written[number]
