"""The loop that every change of memory goes through: proposed, admitted by gates, tried on some of the traffic, then live, or rolled back
(arXiv 2509.18868, DMM-Gov, S1 to S6).

Thresholds are registered, with their time, before anything is measured; every step is an entry of the ledger; harm is noticed by sequential
tests, and going back is automatic.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mnemos.base.clock import Clock, iso, system_clock
from mnemos.base.cube import Json, check_word
from mnemos.base.errors import Conflict, Corrupt, Invalid
from mnemos.base.ids import IdSource
from mnemos.base.stats import wilson
from mnemos.kernel.changes.admission import STANDARD_GATES, Gate, Slices, Verdict, judge
from mnemos.kernel.changes.disclosure import problems
from mnemos.kernel.changes.ledger import AuditEntry, Ledger, Stage, StoreLedger
from mnemos.kernel.changes.monitors import STANDARD, Action, Arm, Monitor, Watch, arm_of
from mnemos.kernel.changes.routing import Profile, route
from mnemos.kernel.changes.tiers import Changeable

if TYPE_CHECKING:
    from mnemos.kernel.system import Mnemos


_FINISHED = "finished"


@dataclass(frozen=True)
class Terms:
    """What a change must keep, fixed before it is measured (S4).

    `share` of the traffic meets it as a canary (0 to 1) until `canary_queries` of it went well; live, it is watched for `watch_queries` more,
    and then what cannot be undone is done.
    """

    gates: tuple[Gate, ...] = STANDARD_GATES
    monitors: tuple[Monitor, ...] = STANDARD
    share: float = 0.1
    canary_queries: int = 200
    watch_queries: int = 800

    def __post_init__(self) -> None:
        if not self.gates or not self.monitors:
            raise Invalid("terms: a change needs a gate to pass and a monitor to be watched by")
        if not 0 < self.share <= 1 or self.canary_queries < 1 or self.watch_queries < 0:
            raise Invalid(
                f"terms: need 0 < share <= 1, canary_queries >= 1 and watch_queries >= 0, not {self.share}, {self.canary_queries} and "
                f"{self.watch_queries}"
            )

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: Json) -> Terms:
        gates, monitors = tuple(Gate(**gate) for gate in record["gates"]), tuple(Monitor(**monitor) for monitor in record["monitors"])
        return cls(gates, monitors, record["share"], record["canary_queries"], record["watch_queries"])


@dataclass
class _Running:
    """What one process holds of a change: its parts, and what was seen of the traffic."""

    parts: Sequence[Changeable]
    watch: Watch
    control: Watch


class Changes:
    """The changes of one ledger. `actor` is who acts in it; `seed` makes intervals repeatable.

    A change that another process began is taken over with `resume`. The evidence of the monitors is each process's own. Threads may observe at
    the same time.
    """

    def __init__(self, ledger: Ledger, *, actor: str | None = None, clock: Clock = system_clock, seed: int = 0) -> None:
        self.ledger = ledger
        self.actor = actor
        self._clock = clock
        self._seed = seed
        self._ids = IdSource()
        self._running: dict[str, _Running] = {}
        self._lock = threading.RLock()

    @classmethod
    def of(cls, memory: Mnemos) -> Changes:
        """The changes of an open store: its ledger, its principal, its clock."""
        return cls(StoreLedger(memory), actor=memory.principal, clock=memory.clock)

    # -- S1 to S4 --
    def propose(self, title: str, parts: Sequence[Changeable], profile: Profile | None = None) -> str:
        """Enter a change; gives its id. `title` stays in the log for good: it must not repeat what the change touches. With `profile` the entry
        says where the rule of thirds would have the update. Raises `Invalid`."""
        title = check_word(title, "title") or ""
        if not title or not parts:
            raise Invalid("propose: a change needs a title and at least one part to change")
        tiers = [part.tier for part in parts]
        if len(set(tiers)) < len(tiers):
            raise Invalid(f"propose: two parts change the same tier ({', '.join(tiers)}); make one part of them")
        for part in parts:
            part.check_words(title)
        change = str(self._ids.new(self._clock()))
        chosen = route(profile) if profile is not None else None
        self._enter(
            change,
            Stage.PROPOSED,
            "proposed",
            reasons=tuple(f"{reason.step}:{reason.code}" for reason in chosen.reasons) if chosen else (),
            before={part.tier: part.version() for part in parts},
            body={"title": title, "route": chosen.as_json() if chosen else None, "profile": profile.as_json() if profile else None},
        )
        self._hold(change, parts, Terms())
        return change

    def register(self, change: str, terms: Terms) -> None:
        """Fix the terms of a change, before it is measured. Raises `Conflict` where they are fixed already."""
        entries = self.ledger.entries(change)
        if self._terms(entries) is not None:
            raise Conflict(f"change {change}: its terms are registered already; thresholds do not move once they are fixed, propose a new change")
        self._enter(change, Stage.PROPOSED, "registered", body={"terms": terms.as_json()})
        self._hold(change, self._parts(change), terms)

    def admit(self, change: str, measure: Callable[[], Slices], card: object) -> Verdict:
        """Measure before the change and inside a trial of it, and admit it or refuse it.

        `measure` asks the questions of every slice that the gates name; `card` is the disclosure of how (`changes.disclosure`), and one with a
        missing field refuses the change. Raises `Conflict` where no terms are registered.
        """
        entries = self.ledger.entries(change)
        terms, parts = self._registered(change, entries), self._parts(change)
        self._must_be(change, entries, Stage.PROPOSED)
        missing = tuple(f"card:{problem}" for problem in problems(card))
        if missing:
            verdict = Verdict((), missing)
        else:
            digests = [part.digest() for part in parts]
            before = measure()
            with contextlib.ExitStack() as trials:
                for part in parts:
                    trials.enter_context(part.trial())
                after = measure()
            if [part.digest() for part in parts] != digests:
                raise Corrupt(f"change {change}: a trial did not leave its tier as it was; it must not be applied")
            verdict = judge(terms.gates, before, after, np.random.default_rng(self._seed))
        self._enter(
            change,
            Stage.ADMITTED if verdict else Stage.REFUSED,
            "admitted" if verdict else "refused at the gates",
            reasons=verdict.codes,
            before={part.tier: part.version() for part in parts},
            metrics=tuple(finding.as_json() for finding in verdict.findings),
        )
        return verdict

    # -- S5 --
    def start(self, change: str) -> None:
        """Put an admitted change in force for the canary's share of the traffic."""
        entries = self.ledger.entries(change)
        terms, parts = self._registered(change, entries), self._parts(change)
        self._must_be(change, entries, Stage.ADMITTED)
        versions = {part.tier: part.version() for part in parts}
        done: list[tuple[Changeable, Json]] = []
        with self.ledger.together():
            try:
                for part in parts:
                    done.append((part, part.apply()))
                self._enter(
                    change,
                    Stage.CANARY,
                    f"canary of {terms.share:.0%}",
                    before=versions,
                    after={part.tier: part.version() for part in parts},
                    body={"restore": {part.tier: before for part, before in done}},
                )
            except BaseException:
                for part, before in reversed(done):
                    part.restore(before)
                raise
        self._hold(change, parts, terms)

    def arm(self, change: str, key: str) -> Arm:
        """Which memory the query of `key` (a user, a conversation) is to meet: the canary only where the change is in force for it."""
        entries = self.ledger.entries(change)
        stage = entries[-1].stage
        if stage is Stage.LIVE:
            return Arm.CANARY
        return arm_of(change, key, self._registered(change, entries).share) if stage is Stage.CANARY else Arm.CONTROL

    def action(self, change: str) -> Action:
        """What to do with the next query of the canary arm."""
        stage = self.ledger.entries(change)[-1].stage
        if stage in (Stage.CANARY, Stage.LIVE):
            return self._held(change).watch.action
        return Action.ROLL_BACK if stage is Stage.ROLLED_BACK else Action.SERVE

    def observe(self, change: str, events: Mapping[str, bool], arm: Arm = Arm.CANARY) -> Action:
        """Take in what happened at one query; gives what to do with the next. A change that does harm is rolled back here, one whose canary
        went well goes live, and one that was live long enough is finished, and no longer watched."""
        with self._lock:
            entries = self.ledger.entries(change)
            stage = entries[-1].stage
            if stage not in (Stage.CANARY, Stage.LIVE) or self._finished(entries):
                return Action.ROLL_BACK if stage is Stage.ROLLED_BACK else Action.SERVE
            terms, held = self._registered(change, entries), self._held(change)
            if arm is Arm.CONTROL:
                held.control.observe(events)
                return held.watch.action
            action = held.watch.observe(events)
            if action is Action.ROLL_BACK:
                self._roll_back(change, tuple(f"monitor:{event}" for event in held.watch.alarms))
            elif action is Action.SERVE and stage is Stage.CANARY and held.watch.seen >= terms.canary_queries:
                self.promote(change)
            elif action is Action.SERVE and stage is Stage.LIVE and held.watch.seen >= terms.canary_queries + terms.watch_queries:
                self.finish(change)
            return action

    # -- S6 --
    def promote(self, change: str) -> None:
        """Let all traffic meet the change. Raises `Conflict` while monitors ask for less, or before the canary saw enough."""
        entries = self.ledger.entries(change)
        terms, held = self._registered(change, entries), self._held(change)
        self._must_be(change, entries, Stage.CANARY)
        if held.watch.action is not Action.SERVE or held.watch.seen < terms.canary_queries:
            raise Conflict(
                f"change {change}: {held.watch.seen} of {terms.canary_queries} canary queries seen, and the monitors ask to "
                f"{held.watch.action.name.lower()}; it cannot go live yet"
            )
        self._enter(change, Stage.LIVE, "live", metrics=self._rates(held))

    def finish(self, change: str) -> None:
        """Do what cannot be undone, such as forgetting, and end the watch."""
        entries = self.ledger.entries(change)
        self._must_be(change, entries, Stage.LIVE)
        if self._finished(entries):
            return
        parts, restore, held = self._parts(change), self._restore(entries), self._held(change)
        kept = {part.tier: part.finish(restore[part.tier]) for part in parts}
        self._enter(change, Stage.LIVE, _FINISHED, metrics=self._rates(held), body={"finished": kept})

    def roll_back(self, change: str, reasons: Sequence[str]) -> None:
        """Put every tier back as it was before the change, and check that it is. The reasons stay in the log, as the title does. Raises
        `Conflict` for a change that is not in force, or is finished, and `Invalid`."""
        for part in self._parts(change):
            for reason in reasons:
                part.check_words(reason)
        self._roll_back(change, reasons)

    def _roll_back(self, change: str, reasons: Sequence[str]) -> None:
        """Roll back for reasons that are codes."""
        entries = self.ledger.entries(change)
        if entries[-1].stage not in (Stage.CANARY, Stage.LIVE):
            raise Conflict(f"change {change}: is {entries[-1].stage}, so there is nothing to roll back")
        if self._finished(entries):
            raise Conflict(f"change {change}: is finished; what it removed is gone for good")
        parts, restore, held = self._parts(change), self._restore(entries), self._held(change)
        versions = {part.tier: part.version() for part in parts}
        with self.ledger.together():
            for part in reversed(parts):
                part.restore(restore[part.tier])
            unlike = [part.tier for part in parts if not part.restored(restore[part.tier])]
            codes = (*reasons, *(f"changed-since:{tier}" for tier in unlike))
            self._enter(
                change,
                Stage.ROLLED_BACK,
                "rolled back" if not unlike else "rolled back; others had changed the same since, and theirs was kept",
                reasons=codes,
                before=versions,
                after={part.tier: part.version() for part in parts},
                metrics=self._rates(held),
            )

    # -- reading --
    def stage(self, change: str) -> Stage:
        """Where a change stands."""
        return self.ledger.entries(change)[-1].stage

    def history(self, change: str) -> list[AuditEntry]:
        """The audit entries of a change, oldest first."""
        return self.ledger.entries(change)

    def resume(self, change: str, parts: Sequence[Changeable]) -> None:
        """Take over a change that another process began, with the same tiers. Monitors begin anew."""
        entries = self.ledger.entries(change)
        tiers = set(entries[0].before)
        if {part.tier for part in parts} != tiers:
            raise Invalid(f"resume: change {change} has the tiers {', '.join(sorted(tiers))}; give one part for each")
        self._hold(change, parts, self._terms(entries) or Terms())

    # -- inside --
    def _enter(self, change: str, stage: Stage, decision: str, **more: Any) -> None:
        self.ledger.append(AuditEntry(change, 0, iso(self._clock()) or "", self.actor, stage, decision, **more))

    def _hold(self, change: str, parts: Sequence[Changeable], terms: Terms) -> None:
        self._running[change] = _Running(list(parts), Watch(terms.monitors), Watch(terms.monitors))

    def _held(self, change: str) -> _Running:
        if change not in self._running:
            raise Conflict(f"change {change}: began in another process; take it over with resume")
        return self._running[change]

    def _parts(self, change: str) -> Sequence[Changeable]:
        return self._held(change).parts

    @staticmethod
    def _terms(entries: Sequence[AuditEntry]) -> Terms | None:
        found = next((entry for entry in entries if "terms" in entry.body), None)
        return Terms.from_json(found.body["terms"]) if found else None

    def _registered(self, change: str, entries: Sequence[AuditEntry]) -> Terms:
        terms = self._terms(entries)
        if terms is None:
            raise Conflict(f"change {change}: no terms are registered; fix the thresholds with register before anything is measured")
        return terms

    @staticmethod
    def _must_be(change: str, entries: Sequence[AuditEntry], stage: Stage) -> None:
        if entries[-1].stage is not stage:
            raise Conflict(f"change {change}: is {entries[-1].stage}, and must be {stage} for this")

    @staticmethod
    def _finished(entries: Sequence[AuditEntry]) -> bool:
        return any(entry.decision == _FINISHED for entry in entries)

    @staticmethod
    def _restore(entries: Sequence[AuditEntry]) -> Mapping[str, Json]:
        restore: Mapping[str, Json] = next(entry.body["restore"] for entry in entries if "restore" in entry.body)
        return restore

    @staticmethod
    def _rates(held: _Running) -> tuple[Json, ...]:
        """The shares of events that each arm saw, with their intervals."""
        out = []
        for arm, watch in ((Arm.CANARY, held.watch), (Arm.CONTROL, held.control)):
            for monitor in watch.monitors if watch.seen else ():
                rate = wilson(watch.happened.get(monitor.event, 0), watch.seen)
                out.append({"arm": arm.value, "event": monitor.event, "limit": monitor.limit, "measured": asdict(rate)})
        return tuple(out)
