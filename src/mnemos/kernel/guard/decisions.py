"""The log of decisions: ids and digests, never texts, and enough of the rest to decide each one again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mnemos.base.errors import Conflict, Invalid, NotFound
from mnemos.kernel.guard.actions import Action, Risk
from mnemos.kernel.guard.consensus import Evidence
from mnemos.kernel.guard.probing import Probe
from mnemos.kernel.guard.records import Candidate
from mnemos.kernel.guard.verdicts import Reason, Verdicts

Lookup = Callable[[str], Candidate]
"""Gives the record of an id, as it was shown to the guard. Raises `NotFound` or `KeyError`."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One logged decision. `records` are (id, digest) of the candidates, then of the witnesses; `replies` what a model said to derive the
    paths (None: they were derived from patterns); `calibration` and `extractor` name what the bounds and the paths came from."""

    id: str
    at: int
    query: str
    records: tuple[tuple[str, str], ...]
    candidates: int
    probes: tuple[Probe, ...]
    alone: Action | None
    states: Mapping[str, Reason]
    risk: Risk | None
    labels: tuple[bool, ...] | None
    failure: str | None
    silent: tuple[int, int]
    replies: tuple[str, ...] | None
    calibration: str
    extractor: str
    verdicts: Mapping[str, Any]

    @classmethod
    def of(cls, evidence: Evidence, verdicts: Verdicts, *, at: int, replies: tuple[str, ...] | None, calibration: str, extractor: str) -> Decision:
        """The decision that was reached on this evidence."""
        records = tuple((record.id, record.digest()) for record in (*evidence.candidates, *evidence.witnesses))
        return cls(
            verdicts.decision, at, evidence.query, records, len(evidence.candidates), evidence.probes, evidence.alone, dict(evidence.states),
            evidence.risk, evidence.labels, evidence.failure, evidence.silent, replies, calibration, extractor, verdicts.as_json(),
        )  # fmt: skip

    def found(self, lookup: Lookup) -> tuple[tuple[Candidate, ...], tuple[Candidate, ...]]:
        """(candidates, witnesses) as they were. Raises `NotFound` where one is gone, `Conflict` where one is not what it was."""
        out = []
        for id, digest in self.records:
            try:
                record = lookup(id)
            except (KeyError, NotFound):
                raise NotFound(f"decision {self.id}: record {id} is gone, so that it cannot be decided again") from None
            if record.digest() != digest:
                raise Conflict(f"decision {self.id}: record {id} is not what it was then; look up the version of that time")
            out.append(record)
        return tuple(out[: self.candidates]), tuple(out[self.candidates :])

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values, for a log on disk."""
        return {
            "id": self.id, "at": self.at, "query": self.query, "records": [list(pair) for pair in self.records], "candidates": self.candidates,
            "probes": [{"name": p.name, "query": p.query, "left_out": sorted(p.left_out), "found": list(p.found)} for p in self.probes],
            "alone": self.alone.as_json() if self.alone else None, "states": {id: reason.value for id, reason in self.states.items()},
            "risk": None if self.risk is None else int(self.risk), "labels": None if self.labels is None else list(self.labels),
            "failure": self.failure, "silent": list(self.silent), "replies": None if self.replies is None else list(self.replies),
            "calibration": self.calibration, "extractor": self.extractor, "verdicts": dict(self.verdicts),
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Decision:
        """What `as_json` wrote. Raises `Invalid`."""
        try:
            probes = tuple(Probe(p["name"], p["query"], frozenset(p["left_out"]), tuple(p["found"])) for p in value["probes"])
            return cls(
                value["id"], int(value["at"]), value["query"], tuple((id, digest) for id, digest in value["records"]), int(value["candidates"]),
                probes, None if value["alone"] is None else Action.from_json(value["alone"]),
                {id: Reason(reason) for id, reason in value["states"].items()}, None if value["risk"] is None else Risk(value["risk"]),
                None if value["labels"] is None else tuple(value["labels"]), value["failure"], (int(value["silent"][0]), int(value["silent"][1])),
                None if value["replies"] is None else tuple(value["replies"]), value["calibration"], value["extractor"], value["verdicts"],
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise Invalid(f"decision: {error!r}; give the JSON that the guard wrote, unchanged") from None


class DecisionLog:
    """The newest `size` decisions, by id, and by the records that took part. `sink`, where given, is told of every one, to keep it for good.
    Safe to share between threads."""

    def __init__(self, size: int = 10_000, sink: Callable[[Decision], None] | None = None) -> None:
        self._size = size
        self._sink = sink
        self._held: OrderedDict[str, tuple[Decision, Verdicts]] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, decision: Decision, verdicts: Verdicts) -> None:
        with self._lock:
            self._held[decision.id] = (decision, verdicts)
            while len(self._held) > self._size:
                self._held.popitem(last=False)
        if self._sink is not None:
            self._sink(decision)

    def get(self, id: str) -> Decision:
        """A decision. Raises `NotFound`."""
        return self._pair(id)[0]

    def verdicts(self, id: str) -> Verdicts:
        """What was decided. Raises `NotFound`."""
        return self._pair(id)[1]

    def about(self, record: str) -> list[Decision]:
        """The decisions that a record was a candidate or a witness in, oldest first."""
        return [decision for decision in self if any(id == record for id, _ in decision.records)]

    def drop(self, records: Iterable[str]) -> None:
        """Let go of every decision that one of the records took part in: for records that are to be forgotten."""
        gone = set(records)
        with self._lock:
            for id in [id for id, (decision, _) in self._held.items() if any(record in gone for record, _ in decision.records)]:
                del self._held[id]

    def __iter__(self) -> Iterator[Decision]:
        with self._lock:
            return iter([decision for decision, _ in self._held.values()])

    def __len__(self) -> int:
        return len(self._held)

    def _pair(self, id: str) -> tuple[Decision, Verdicts]:
        held = self._held.get(id)
        if held is None:
            raise NotFound(f"there is no decision {id!r} in the log, or it is too old")
        return held
