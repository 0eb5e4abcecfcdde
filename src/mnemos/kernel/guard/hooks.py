"""The guard around a space of Mnemos: every write is admitted, every search filtered, every planned action checked."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import numpy as np

from mnemos.base.clock import to_micros
from mnemos.base.cube import MemCube
from mnemos.base.errors import Conflict, Invalid, NotFound, PermissionDenied
from mnemos.base.ids import parse_id
from mnemos.base.lineage import PART_OF
from mnemos.base.protocols import ChatModel, Embedder
from mnemos.kernel.guard.actions import Effect, Risk
from mnemos.kernel.guard.calibration import LEAST_SAMPLES, REFERENCE, Calibration, calibrate
from mnemos.kernel.guard.guard import Approve, Guard
from mnemos.kernel.guard.keeping import SpaceLessons, StoreSuspicions, keep_bounds, kept_bounds, lessons_of
from mnemos.kernel.guard.paths import path_of
from mnemos.kernel.guard.probing import Retrieve
from mnemos.kernel.guard.records import Candidate, Outcome
from mnemos.kernel.guard.settings import Settings
from mnemos.kernel.guard.verdicts import ActionCheck, Admission, Inspection, Verdict, Verdicts, Where
from mnemos.kernel.guard.vocabulary import Vocabulary
from mnemos.kernel.reading.conditions import count, question_text
from mnemos.kernel.reading.context import assemble
from mnemos.kernel.reading.results import Context, Hit
from mnemos.text.encoding import SESSION_KEYS
from mnemos.text.tokens import token_counter

if TYPE_CHECKING:
    from mnemos.kernel.forgetting import Certificate
    from mnemos.kernel.space import Space

MOST_VALIDATED = 200
"""Candidates that are compared with each other for one context; each two are, so that more would cost seconds."""
VOTERS = 10
"""Hits that vote on what to do; further ones are background. Ours: for so many a decision takes a few milliseconds (the paper compares 5)."""
MOST_READ = 5_000
"""Memories that a calibration reads for its vocabulary, the newest."""
ORIGINS: Mapping[str, str] = {"user": "user", "inference": "agent", "retrieval": "web", "training": "import"}
"""The guard's word for each origin of a cube."""

Trust = Callable[[MemCube], float | None]
"""How far a cube is believed, 0 to 1; None leaves it to its origin."""


@dataclass(frozen=True, slots=True)
class GuardedHits:
    """What a guarded search found: `hits` may be used; `excluded` were found and may not, each with why. `verdicts` is the decision."""

    hits: tuple[Hit, ...]
    excluded: tuple[tuple[Hit, Verdict], ...]
    verdicts: Verdicts


