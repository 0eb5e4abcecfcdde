"""What a guard learns from its decisions: counts for each record, which actions are usual, and lessons."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from mnemos.base.clock import Clock
from mnemos.kernel.guard import lessons
from mnemos.kernel.guard.actions import Action
from mnemos.kernel.guard.calibration import Calibration
from mnemos.kernel.guard.consensus import Evidence
from mnemos.kernel.guard.lessons import DAY, Lesson, LessonStore
from mnemos.kernel.guard.paths import Path, query_terms
from mnemos.kernel.guard.settings import Settings
from mnemos.kernel.guard.suspicion import Suspicion, Suspicions
from mnemos.kernel.guard.verdicts import IN_ITSELF, Consensus, Reason, Verdicts
from mnemos.kernel.guard.voting import alike

_MOST_SOURCES = 50
"""Records that one lesson names, at most."""


@dataclass(frozen=True, slots=True)
class Turned:
    """A record that went into quarantine by its counts, or came out of it."""

    id: str
    quarantined: bool
    reason: Reason


class Experience:
    """Counts and lessons, and the rules by which decisions change them. Safe to share between threads."""

    def __init__(
        self, settings: Settings, calibration: Calibration, lesson_store: LessonStore, suspicions: Suspicions, clock: Clock, new_id: Callable[[], str]
    ) -> None:
        self.lessons = lesson_store
        self.suspicions = suspicions
        self._settings = settings
        self._calibration = calibration
        self._clock = clock
        self._new_id = new_id
        self._lock = threading.RLock()

    def usual(self, action: Action) -> bool:
        """Whether an action is known to be right somewhere: independent records did it in benign data, or agreed on it since."""
        return action.kind in self._calibration.actions or self.suspicions.get(_key(action)).votes > 0

    def count(self, evidence: Evidence, verdicts: Verdicts, asked_for: int) -> list[Turned]:
        """Count a decision's votes, and learn from what it excluded, of the first `asked_for` candidates: the others were found by other
        queries. A usual action that merely departs from the others is out of place, and no sign of an attack."""
        changed: dict[str, Suspicion] = {}
        turned = []
        with self._lock:
            for verdict, path in zip(verdicts.verdicts[:asked_for], evidence.paths, strict=False):
                held = self.suspicions.get(verdict.id)
                out_of_place = verdict.reason not in IN_ITSELF and verdict.action is not None and self.usual(verdict.action)
                agreed = verdict.reason is Reason.AGREES or (held.quarantined and alike(verdicts.action, verdict.action, self._settings))
                if verdict.suspicious and not out_of_place:
                    changed[verdict.id] = held.after(verdict.divergence or 1.0, self._settings)
                    self.learn(verdict.hangs_on or query_terms(evidence.query), verdict.id, verdict.reason, path, verdict.action, verdicts)
                elif agreed:
                    changed[verdict.id] = held.after(0.0, self._settings)
                now = changed.get(verdict.id, held).quarantined
                if now is not held.quarantined:
                    turned.append(Turned(verdict.id, now, verdict.reason))
            if verdicts.consensus is Consensus.REACHED and verdicts.action is not None:
                changed[_key(verdicts.action)] = self.suspicions.get(_key(verdicts.action)).after(0.0, self._settings)
            if changed:
                self.suspicions.put(changed)
        return turned

    def learn(self, cue: frozenset[int], id: str, reason: Reason, path: Path, action: Action | None, verdicts: Verdicts) -> Lesson | None:
        """Keep a lesson from the bad path of record `id`, or add to one that teaches the same. None where there is nothing to know it by."""
        claim = path.keys - cue if action is None else frozenset()
        if action is None and not claim:
            return None
        now = self._clock()
        weight = next((verdict.weight for verdict in verdicts.verdicts if verdict.id == id), 0.0)
        total = sum(verdict.weight for verdict in verdicts.verdicts)
        expires = now + int(self._settings.lesson_days * DAY)
        lesson = Lesson(self._new_id(), reason.value, (id,), cue, action, claim, verdicts.action, (weight, total), now, expires)
        with self._lock:
            known = next((held for held in self.lessons.all() if held.active(now) and lessons.same(held, lesson)), None)
            if known is not None:
                if expires - known.expires < DAY and (id in known.sources or len(known.sources) >= _MOST_SOURCES):
                    return known
                lesson = replace(known, sources=tuple(dict.fromkeys((*known.sources, id)))[:_MOST_SOURCES], expires=expires)
            self.lessons.put(lesson)
        return lesson

    def matching(self, action: Action | None, claim: frozenset[int], cue: frozenset[int], *, supported: bool) -> list[Lesson]:
        """The active lessons that a plan repeats, counted; none where the plan has a consensus of its own."""
        shown = self._settings.lessons_shown
        with self._lock:
            near = lessons.nearest(self.lessons, action, claim, cue, usual=self.usual, now=self._clock(), count=shown)
            matched = [lesson for nearness, lesson in near if nearness >= self._settings.lesson_match]
            for lesson in matched:
                self.lessons.put(replace(lesson, matched=lesson.matched + (not supported), overridden=lesson.overridden + supported))
        return [] if supported else matched

    def clear(self, id: str) -> None:
        """Begin the counts of a record anew, and retract the lessons that were learnt from it alone."""
        with self._lock:
            self.suspicions.put({id: Suspicion()})
            for lesson in list(self.lessons.all()):
                if set(lesson.sources) == {id} and lesson.status == "active":
                    lessons.retract(self.lessons, lesson.id)


def _key(action: Action) -> str:
    """The key under which agreements on a kind of action are counted, beside those on records."""
    return f"action {action.kind}"
