"""What an index of lists is built with."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from math import isfinite
from typing import Any, Literal, Self

from mnemos.base.errors import Invalid

Metric = Literal["cosine", "l2", "inner_product"]
CodeName = Literal["binary", "int8", "float16", "float32"]

LONGEST = 1e17
"""The length that a vector may have where it is not made a unit vector: sums of squares of several such are numbers of float32."""


@dataclass(frozen=True, slots=True)
class Options:
    """The parameters of SPANN (arXiv 2111.08566) and of its updates (SPFresh, arXiv 2410.14452). What is not given keeps the measured default."""

    metric: Metric = "cosine"
    max_norm: float | None = None
    """Of vectors, where the metric is the inner product."""
    code: CodeName = "binary"
    """How vectors stand in the lists. The best few by code are ranked again by the vectors themselves."""
    head_ratio: float = 0.04
    """Heads per vector. More heads: shorter lists, more memory."""
    memory: int | None = None
    """Bytes that heads and the places of lists and vectors may take in memory: there are no more heads than fit. None: what `head_ratio` needs."""
    replicas: int = 8
    """At most so many lists hold a vector."""
    candidates: int = 64
    """So many of the nearest heads are looked at for them."""
    epsilon: float = 10.0
    """A list takes a vector whose squared distance is at most 1 + epsilon times that of the nearest head (paper, eps1)."""
    rng_factor: float | None = None
    """And whose head is nearer to the vector than to every head taken before it, this factor applied to the squared distance between heads.

    None: a build chooses it for the data (`closure.sparing_factor`: the largest up to 1 with which the rule spares a fifth of the copies); what grows
    by single additions takes 1. No number is right for all data: with 1, images are in 4.6 lists instead of 7.0 without the rule, and need those, but
    embedded texts in 6.9 of 7.1 and mixtures in 6.7 of 7.2, for in many dimensions most heads stand at just about the angle that the rule asks for.
    With 0.94 these are in 5.7 and 5.5, and lose 0.02 of recall@10 at 8 lists (head ratio 0.12)."""
    list_limit: int = 256
    """Entries of a list; a longer one is split, or lets go of the copies that are farthest."""
    merge_below: int = 10
    """A list with fewer live entries is merged with a neighbour."""
    renew_after: float = 1.0
    """A list gets a new head, and those next to it, when so many vectors have come and gone there as this share of those at home; 0: never."""
    reassign_heads: int = 64
    """After a split, vectors of so many neighbouring lists are looked at."""
    recall: float = 0.95
    """The recall@10 that the settings of a search are chosen for when the index is built."""
    seed: int = 0

    def __post_init__(self) -> None:
        checks = (
            ("metric", self.metric in ("cosine", "l2", "inner_product"), "cosine, l2 or inner_product"),
            ("max_norm", self.max_norm is None or 0 < self.max_norm <= LONGEST, f"above 0, at most {LONGEST:.0e}"),
            ("code", self.code in ("binary", "int8", "float16", "float32"), "binary, int8, float16 or float32"),
            ("head_ratio", 0 < self.head_ratio <= 0.5, "above 0 and at most 0.5"),
            ("memory", self.memory is None or self.memory > 0, "above 0"),
            ("replicas", 1 <= self.replicas <= 64, "1 to 64"),
            ("candidates", self.replicas <= self.candidates <= 1024, "at least `replicas`, at most 1024"),
            ("epsilon", self.epsilon >= 0 and isfinite(self.epsilon), "0 or more, and finite"),
            ("rng_factor", self.rng_factor is None or (self.rng_factor >= 0 and isfinite(self.rng_factor)), "0 or more, and finite"),
            ("list_limit", 8 <= self.list_limit <= 65536, "8 to 65,536"),
            ("merge_below", 0 <= self.merge_below <= self.list_limit // 4, "at most a quarter of `list_limit`"),
            ("renew_after", self.renew_after >= 0 and isfinite(self.renew_after), "0 or more, and finite"),
            ("reassign_heads", self.reassign_heads >= 0, "0 or more"),
            ("seed", self.seed >= 0, "0 or more"),
            ("recall", 0 < self.recall < 1, "between 0 and 1"),
        )
        for name, holds, wanted in checks:
            if not holds:
                raise Invalid(f"SPANN option {name}: is {getattr(self, name)!r}, must be {wanted}")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Options as a manifest holds them; what a newer version wrote and this one does not know is an error."""
        known = {field.name for field in fields(cls)}
        if strange := sorted(set(values) - known):
            raise Invalid(f"SPANN options: {', '.join(strange)} not known to this version of Mnemos; use the one that wrote the index, or rebuild it")
        return cls(**values)
