"""The guard: `filter` between retriever and prompt, `check_action` before acting, `admit` before writing. Around any store or agent."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mnemos.base.clock import Clock, system_clock
from mnemos.base.errors import Conflict, Invalid, ModelUnavailable
from mnemos.base.protocols import ChatModel, Embedder
from mnemos.kernel.guard import independence, lessons, probing
from mnemos.kernel.guard.actions import REFUSAL, Effect, Risk
from mnemos.kernel.guard.calibration import REFERENCE, Calibration
from mnemos.kernel.guard.consensus import Evidence, decide
from mnemos.kernel.guard.decisions import Decision, DecisionLog, Lookup
from mnemos.kernel.guard.experience import Experience
from mnemos.kernel.guard.lessons import LessonStore, MemoryLessons
from mnemos.kernel.guard.paths import EXTRACTOR, path_of, query_terms
from mnemos.kernel.guard.probing import Probe, Retrieve
from mnemos.kernel.guard.reading import Reader
from mnemos.kernel.guard.records import Candidate, Outcome, Plan, candidates_of
from mnemos.kernel.guard.settings import Settings
from mnemos.kernel.guard.suspicion import MemorySuspicions, Suspicion, Suspicions
from mnemos.kernel.guard.verdicts import ActionCheck, Admission, Check, Consensus, Inspection, Reason, Verdicts, Where
from mnemos.kernel.guard.voting import alike

Approve = Callable[[Plan, Verdicts | None], bool]
"""Asked whether an action that cannot be taken back may be done although its consensus is not enough."""

_ADMITTED = 100_000
"""Records, the newest, that are known not to have been altered since they were admitted."""
_EVENTS = 10_000
_POOL = 4
"""A guarded retrieval looks at so many times k records, so that the cap on one witness leaves k of them."""


@dataclass(frozen=True, slots=True)
class Retrieved:
    """A guarded retrieval: at most k `records` that may be used, best first; `excluded` were found by the query itself and may not. `verdicts`
    is the decision, on these and on the witnesses."""

    records: tuple[Candidate, ...]
    excluded: tuple[Candidate, ...]
    verdicts: Verdicts


@dataclass(frozen=True, slots=True)
class _Given:
    """What a decision is asked about. The first `asked_for` of the candidates were found by the query itself, the others by other queries."""

    query: str
    found: Sequence[Candidate]
    witnesses: Sequence[Candidate]
    asked: Sequence[Probe]
    without_memory: object
    risk: Risk | None
    asked_for: int
    voters: int | None


class Guard:
    """Consensus validation and dual memory (A-MemGuard, arXiv 2510.02373).

    Without a model it is deterministic: paths come from structured calls and patterns, and are compared by D. With `chat` they come from a
    model; `Settings.compare` says who compares. `calibration`: bounds from benign data of this memory (`calibrate`); without one those of
    `REFERENCE` hold, which knows no bound for D and looks for no triggers. `effects` says what this system's tools do. `approve` is asked
    where an action that cannot be taken back lacks a sufficient consensus; without it such an action is blocked. `on_event` hears of every
    quarantine and release. Safe to share between threads. Raises `Invalid` where the comparison that `settings` name lacks its model.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        calibration: Calibration = REFERENCE,
        chat: ChatModel | None = None,
        embedder: Embedder | None = None,
        effects: Mapping[str, Effect] | None = None,
        lesson_store: LessonStore | None = None,
        suspicions: Suspicions | None = None,
        log: DecisionLog | None = None,
        approve: Approve | None = None,
        on_event: Callable[[Mapping[str, Any]], None] | None = None,
        clock: Clock = system_clock,
        new_id: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        self.settings = settings or Settings()
        if self.settings.compare == "judge" and chat is None:
            raise Invalid("compare='judge' needs a chat model; give `chat`, or compare by 'divergence' or 'clustering'")
        self.calibration = calibration
        self.lessons: LessonStore = lesson_store if lesson_store is not None else MemoryLessons()
        self.suspicions: Suspicions = suspicions if suspicions is not None else MemorySuspicions()
        self.experience = Experience(self.settings, calibration, self.lessons, self.suspicions, clock, new_id)
        self.log = log if log is not None else DecisionLog()
        self.events: deque[Mapping[str, Any]] = deque(maxlen=_EVENTS)
        """What was quarantined and released, by whom and why, oldest first; the newest 10,000."""
        self.reader = Reader(self.settings, chat, embedder, dict(effects or {}))
        self._approve = approve
        self._on_event = on_event
        self._clock = clock
        self._new_id = new_id
        self._admitted: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.RLock()

    # -- between retriever and prompt --
    def filter(
        self,
        query: str,
        candidates: Iterable[object],
        *,
        retrieve: Retrieve | None = None,
        without_memory: object = None,
        risk: Risk | None = None,
        voters: int | None = None,
    ) -> Verdicts:
        """The verdict on each retrieved record, in their order; none is invented, and none moved.

        `candidates`: `Candidate`s, or dicts with their fields, best first. `retrieve` (query, k) lets the guard ask perturbed queries, which
        bring witnesses against records that hang on a trigger. `without_memory` is what the agent would do had it no memory (a `Plan`, a
        call, or an answer): it votes. `risk` overrides the risk class that follows from the records' actions. Of a long list only the first
        `voters` vote on what to do; None lets all. Raises `Invalid`.
        """
        found = candidates_of(candidates)
        asked, fresh = self._probed(query, found, retrieve, voters)
        given = _Given(query, found, list(fresh.values()), asked, without_memory, risk, len(found), voters)
        return self._decided(given)

    def retrieve(
        self,
        query: str,
        search: Retrieve,
        k: int = 5,
        *,
        without_memory: object = None,
        risk: Risk | None = None,
        voters: int | None = None,
        cap: bool = True,
    ) -> Retrieved:
        """A guarded retrieval: `k` records, filtered, with the witnesses that perturbed queries brought in the places of those that were
        excluded. With `cap`, at most ⌈k/3⌉ of them come from one witness, and others move up; without, and without anything to exclude, they
        are what `search` gives. The other keywords as `filter`."""
        chosen = candidates_of(search(query, _POOL * k if cap else k))
        if cap:
            paths = [self.reader.path(record) for record in chosen]
            trusts = [independence.trust_of(record, self.settings) for record in chosen]
            witnesses = independence.dependence(chosen, paths, trusts, self.settings, self.calibration.near)
            chosen = [chosen[i] for i in independence.capped(witnesses, k)]
        asked, fresh = self._probed(query, chosen, search, voters)
        everyone = [*chosen, *fresh.values()]
        verdicts = self._decided(_Given(query, everyone, [], asked, without_memory, risk, len(chosen), voters))
        kept = set(verdicts.kept)
        usable = tuple(record for record in everyone if record.id in kept)[:k]
        return Retrieved(usable, tuple(record for record in chosen if record.id not in kept), verdicts)

    # -- before acting --
    def check_action(self, plan: object) -> ActionCheck:
        """Whether a planned action may be done: ALLOW, REVISE (with the lessons that it repeats) or BLOCK.

        A plan that repeats a lesson is sent back once, then blocked, unless the decision that it rests on has a consensus for just this
        action. What changes the world needs that consensus; what cannot be taken back also the agreement of the plan without memory, or an
        approval. A plan that rests on no memory (`decision` None) is held against the lessons alone. Raises `Invalid`, `NotFound`.
        """
        plan = Plan.of(plan)
        action = self.reader.action_of(plan)
        verdicts = self.log.verdicts(plan.decision) if plan.decision is not None else None
        alone = self.log.get(plan.decision).alone if plan.decision is not None else None
        supported = verdicts is not None and alike(verdicts.action, action, self.settings)
        claim = path_of(Candidate("plan", f"{plan.answer or ''}\n{plan.reasoning}")).keys
        matched = self.experience.matching(action, claim, query_terms(plan.query), supported=supported)
        if matched:
            warning = lessons.warning(matched)
            sent_back = plan.attempt < self.settings.revisions
            reasons = tuple(f"repeats lesson {lesson.id}" for lesson in matched)
            return ActionCheck(Check.REVISE if sent_back else Check.BLOCK, reasons, tuple(matched), warning)
        if action is None or verdicts is None or action.risk is Risk.READ_ONLY or alike(alone, action, self.settings):
            return ActionCheck(Check.ALLOW)
        if supported and not (action.risk is Risk.IRREVERSIBLE and verdicts.needs_approval):
            return ActionCheck(Check.ALLOW)
        why = "no consensus of independent records is for it"
        if supported:
            why = "it cannot be taken back, and the plan without memory does not share it"
        if action.risk is Risk.IRREVERSIBLE and self._approve is not None:
            if self._approve(plan, verdicts):
                return ActionCheck(Check.ALLOW, ("approved",))
            return ActionCheck(Check.BLOCK, (why, "not approved"))
        return ActionCheck(Check.BLOCK, (why,))

    # -- before writing --
    def admit(self, record: object, outcome: Outcome | None = None) -> Admission:
        """Where a record goes: into memory, into the lessons only, or into quarantine.

        What tells of an action (`outcome`) is remembered only where the decision behind it was for that action, or the plan without memory
        was; else it becomes a lesson. Without an outcome, a record is quarantined whose action a lesson knows, or whose text tells the
        reader to change the world, or to give up, while nobody vouches for it. Raises `Invalid`, `NotFound` (an unknown decision).
        """
        record = Candidate.of(record)
        path = self.reader.path(record)
        action = self.reader.action_of(Plan("", outcome.action)) if outcome is not None and outcome.action is not None else path.action
        supported = False
        if outcome is not None and outcome.decision is not None and action is not None:
            decision, verdicts = self.log.get(outcome.decision), self.log.verdicts(outcome.decision)
            supported = alike(verdicts.action, action, self.settings)
            advised = verdicts.consensus is Consensus.UNOPPOSED and action.risk is Risk.READ_ONLY
            if not supported and not advised and not alike(decision.alone, action, self.settings):
                lesson = self.experience.learn(query_terms(decision.query), record.id, Reason.OUTVOTED, path, action, verdicts)
                return Admission(Where.LESSONS, ("its action was not in the consensus",), lesson)
        matched = self.experience.matching(action, frozenset(), path.terms, supported=supported) if action is not None else []
        if matched:
            self._event("quarantined", record.id, f"repeats lesson {matched[0].id}")
            return Admission(Where.QUARANTINE, tuple(f"repeats lesson {lesson.id}" for lesson in matched))
        vouched = independence.trust_of(record, self.settings) >= self.settings.attested_trust
        if path.directive and not vouched and action is not None and (action.risk > Risk.READ_ONLY or action.tool == REFUSAL):
            self._event("quarantined", record.id, "an instruction that nobody vouches for")
            return Admission(Where.QUARANTINE, ("its text tells the reader what to do, and nobody vouches for it",))
        with self._lock:
            self._admitted.pop(record.id, None)
            self._admitted[record.id] = record.content_digest()
            while len(self._admitted) > _ADMITTED:
                self._admitted.popitem(last=False)
        return Admission(Where.MEMORY)

    # -- for people --
    def inspect(self, id: str) -> Inspection:
        """All that the guard knows of a record: its counts, the decisions that it took part in, the lessons learnt from it."""
        held = self.suspicions.get(id)
        about = tuple(decision.as_json() for decision in self.log.about(id))
        learnt = tuple(lesson for lesson in self.lessons.all() if id in lesson.sources)
        return Inspection(id, {**held.as_json(), "probability": held.probability(self.settings.quarantine_rate)}, held.quarantined, about, learnt)

    def release(self, id: str, *, by: str, reason: str) -> None:
        """Clear a record as it is now: its counts start anew, lessons that were learnt from it alone are retracted, and what was altered since it
        was admitted counts as read. Raises `Invalid`."""
        if not by or not reason:
            raise Invalid("release: say who releases the record, and why; both are kept")
        with self._lock:
            self._admitted.pop(id, None)
        self.experience.clear(id)
        self._event("released", id, reason, by)

    def quarantined(self, id: str) -> bool:
        """Whether a record is in quarantine."""
        return self.suspicions.get(id).quarantined

    def known_against(self, record: Candidate) -> Reason | None:
        """What is known against a record whatever is asked: that it was altered since it was admitted, or is in quarantine."""
        return self._states([record]).get(record.id)

    def forget(self, ids: Iterable[str]) -> None:
        """Let go of all that is held of some records: paths, counts, decisions. Lessons stay, for they hold nothing that a record said but the
        signature of its action."""
        gone = list(ids)
        with self._lock:
            self.log.drop(gone)
            for id in gone:
                self._admitted.pop(id, None)
            self.reader.let_go(gone)
            self.suspicions.put({id: Suspicion() for id in gone})

    def clear_cache(self) -> None:
        """Let go of the paths that are kept to be at hand: they hold words of records, which may be forgotten elsewhere."""
        self.reader.let_go()

    def replay(self, decision: str | Decision, lookup: Lookup) -> Verdicts:
        """Decide again what was decided, from the log and the records that `lookup` gives. Raises `NotFound` where a record is gone,
        `Conflict` where a record or the calibration is not what it was then, or the outcome is another."""
        logged = self.log.get(decision) if isinstance(decision, str) else decision
        if logged.calibration != self.calibration.fingerprint or logged.extractor != EXTRACTOR:
            raise Conflict(f"decision {logged.id} was reached with another calibration or extractor; replay it with a guard that has those")
        candidates, witnesses = logged.found(lookup)
        paths, states, _ = self.reader.read((*candidates, *witnesses), logged.replies)
        evidence = Evidence(logged.query, candidates, tuple(paths), witnesses, logged.probes, logged.alone, {**logged.states, **states}, logged.risk,
                            logged.labels, logged.failure, logged.silent)  # fmt: skip
        verdicts = decide(logged.id, evidence, self.settings, self.calibration)
        if verdicts.as_json() != logged.verdicts:
            raise Conflict(f"decision {logged.id}: replayed, it comes out otherwise; its settings were others, or the log was changed")
        return verdicts

    # -- inside --
    def _probed(
        self, query: str, found: Sequence[Candidate], retrieve: Retrieve | None, voters: int | None
    ) -> tuple[list[Probe], dict[str, Candidate]]:
        """Perturbed queries and their new records: only where some voter hangs on words that nothing else uses, and those can be known."""
        words = self.calibration.vocabulary
        voting = found[:voters]
        paths = [self.reader.path(record) for record in voting]
        if retrieve is None or not words.records or not any(bound for _, bound in probing.bindings(query, paths, words, self.settings)):
            return [], {}
        return probing.ask(probing.probes(query, paths, words, self.settings), retrieve, len(voting), {record.id: record for record in found})

    def _decided(self, given: _Given) -> Verdicts:
        """Decides, and learns."""
        query, found = given.query, given.found
        everyone = (*found, *given.witnesses)
        alone = None if given.without_memory is None else self.reader.action_of(Plan.of(given.without_memory, query))
        states = self._states(everyone)
        replies, labels, failure = None, None, None
        try:
            replies = self.reader.replies(query, everyone)
            paths, garbled, plan = self.reader.read(everyone, replies)
            states |= garbled
            alone = alone or plan
            labels = self.reader.labels(query, paths[: len(found)])
        except (ModelUnavailable, Invalid) as error:
            failure = str(error)[:300]
            replies = None
            paths, _, _ = self.reader.read(everyone, None)
        silent = (0, 0) if given.voters is None else (min(given.voters, given.asked_for), given.asked_for)
        evidence = Evidence(query, tuple(found), tuple(paths), tuple(given.witnesses), tuple(given.asked), alone, states, given.risk, labels, failure,
                            silent)  # fmt: skip
        verdicts = decide(self._new_id(), evidence, self.settings, self.calibration)
        self._remember(evidence, verdicts, replies, given.asked_for)
        return verdicts

    def _states(self, records: Sequence[Candidate]) -> dict[str, Reason]:
        """What is known against some records beforehand."""
        out = {}
        for record in records:
            admitted = self._admitted.get(record.id)
            if admitted is not None and admitted != record.content_digest():
                out[record.id] = Reason.ALTERED
            elif self.suspicions.get(record.id).quarantined:
                out[record.id] = Reason.QUARANTINED
        return out

    def _remember(self, evidence: Evidence, verdicts: Verdicts, replies: tuple[str, ...] | None, asked_for: int) -> None:
        """Log a decision, and learn from it."""
        decision = Decision.of(evidence, verdicts, at=self._clock(), replies=replies, calibration=self.calibration.fingerprint, extractor=EXTRACTOR)
        with self._lock:
            self.log.add(decision, verdicts)
        for turned in self.experience.count(evidence, verdicts, asked_for):
            self._event("quarantined" if turned.quarantined else "released", turned.id, turned.reason.value, f"decision {verdicts.decision}")

    def _event(self, what: str, id: str, reason: str, by: str = "guard") -> None:
        event = {"at": self._clock(), "what": what, "id": id, "reason": reason, "by": by}
        with self._lock:
            self.events.append(event)
        if self._on_event is not None:
            self._on_event(event)
