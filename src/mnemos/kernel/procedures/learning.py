"""From runs to entries: what was distilled is checked, set against what is there, and written with the runs that it rests on, all or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mnemos.base.cube import MemCube
from mnemos.kernel.procedures import keeping
from mnemos.text.procedures.distilling import Lesson, is_subsequence
from mnemos.text.procedures.procedure import Procedure
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
    """One transaction's work. `verdicts` are those of a judge on the lessons, where one was asked; `failed_with` names entries that a run of these
    tasks had in its prompt when it failed."""

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

    def keep(self, lessons: Sequence[Lesson], verdicts: Sequence[Verdict] | None) -> Learnt:
        """Write what of the lessons is new. To be called within a transaction."""
        service = self._service
        pool = service.pool()
        held = keeping.supported(self._space, service.ledger, pool.entries)
        passed: list[Lesson] = []
        for number, lesson in enumerate(lessons):
            verdict = by_rules(lesson.procedure, held.values())
            if verdict.kept and verdicts is not None:
                verdict = verdicts[number]
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
            ids.append(self._settled(lesson, repeat, held))
        written = tuple(self._written[number].id for number in sorted(self._written))
        return Learnt(tuple(self._added), tuple(self._revised), tuple(self._reinforced), tuple(self._rejected), written)

    def _settled(self, lesson: Lesson, repeat: str | None, held: Mapping[str, Procedure]) -> str | None:
        """The entry that a lesson became, or was found to repeat; None where it was not kept."""
        procedure = lesson.procedure
        if repeat is not None:
            with self._space.system.writing() as transaction:
                revision = self._service.revision(repeat)
                self._service.ledger.add_support(transaction, repeat, revision, procedure.support, procedure.contradiction)
            self._reinforced.append(repeat)
            return repeat
        for id, other in held.items():
            if procedure.category == other.category == "success" and procedure.author is other.author is None and procedure.family == other.family:
                shorter = is_subsequence(procedure.actions, other.actions)
                longer = is_subsequence(other.actions, procedure.actions)
                if shorter or (longer and id in self._failed_with):
                    return self._revise(id, replace(procedure, revision=self._service.revision(id) + 1), lesson.sources)
                if longer:
                    self._rejected.append((procedure, "a shorter sequence is known to work"))
                    return None
        return self._add(procedure, lesson.sources)

    def _add(self, procedure: Procedure, sources: Sequence[int]) -> str | None:
        cubes = [self._source(number) for number in sources]
        cube = keeping.write_procedure(self._space, procedure, cubes, self._service.guard)
        if cube is None or cube.state == "quarantined":
            self._rejected.append((procedure, "the guard did not admit it"))
            return None
        self._added.append(cube.id)
        self._service.note(cube.id, procedure)
        return cube.id

    def _revise(self, id: str, procedure: Procedure, sources: Sequence[int]) -> str:
        keeping.revise_procedure(self._space, id, procedure, [self._source(number) for number in sources])
        self._revised.append(id)
        self._service.note(id, procedure)
        return id

    def _source(self, number: int) -> MemCube:
        """The memory of a run, written when the first entry that rests on it is."""
        if number not in self._written:
            self._written[number] = keeping.write_trajectory(self._space, self._runs[number], self._fields)
        return self._written[number]
