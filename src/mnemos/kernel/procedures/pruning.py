"""Entries that do not help are let go: to the archive, with the numbers that say why, or for good."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mnemos.base.errors import Frozen, Invalid
from mnemos.kernel.procedures import keeping
from mnemos.text.procedures.procedure import Procedure
from mnemos.text.trajectories.credit import Base, Counts, absolute, by_uplift, harm

if TYPE_CHECKING:
    from mnemos.kernel.procedures.service import Procedures


@dataclass(frozen=True, slots=True)
class Pruned:
    """An entry that was let go, with what its use showed; `posterior` is the probability that it does harm, P(uplift < 0)."""

    id: str
    procedure: Procedure
    counts: Counts
    base: Base
    posterior: float

    @property
    def reason(self) -> str:
        """Why, as the log keeps it."""
        return f"pruned: u={self.counts.u} f={self.counts.f} posterior={self.posterior:.3f} base={self.base.mean:.3f}"


def due(service: Procedures) -> list[Pruned]:
    """The entries that the rule of the settings lets go, as their counts stand."""
    settings = service.settings
    out = []
    with service.space.system.snapshot() as snapshot:
        for id, procedure in service.pool().entries.items():
            counts = service.ledger.counts(snapshot, id, procedure.revision)
            if counts.f < max(settings.alpha, 1):
                continue
            base = service.ledger.base(snapshot, procedure.families, counts)
            if settings.rule == "absolute":
                gone = absolute(counts, settings.alpha, settings.beta)
            else:
                gone = by_uplift(counts, base, settings.alpha, settings.sure)
            if gone:
                out.append(Pruned(id, procedure, counts, base, harm(counts, base)))
    return out


def prune(service: Procedures, *, forget: bool) -> list[Pruned]:
    """Let go of what is due, in one transaction; what is frozen stays. `forget` removes the entries for good, with a certificate each."""
    out = []
    with service.space.system.transaction():
        for one in due(service):
            try:
                _let_go(service, one, forget)
            except Frozen:
                continue
            out.append(one)
    return out


def _let_go(service: Procedures, one: Pruned, forget: bool) -> None:
    for reason in (one.reason, "pruned"):  # a reason may not repeat a piece of the memory's text, and the short one is too short for that
        try:
            if forget:
                service.space.forget([one.id], reason=reason)
            else:
                service.space.archive(one.id, reason)
            return
        except Invalid:
            if reason == "pruned":
                raise


def archived(service: Procedures) -> dict[str, Procedure]:
    """The entries that are in the archive: what was pruned and not forgotten, by id."""
    page = service.space.list(types=[keeping.PROCEDURE], states=["archived"], limit=10_000)
    return {cube.id: keeping.procedure_of(cube) for cube in page}