@dataclass(frozen=True, slots=True)
class GuardedContext:
    """Text for a prompt without what the guard excluded, and the decision behind it."""

    context: Context
    excluded: tuple[tuple[Hit, Verdict], ...]
    verdicts: Verdicts

    def __str__(self) -> str:
        return self.context.text


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a write: the admission, and the cube, which is quarantined where it was not admitted, and None where only a lesson was
    learnt."""

    admission: Admission
    cube: MemCube | None


class GuardedSpace:
    """A space with a guard around it. Get one with `space.guarded()`.

    Lessons are kept as cubes of type "lesson" in the space `NAME/lessons`; counts and bounds as settings of the store; quarantine is the
    lifecycle's. `trust` says how far a cube is believed where its origin does not tell; the other keywords are those of `Guard`. Bounds come
    from `calibrate`, which should be called once, while the memory is believed to be clean; until then those of `REFERENCE` hold.
    Raises `PermissionDenied` where the principal may not read the lessons, or their space is that of somebody who may not share this one.
    """

    def __init__(
        self,
        space: Space,
        settings: Settings | None = None,
        *,
        chat: ChatModel | None = None,
        embedder: Embedder | None = None,
        effects: Mapping[str, Effect] | None = None,
        trust: Trust | None = None,
        approve: Approve | None = None,
    ) -> None:
        self.space = space
        self._trust = trust
        self._keywords: dict[str, Any] = {"chat": chat, "embedder": embedder, "effects": effects, "approve": approve}
        self._suspicions = StoreSuspicions(space)
        self._lessons = lessons_of(space)
        bounds = kept_bounds(space)
        calibration = REFERENCE
        if bounds is not None:
            calibration = replace(bounds, vocabulary=self._vocabulary(bounds.until))
        self.guard = self._guard(settings or Settings(), calibration)

    def __repr__(self) -> str:
        return f"GuardedSpace({self.space.name!r})"

    # -- writing --
    def add(self, text: str, *, outcome: Outcome | None = None, **fields: Any) -> Written:
        """Remember `text` where it is admitted; keywords as `Space.add`, but that the origin is "inference" where none is given: say "user" only
        of what the user said, for that has authority.

        `outcome` says which action it tells of, and on which decision that rested. What is refused as suspicious is written into quarantine,
        where it can be inspected and released; what only teaches a lesson is not written. Raises as `Space.add`, and `NotFound` for an unknown
        decision.
        """
        fields = {"origin": "inference", **fields}
        record = candidate_of(str(fields.get("id") or self.space.system.new_id()), text, **fields)
        with self._letting_go():
            admission = self.guard.admit(record, outcome)
        if admission.where is Where.LESSONS:
            return Written(admission, None)
        with self.space.system.transaction():
            cube = self.space.add(text, **{**fields, "id": record.id})
            if admission.where is Where.QUARANTINE:
                cube = self._quarantine(cube.id, "; ".join(admission.reasons))
        return Written(admission, cube)

    def forget(self, ids: Sequence[str | UUID] | str, *, reason: str | None = None) -> Certificate:
        """Forget memories, and what the guard holds of them. Raises as `Space.forget`."""
        given = [ids] if isinstance(ids, (str, UUID)) else list(ids)
        certificate = self.space.forget(given, reason=reason)
        self.guard.forget([cube.id for cube in certificate.cubes])
        return certificate

    # -- reading --
    def search(
        self, query: str, k: int = 10, *, without_memory: object = None, risk: Risk | None = None, probe: bool = True, **where: Any
    ) -> GuardedHits:
        """The memories that best answer `query` and may be used, of the `k` best; conditions as `Space.search`. `without_memory` and `risk` as
        `Guard.filter`; with `probe`, perturbed queries are asked where something hangs on unusual words, and what they find takes the places
        of what is excluded."""
        k, text = count(k, "k"), question_text(query)
        hits, search = self._noting(where)
        with self._letting_go():
            if probe:
                found = self.guard.retrieve(text, search, k, without_memory=without_memory, risk=risk, voters=VOTERS, cap=False)
                kept, verdicts = [record.id for record in found.records], found.verdicts
                out = [record.id for record in found.excluded]
            else:
                records = search(text, k)
                verdicts = self.guard.filter(text, records, without_memory=without_memory, risk=risk, voters=VOTERS)
                kept, out = list(verdicts.kept), [record.id for record in records if record.id not in verdicts.kept]
        return GuardedHits(tuple(hits[id] for id in kept), tuple((hits[id], verdicts.of(id)) for id in out), verdicts)

    def context(
        self,
        query: str,
        budget_tokens: int = 1500,
        *,
        tokenizer: object = None,
        without_memory: object = None,
        risk: Risk | None = Risk.READ_ONLY,
        **where: Any,
    ) -> GuardedContext:
        """Text for a prompt, as `Space.context` gives it, of at most `MOST_VALIDATED` memories and without what the guard excludes.

        A context is for reading, so that a consensus on what to do is advice here, unless `risk` says otherwise: have what is planned on it
        checked (`check_action`).
        """
        text = question_text(query)
        shown = _Shown(self, without_memory, risk)
        with self._letting_go():
            context = assemble(cast("Space", shown), text, count(budget_tokens, "budget_tokens"), token_counter(tokenizer), where)
        assert shown.verdicts is not None  # assembling searches
        return GuardedContext(context, shown.excluded, shown.verdicts)

    # -- acting --
    def check_action(self, plan: object) -> ActionCheck:
        """Whether a planned action may be done, as `Guard.check_action`."""
        return self.guard.check_action(plan)

    # -- for people --
    def inspect(self, id: str | UUID) -> Inspection:
        """All that the guard knows of a memory. Raises `NotFound`, `PermissionDenied`."""
        self.space.get(id)
        return self.guard.inspect(str(parse_id(id)))

    def quarantined(self) -> list[MemCube]:
        """The memories that are in quarantine."""
        out: list[MemCube] = []
        cursor = None
        while True:
            page = self.space.list(states=["quarantined"], cursor=cursor)
            out += page
            cursor = page.cursor
            if cursor is None:
                return out

    def release(self, id: str | UUID, *, by: str, reason: str) -> MemCube:
        """Take a memory out of quarantine, or accept it as it is where it was altered since it was admitted; begin its counts anew, and retract
        what was learnt from it alone. Raises `NotFound`, `Conflict` (nothing is held against it), `PermissionDenied`."""
        cube = self.space.get(id)
        if cube.state != "quarantined" and self.guard.known_against(self._record(cube)) is not None:
            self.space.admit("write", counted=False)  # held back by the guard alone
        else:
            cube = self.space.release(id, reason=reason)
        self.guard.release(cube.id, by=by, reason=reason)
        return cube

    def calibrate(self, sample: int = 300, k: int = 10, rng: np.random.Generator | None = None) -> Calibration:
        """Measure the bounds of this memory as it is now, by leaving `sample` of its newest memories out one by one, and keep them. To be done
        while the memory is believed to be clean. Raises `Invalid` where it is too small."""
        cubes = self._newest(MOST_READ)
        if len(cubes) < LEAST_SAMPLES:
            raise Invalid(f"calibrate: {len(cubes)} memories are too few to measure what is usual; have {LEAST_SAMPLES} or more")
        rng = rng if rng is not None else np.random.default_rng(0)
        until = self.space.system.clock()
        lists = []
        for index in rng.choice(len(cubes), min(sample, len(cubes)), replace=False):
            found = [hit for hit in self.space.search(cubes[index].text[:2000], k + 1) if hit.cube.id != cubes[index].id][:k]
            lists.append((cubes[index].text, [self.candidate(hit) for hit in found]))
        measured = calibrate(lists, self.guard.settings, memory=map(self._record, cubes), effects=self._keywords["effects"])
        measured = replace(measured, known=frozenset(), until=until)
        keep_bounds(self.space, measured)
        self.guard = self._guard(self.guard.settings, measured)
        return measured

    def close(self) -> None:
        """Keep the counts that changed since they were last kept."""
        self._suspicions.flush()
        if isinstance(self._lessons, SpaceLessons):
            self._lessons.flush()

    def candidate(self, hit: Hit) -> Candidate:
        """A hit as the guard sees it. Its time is that of its writing, which no caller can set."""
        return replace(self._record(hit.cube), score=hit.score)

    # -- inside --
    def _noting(self, where: Mapping[str, Any]) -> tuple[dict[str, Hit], Retrieve]:
        """(the hits found so far by id, a search that notes its hits there)."""
        hits: dict[str, Hit] = {}

        def search(asked: str, most: int) -> list[Candidate]:
            found = self.space.search(asked, most, **where)
            hits.update({hit.cube.id: hit for hit in found if hit.cube.id not in hits})
            return [self.candidate(hit) for hit in found]

        return hits, search

    def _guard(self, settings: Settings, calibration: Calibration) -> Guard:
        return Guard(settings, calibration=calibration, lesson_store=self._lessons, suspicions=self._suspicions, on_event=self._set_aside,
                     clock=self.space.system.clock, **self._keywords)  # fmt: skip

    def _set_aside(self, event: Mapping[str, Any]) -> None:
        """Make the lifecycle follow the guard's counts. Where that cannot be (who may only read, a frozen memory, one that is gone by now), a
        search must not fail by it, and the counts alone keep the memory out."""
        if not event["by"].startswith("decision"):
            return  # an admission or an operator, and those change the memory themselves
        try:
            cube = self.space.get(event["id"])
            whole = next((str(link.id) for link in cube.derived_from if link.relation == PART_OF), cube.id)
            if event["what"] == "quarantined":
                self._quarantine(whole, f"guard: {event['reason']}, {event['by']}")
            elif cube.state == "quarantined":
                self.space.release(whole, reason="guard")
        except (PermissionDenied, Conflict, NotFound) as error:
            self.guard.events.append({**event, "what": f"{event['what']} by counts only", "reason": str(error)})

    def _quarantine(self, id: str, reason: str) -> MemCube:
        """Set a memory aside; without its reason where the memory's own text, which the log must not keep, is repeated by that."""
        try:
            return self.space.quarantine(id, reason=reason)
        except Invalid:
            return self.space.quarantine(id, reason="guard")  # shorter than what counts as a piece of a text

    @contextlib.contextmanager
    def _letting_go(self) -> Iterator[None]:
        """A block after which no words of memories are held: another handle may forget them, and the guard would not hear of it."""
        try:
            yield
        finally:
            self.guard.clear_cache()

    def _record(self, cube: MemCube) -> Candidate:
        record = candidate_of(cube.id, cube.text, type=cube.type, origin=cube.origin, source=cube.source, author=cube.author, metadata=cube.metadata)
        return replace(record, trust=self._trust(cube) if self._trust is not None else None, created_at=to_micros(cube.updated_at))

    def _newest(self, most: int) -> list[MemCube]:
        """The memories of the space, the newest `most` of them, oldest first."""
        out: list[MemCube] = []
        cursor = None
        while True:
            page = self.space.list(limit=1000, cursor=cursor)
            out = [*out, *page][-most:]
            cursor = page.cursor
            if cursor is None:
                return out

    def _vocabulary(self, until: int | None) -> Vocabulary:
        """What is usual in the memories that were there when the bounds were measured."""
        cubes = [cube for cube in self._newest(MOST_READ) if until is None or (to_micros(cube.updated_at) or 0) <= until]
        return Vocabulary.of(path_of(self._record(cube)) for cube in cubes)


