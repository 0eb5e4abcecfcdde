"""One decision, as a pure function of what was known: replayed, it comes out the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mnemos.kernel.guard import claims, echo, independence, probing
from mnemos.kernel.guard.actions import Action, Effect, Risk, similarity
from mnemos.kernel.guard.calibration import Calibration
from mnemos.kernel.guard.corrections import corrections, outvoted
from mnemos.kernel.guard.divergence import Compared, compared, divergences
from mnemos.kernel.guard.paths import Path
from mnemos.kernel.guard.probing import Probe
from mnemos.kernel.guard.records import Candidate
from mnemos.kernel.guard.settings import Settings
from mnemos.kernel.guard.verdicts import Answer, Consensus, Reason, Verdict, Verdicts
from mnemos.kernel.guard.voting import Ballot, Tally, alike, tally

ALONE = "without memory"
"""The voter that stands for the plan without memory."""
_STANDING = (None, Reason.CORRECTS, Reason.DISPUTED)
"""What is noted of a record without striking it off."""
_KEPT = frozenset({Reason.AGREES, Reason.CORRECTS, Reason.DISPUTED, Reason.UNOPPOSED})


@dataclass(frozen=True)
class Evidence:
    """All that a decision rests on. `paths` are those of `candidates`, then of `witnesses` (records that only perturbed queries found).

    `alone` is the action without memory; `states` says what is known against a record beforehand; `labels` whether a clustering or a judge
    found each candidate consistent; `failure` why no comparison came about. `silent` (start, stop) are candidates too far down for a vote on
    what to do: they are background, and may be about anything.
    """

    query: str
    candidates: tuple[Candidate, ...]
    paths: tuple[Path, ...]
    witnesses: tuple[Candidate, ...] = ()
    probes: tuple[Probe, ...] = ()
    alone: Action | None = None
    states: Mapping[str, Reason] = field(default_factory=dict)
    risk: Risk | None = None
    labels: tuple[bool, ...] | None = None
    failure: str | None = None
    silent: tuple[int, int] = (0, 0)


def decide(decision: str, evidence: Evidence, settings: Settings, calibration: Calibration) -> Verdicts:
    """The verdict on each candidate, and whether there is a consensus."""
    return _Decision(evidence, settings, calibration).verdicts(decision)


@dataclass(frozen=True, slots=True)
class _Suspect:
    """A group of records with like actions, the words that it hangs on, and the perturbed query from whose answer it is gone."""

    members: Sequence[int]
    bound: frozenset[int]
    probe: Probe
    action: Action


class _Decision:
    """One decision in the making: records are struck off one reason after another, and what stands then votes."""

    def __init__(self, evidence: Evidence, settings: Settings, calibration: Calibration) -> None:
        self.evidence, self.settings, self.calibration = evidence, settings, calibration
        self.records: tuple[Candidate, ...] = evidence.candidates + evidence.witnesses
        self.paths: Sequence[Path] = evidence.paths
        self.count = len(evidence.candidates)
        self.reasons: dict[int, Reason] = {}
        self.details: dict[int, str] = {}
        self.alarms: list[str] = []
        self.hangs_on: dict[int, frozenset[int]] = {}
        self.silent = range(*evidence.silent)
        self.trusts = [independence.trust_of(record, settings) for record in self.records]
        self.witness = independence.dependence(self.records, self.paths, self.trusts, settings, calibration.near)
        self.weights = independence.weights(self.witness, self.trusts)
        self.table: Compared = compared(self.paths)
        self.distance: list[float | None] = [None] * len(self.records)
        self.tally = Tally()

    def verdicts(self, decision: str) -> Verdicts:
        evidence = self.evidence
        if evidence.failure is not None:
            self.alarms.append(f"undecided: {evidence.failure}; act as without memory")
            return self._done(decision, Consensus.UNDECIDED, dict.fromkeys(range(self.count), Reason.UNDECIDED))
        for index, record in enumerate(self.records):
            if record.id in evidence.states:
                self._strike(index, evidence.states[record.id], "")
                if evidence.states[record.id] is Reason.UNDECIDED:
                    self.alarms.append(f"undecided: the path of record {record.id} cannot be read")
        exclude, agree = claims.relations(evidence.query, self.paths, self.calibration.vocabulary, self.table)
        self._corrections(exclude)
        self._copies()
        self._echoes()
        self._triggers()
        self._labels()
        self._claims(exclude, agree)
        self._vote()
        self._held_back()
        self._divergences()
        return self._conclusion(decision)

    # -- striking off, reason by reason --
    def _strike(self, index: int, reason: Reason, detail: str) -> None:
        if self.reasons.get(index) in _STANDING:
            self.reasons[index] = reason
            self.details[index] = detail

    @property
    def standing(self) -> list[int]:
        """Indices of the records that nothing was found against."""
        return [index for index in range(len(self.records)) if self.reasons.get(index) in _STANDING]

    def _corrections(self, exclude: claims.Flags) -> None:
        """Records that are corrected by one with the authority to do so."""
        for by, whom in corrections(self.records, self.trusts, self.paths, exclude, set(self.standing), self.settings):
            self._strike(whom, Reason.SUPERSEDED, f"by {self.records[by].id}")
            self.reasons.setdefault(by, Reason.CORRECTS)

    def _copies(self) -> None:
        """Word for word what an earlier record says, by nobody who is believed: it says nothing more, and must not count as more."""
        first: dict[str, int] = {}
        for index in self.standing:
            known = first.setdefault(self.records[index].text, index)
            if known != index and self.trusts[index] < self.settings.attested_trust:
                self._strike(index, Reason.COPY, f"of {self.records[known].id}")

    def _echoes(self) -> None:
        """Claims that several records make which nobody vouches for, unless somebody does who is believed."""
        # Those in quarantine are struck off already, and show all the same what the others are an echo of.
        heard = [i for i in range(len(self.records)) if i in self.standing or self.reasons[i] is Reason.QUARANTINED]
        stating = [i for i in heard if (action := self.paths[i].action) is None or action.effect is Effect.ANSWER]
        doubtful = [at for at, i in enumerate(stating) if self.trusts[i] < self.settings.attested_trust]
        for making in echo.making(self.evidence.query, [self.paths[i] for i in stating], doubtful, self.settings.echo_size, self.calibration):
            for at in making:
                self._strike(stating[at], Reason.ECHO, f"{len(making)} records say it")
            self.alarms.append(f"echo: {len(making)} records make one claim, and nobody independent does")

    def _triggers(self) -> None:
        """Records that hang on words which nothing else here uses, and lead elsewhere than what is found without them.

        A subject that is asked for the first time looks like a trigger, seen from the poison. So of two groups that hang on words of their
        own, the one is innocent that the plan without memory shares, else the one that was there in benign times. Where neither is, both go
        if what they do is more than reading.
        """
        if not self.evidence.probes or not self.calibration.vocabulary.records:
            return
        suspects = self._suspects()
        for suspect in suspects:
            rival = self._rival(suspect)
            if rival is None or similarity(rival, suspect.action) >= self.settings.same_action:
                continue
            other = next((s for s in suspects if similarity(s.action, rival) >= self.settings.same_action), None)
            innocent = self._innocent(suspect, other) if other is not None else None
            if innocent is suspect or (other is not None and innocent is None and suspect.action.risk is Risk.READ_ONLY):
                continue
            for member in suspect.members:
                self._strike(member, Reason.TRIGGER, f"gone without {len(suspect.bound & suspect.probe.left_out)} words that nothing else here uses")
                self.hangs_on[member] = suspect.bound
            self.alarms.append(f"trigger: {len(suspect.members)} records hang on words that nothing else here uses")

    def _suspects(self) -> list[_Suspect]:
        """Groups of like actions, without anybody of authority, that are gone as soon as their words are left out of the query."""
        out = []
        paths = [self.paths[i] for i in range(self.count)]
        for members, bound in probing.bindings(self.evidence.query, paths, self.calibration.vocabulary, self.settings):
            voting = [self.records[i].id for i in members if i not in self.silent]
            probe = probing.collapsed(voting, bound, self.evidence.probes) if voting else None
            if probe is not None and all(self.trusts[i] < self.settings.authority_trust for i in members):
                out.append(_Suspect(members, bound, probe, self._action(members[0])))
        return out

    def _rival(self, suspect: _Suspect) -> Action | None:
        """What those agree on that are found without the suspect's words."""
        found = set(suspect.probe.found)
        others = [i for i in self.standing if i not in suspect.members and self.records[i].id in found]
        vote = tally([ballot for ballot in self._ballots(others, self._witnesses(others)) if ballot.voter != ALONE], self.settings)
        return vote.action if vote.quorum else None

    def _innocent(self, a: _Suspect, b: _Suspect) -> _Suspect | None:
        """Which of two suspects is none, if that can be said."""
        alone = self.evidence.alone
        sharing = [s for s in (a, b) if alone is not None and similarity(s.action, alone) >= self.settings.same_action]
        older = [s for s in (a, b) if 2 * sum(self.calibration.knows(self.records[i]) for i in s.members) > len(s.members)]
        return next((chosen[0] for chosen in (sharing, older) if len(chosen) == 1), None)

    def _labels(self) -> None:
        """What a clustering or a judge set apart."""
        for index, consistent in enumerate(self.evidence.labels or ()):
            if not consistent:
                self._strike(index, Reason.INCONSISTENT, f"by {self.settings.compare}")

    def _claims(self, exclude: claims.Flags, agree: claims.Flags) -> None:
        """Claims that a majority of independent records contradicts; those that are contradicted without one are disputed."""
        standing = self.standing
        for index, lost in outvoted(standing, self._witnesses(standing), self.witness, exclude, agree, self.settings).items():
            if self.paths[index].action is not None or self.reasons.get(index) is Reason.CORRECTS:
                continue
            if lost:
                self._strike(index, Reason.OUTVOTED, "its claim")
            else:
                self.reasons.setdefault(index, Reason.DISPUTED)

    def _held_back(self) -> None:
        """The influence test: a lone witness that changes what is done without memory, while others do not, or while nobody vouches for it."""
        alone = self.evidence.alone
        acting = [i for i in self.standing if self.paths[i].action is not None and i not in self.silent]
        if alone is None:
            return
        swayed = [i for i in acting if similarity(self._action(i), alone) < self.settings.same_action]
        if not swayed or len({self.witness[i] for i in swayed}) > 1 or any(self.trusts[i] >= self.settings.authority_trust for i in swayed):
            return
        if len(swayed) < len(self.standing) or all(self.trusts[i] < self.settings.attested_trust for i in swayed):
            for index in swayed:
                self._strike(index, Reason.HELD_BACK, "it alone changes what is done without memory")
            self._vote()

    def _divergences(self) -> None:
        """What departs from the others further than benign records do, or acts against the consensus where acting does harm."""
        standing = set(self.standing)
        self.distance = divergences(self.paths, self.witness, self.settings.action_weight, self.table, standing)
        for index in [i for i in sorted(standing) if i < self.count and self.paths[i].action is not None]:
            if index in self.silent:
                action = self._action(index)
                known = action.kind in self.calibration.actions or alike(action, self.tally.action, self.settings)
                if action.risk > Risk.READ_ONLY and not known:
                    self._strike(index, Reason.OUTVOTED, "an unusual action, too far down for a vote")
                continue
            if not self.tally.quorum or self.records[index].id in self.tally.voters:
                continue
            distance, bound = self.distance[index], self.calibration.divergence
            far = distance is not None and bound is not None and distance > bound
            if far and self.settings.compare == "divergence":
                self._strike(index, Reason.DIVERGES, f"D {distance:.3f} > {bound:.3f}")
            elif self._action(index).risk > Risk.READ_ONLY:
                self._strike(index, Reason.OUTVOTED, "its action")

    # -- the vote --
    def _ballots(self, voters: Sequence[int], weights: Mapping[int, float]) -> list[Ballot]:
        ballots = [
            Ballot(self.records[i].id, self._action(i), weights[i], str(self.witness[i])) for i in voters if self.paths[i].action is not None
        ]
        if self.evidence.alone is not None:
            ballots.append(Ballot(ALONE, self.evidence.alone, 1.0, ALONE))
        return ballots

    def _witnesses(self, voters: Sequence[int]) -> dict[int, float]:
        """The votes of some of the records: who is struck off leaves its witness's whole vote to those that stand."""
        shared = independence.weights([self.witness[i] for i in voters], [self.trusts[i] for i in voters])
        return dict(zip(voters, shared, strict=True))

    def _vote(self) -> None:
        standing = self.standing
        weights = self._witnesses(standing)
        for index, weight in weights.items():
            self.weights[index] = weight
        self.tally = tally(self._ballots([i for i in standing if i not in self.silent], weights), self.settings)

    def _action(self, index: int) -> Action:
        action = self.paths[index].action
        assert action is not None
        return action

    # -- the end --
    def _conclusion(self, decision: str) -> Verdicts:
        kept = [i for i in self.standing if i < self.count]
        acting = [self._action(i) for i in kept if self.paths[i].action is not None and i not in self.silent]
        risk = self.evidence.risk if self.evidence.risk is not None else max((action.risk for action in acting), default=Risk.READ_ONLY)
        final = {i: self.reasons[i] for i in range(self.count) if i in self.reasons}
        for index in kept:
            if self.records[index].id in self.tally.voters and self.tally.quorum:
                final.setdefault(index, Reason.AGREES)
            final.setdefault(index, Reason.UNOPPOSED)
        if not acting:
            return self._done(decision, Consensus.UNOPPOSED, final, risk)
        if self.tally.quorum:
            alone = self.evidence.alone
            agreed = alone is not None and ALONE in self.tally.voters
            if risk is Risk.IRREVERSIBLE and alone is not None and not agreed:
                self.alarms.append("no consensus: the action cannot be taken back, and the plan without memory is another")
                return self._done(decision, Consensus.NONE, {i: final[i] if final[i] not in _KEPT else Reason.NO_CONSENSUS for i in final}, risk)
            return self._done(decision, Consensus.REACHED, final, risk, needs_approval=risk is Risk.IRREVERSIBLE and not agreed)
        if risk is Risk.READ_ONLY:
            return self._done(decision, Consensus.UNOPPOSED, final, risk)
        self.alarms.append("no consensus: too few independent records agree on the action")
        return self._done(decision, Consensus.NONE, {i: final[i] if final[i] not in _KEPT else Reason.NO_CONSENSUS for i in final}, risk)

    def _done(
        self, decision: str, consensus: Consensus, reasons: Mapping[int, Reason], risk: Risk = Risk.READ_ONLY, *, needs_approval: bool = False
    ) -> Verdicts:
        verdicts = []
        for index, record in enumerate(self.evidence.candidates):
            reason = reasons[index]
            undecided = reason in (Reason.UNDECIDED, Reason.NO_CONSENSUS)
            answer = Answer.KEEP if reason in _KEPT else Answer.UNDECIDED if undecided else Answer.EXCLUDE
            distance = self.distance[index]
            verdicts.append(Verdict(record.id, answer, reason, distance, self.weights[index], self.records[self.witness[index]].id,
                                    self.paths[index].action, self.details.get(index, ""), self.hangs_on.get(index, frozenset())))  # fmt: skip
        kept = tuple(verdict.id for verdict in verdicts if verdict.answer is Answer.KEEP)
        return Verdicts(decision, tuple(verdicts), consensus, self.tally.action if self.tally.quorum else None, self.tally.share,
                        self.tally.sources, risk, needs_approval, tuple(self.alarms), kept)  # fmt: skip

