"""A domain: the primitives, constants and features by which problems of one kind are solved without a model. Grids are one, texts another."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mnemos.text.concepts.concept import Concept, Parameter, Problem
from mnemos.text.concepts.scoring import same
from mnemos.text.concepts.terms import Library, Routine
from mnemos.text.concepts.types import Type


@dataclass(frozen=True)
class Domain:
    """`input` and `output` are the types of a problem's two sides; `constants` the values of each type that a solution may name, for a problem;
    `features` what holds of all its pairs; `key` makes values comparable; `subtype` is what its routines are called in concepts."""

    name: str
    input: Type
    output: Type
    primitives: tuple[Routine, ...]
    constants: Callable[[Problem], Mapping[str, Sequence[Any]]]
    features: Callable[[Problem], frozenset[str]]
    key: Callable[[Any], Hashable]
    check: Callable[[Any], None] | None = None
    subtype: str = "routine"
    equal: Callable[[Any, Any], bool] = same

    def library(self) -> Library:
        """The primitives."""
        return Library(self.primitives, self.check)

    def primitive_concept(self, name: str) -> Concept:
        """A primitive as a concept of the memory."""
        return concept_of(next(one for one in self.primitives if one.name == name), self)


def concept_of(routine: Routine, domain: Domain, cues: Sequence[str] = (), used_in: Sequence[str] = ()) -> Concept:
    """A routine as a concept: typed parameters, its body as program."""
    how = str(routine.body) if routine.body is not None else f"primitive of {domain.name}"
    subtype = domain.subtype if routine.result == domain.output and domain.input in routine.types else "intermediate"
    return Concept(
        routine.name, "routine", subtype, str(routine.result), tuple(Parameter(name, str(type)) for name, type in routine.parameters),
        routine.about or None, tuple(cues), (how,), tuple(used_in), program=how if routine.body is not None else routine.name,
    )  # fmt: skip