def candidate_of(id: str, text: str, **fields: Any) -> Candidate:
    """A memory with the keywords of `Space.add` as the guard sees it. What names a source came from that source, whoever wrote it down."""
    metadata = dict(fields.get("metadata") or {})
    session = next((str(metadata[key]) for key in SESSION_KEYS if key in metadata), None)
    origin = ORIGINS.get(fields.get("origin") or "user")
    if origin in ("user", "agent") and (fields.get("source") or fields.get("type") == "document"):
        origin = "import"
    return Candidate(id, text, metadata, fields.get("source"), fields.get("author"), session, origin)


class _Shown:
    """What a context is assembled from: a search that gives what the guard keeps of what was found, in its order."""

    def __init__(self, guarded: GuardedSpace, without_memory: object, risk: Risk | None) -> None:
        self._guarded, self._without_memory, self._risk = guarded, without_memory, risk
        self.excluded: tuple[tuple[Hit, Verdict], ...] = ()
        self.verdicts: Verdicts | None = None

    def search(self, query: str, k: int, **where: Any) -> list[Hit]:
        hits, search = self._guarded._noting(where)
        found = search(query, min(k, MOST_VALIDATED))
        verdicts = self._guarded.guard.filter(
            query, found, retrieve=search, without_memory=self._without_memory, risk=self._risk, voters=VOTERS
        )
        self.excluded = tuple((hits[verdict.id], verdict) for verdict in verdicts.verdicts if verdict.id not in verdicts.kept)
        self.verdicts = verdicts
        return [hits[id] for id in verdicts.kept]
