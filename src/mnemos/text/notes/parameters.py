"""How notes are linked, evolve and are used; with where each number comes from."""

from __future__ import annotations

from dataclasses import dataclass

from mnemos.base.errors import Invalid


@dataclass(frozen=True, slots=True)
class Parameters:
    """A-MEM's own numbers where it gives any."""

    portion: int = 64
    """Memories of one transaction. Notes that have changed are embedded at its end, so that the stored vector is always that of the note as it is:
    the paper's code embeds anew after every 100 evolutions (`evo_threshold`), and compares with stale vectors until then."""
    neighbours: int = 5
    """Nearest notes that a new one is compared with, and the most that it may rewrite. The paper's code."""
    links: int = 10
    """Links of a note to earlier ones, those by rare names among them. Ours."""
    nearest: float = 0.45
    """Cosine from which on likeness alone is a link. Ours."""
    commonest: int = 60
    """Memories that a name may stand in, to link them. As `text.bridging`."""
    evolve: bool = True
    """Whether later memories may add to the descriptions of earlier ones."""
    rewrites: int = 6
    """Evolutions that one note keeps at most: each names the memories that it drew on, and the note goes with any of them. Ours."""
    rewrites_a_day: int = 3
    """Evolutions of one note within 24 hours, against semantic drift. Ours."""
    drift: float | None = 0.15
    """How much less like its content a new context may be than the one before (cosine). The sheet's; None: no guard."""
    floor: float = 0.7
    """The share of its first likeness to the content that a context keeps however often it evolves: small steps add up. With `drift`. Ours."""
    reserve: float = 0.3
    """Share of the slots that linked memories may take from direct hits: the sheet's."""
    origins: int = 12
    """Best hits whose links are followed. As `text.bridging`."""
    through: float = 0.7
    """What a link costs: score = hit · 0.7 · link. The sheet's."""
    share: float = 0.5
    """How much of a hit's distance from the best one counts as its score (log odds). Chosen, as the next seven, among some 120 on one half
    of the questions of MuSiQue, 2WikiMultihopQA, HotpotQA, LoCoMo and BFCL's memories; on the other half they do about as well
    (docs/strategies/notes.md)."""
    bearing: float = -5.0
    """Log odds of what is linked, beside those of its hit."""
    likeness: float = 4.0
    """For the cosine of what is linked with the question."""
    rest: float = 2.0
    """For the share of the question that what is linked holds and the hit does not."""
    strong: float = 5.5
    """Log odds by which what is linked may lie below the best hit and still counts as strongly linked."""
    granted: float = 0.2
    """Share of the slots that what is strongly linked has, whatever direct hits score; the rest of the reserve it wins by its score. Given all
    of the reserve, LoCoMo loses a point."""
    said: float = 3.0
    """Log odds that a memory gains where its note holds all of the question and it itself nothing."""
    meant: float = 3.0
    """Log odds for each unit of cosine that its note is nearer to the question than it is itself."""

    def __post_init__(self) -> None:
        if not (0 <= self.reserve < 1 and 0 < self.through <= 1):
            raise Invalid(f"notes: reserve is within 0 and 1, through above 0 and at most 1; not {self.reserve} and {self.through}")
        if min(self.portion, self.neighbours, self.links, self.origins) < 1:
            raise Invalid("notes: portion, neighbours, links and origins are 1 or more")


DEFAULTS = Parameters()
