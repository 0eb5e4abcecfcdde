"""Lessons: what a bad path looked like, kept apart from memory, in a form that can be matched and shown but never obeyed.

A lesson keeps the signature of an action (tool, names and types of its arguments, class of effect) and hashes of terms, and no text of the
record that it was learnt from: pasting the bad path into the prompt under a warning would be a way in for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Protocol

from mnemos.base.clock import from_micros
from mnemos.base.errors import Invalid, NotFound
from mnemos.kernel.guard.actions import Action, Effect, similarity
from mnemos.kernel.guard.divergence import jaccard

DAY = 86_400_000_000
"""Microseconds."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,39}")


@dataclass(frozen=True, slots=True)
class Lesson:
    """One lesson. Times are microseconds since 1970; terms are hashes of stems.

    `cue` are the terms of the query; `claim` those that the bad path's claim turned on, where it led to no action. `votes` are the weights
    (for it, in all). `matched` counts plans that it was held against and applied to, `overridden` those that had a consensus of their own.
    """

    id: str
    reason: str
    sources: tuple[str, ...]
    cue: frozenset[int]
    action: Action | None
    claim: frozenset[int] = frozenset()
    instead: Action | None = None
    votes: tuple[float, float] = (0.0, 0.0)
    created: int = 0
    expires: int = 0
    status: str = "active"
    matched: int = 0
    overridden: int = 0

    def active(self, now: int) -> bool:
        return self.status == "active" and now < self.expires

    def nearness(self, action: Action | None, claim: frozenset[int], cue: frozenset[int], *, usual: bool) -> float:
        """How nearly a plan repeats the bad path, 0 to 1: by its action, or, where both lead to none, by what its claim turns on. `usual` says
        that the lesson's action is known to be right elsewhere: it is then repeated only where half of the cue returns, as claims are."""
        returns = 2 * len(self.cue & cue) >= len(self.cue)
        if self.action is not None and action is not None:
            return similarity(self.action, action) if returns or not usual else 0.0
        if self.action is None and self.claim and action_says_nothing(action) and returns:
            return len(self.claim & claim) / len(self.claim)
        return 0.0

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id, "reason": self.reason, "sources": list(self.sources), "cue": sorted(self.cue), "claim": sorted(self.claim),
            "action": self.action.as_json() if self.action else None, "instead": self.instead.as_json() if self.instead else None,
            "votes": list(self.votes), "created": self.created, "expires": self.expires, "status": self.status,
            "matched": self.matched, "overridden": self.overridden,
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Lesson:
        """What `as_json` wrote. Raises `Invalid`."""
        try:
            action, instead = (Action.from_json(value[name]) if value[name] is not None else None for name in ("action", "instead"))
            sure, total = value["votes"]
            return cls(
                str(value["id"]), str(value["reason"]), tuple(map(str, value["sources"])), frozenset(map(int, value["cue"])), action,
                frozenset(map(int, value["claim"])), instead, (float(sure), float(total)), int(value["created"]), int(value["expires"]),
                str(value["status"]), int(value["matched"]), int(value["overridden"]),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Invalid(f"lesson: {error!r}; give the JSON that the guard wrote, unchanged") from None

    def rendered(self) -> str:
        """One line for a prompt, made of this module's words, known classes and counts: nothing that the record said, and no instruction."""
        support, total = self.votes
        learnt = f"{from_micros(self.created):%Y-%m-%d}"
        what = f"an action of class {_shown(self.action)}" if self.action else "a claim"
        instead = f"; the others led to class {_shown(self.instead)}" if self.instead else ""
        return f"lesson {self.id}, {learnt}: {what} was not supported ({self.reason}; {support:.2f} of {total:.2f} of the vote){instead}."


def _shown(action: Action) -> str:
    """An action as a lesson may show it: a tool's name only where it is a plain name, else its hash; classes of effect and argument types."""
    name = action.tool if _NAME.fullmatch(action.tool) else "tool-" + blake2b(action.tool.encode("utf-8", "replace"), digest_size=4).hexdigest()
    kinds = sorted({kind for _, kind in action.arguments})
    return f"{action.effect.value} ({name}" + (f"; {', '.join(kinds)})" if kinds else ")")


def warning(lessons: Sequence[Lesson]) -> str:
    """The lessons as a block of text for a prompt."""
    return "\n".join(["Records of earlier decisions of this kind:", *(f"- {lesson.rendered()}" for lesson in lessons)]) if lessons else ""


class LessonStore(Protocol):
    """Keeps lessons, apart from memory."""

    def put(self, lesson: Lesson) -> None:
        """Keep a lesson, or its new state."""
        ...

    def all(self) -> Iterable[Lesson]:
        """Every lesson that is kept, oldest first."""
        ...


class MemoryLessons:
    """Keeps lessons in memory."""

    def __init__(self) -> None:
        self._held: dict[str, Lesson] = {}

    def put(self, lesson: Lesson) -> None:
        self._held[lesson.id] = lesson

    def all(self) -> Iterable[Lesson]:
        return list(self._held.values())


def nearest(
    store: LessonStore, action: Action | None, claim: frozenset[int], cue: frozenset[int], *, usual: Callable[[Action], bool], now: int, count: int
) -> list[tuple[float, Lesson]]:
    """The `count` active lessons nearest to a plan, by its action or claim and never by its query alone, with how near they are. `usual` says
    whether an action is known to be right somewhere."""
    found = [
        (lesson.nearness(action, claim, cue, usual=lesson.action is not None and usual(lesson.action)), lesson)
        for lesson in store.all() if lesson.active(now)
    ]  # fmt: skip
    return sorted((pair for pair in found if pair[0] > 0), key=lambda pair: (-pair[0], pair[1].id))[:count]


def retract(store: LessonStore, id: str) -> Lesson:
    """Take a lesson back: it stays, and applies no longer. Raises `NotFound`."""
    lesson = next((lesson for lesson in store.all() if lesson.id == id), None)
    if lesson is None:
        raise NotFound(f"there is no lesson {id!r}; `guard.lessons.all()` lists them")
    lesson = replace(lesson, status="retracted")
    store.put(lesson)
    return lesson


def same(a: Lesson, b: Lesson) -> bool:
    """Whether two lessons teach one thing: one action or one claim, from like queries."""
    alike = a.action.signature == b.action.signature if a.action and b.action else a.action is b.action and a.claim == b.claim
    return alike and jaccard(a.cue, b.cue) >= 0.5


def action_says_nothing(action: Action | None) -> bool:
    """Whether a plan's action is but to answer, so that what it claims is what matters."""
    return action is None or action.effect is Effect.ANSWER
