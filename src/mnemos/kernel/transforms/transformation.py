"""The seam of transformations: one memory form made from others, with gates that have to hold (MemOS, arXiv 2507.03724, section 5.3).

Text becomes text here; a tier that makes other forms (`kv`, `adapter`) registers a transformation of its own, with the way it stores them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mnemos.base.cube import MemCube
from mnemos.base.errors import Conflict, NotFound, shown
from mnemos.base.lineage import DERIVED_FROM
from mnemos.kernel.transforms.gates import Gate, Product, Source

if TYPE_CHECKING:
    from mnemos.kernel.space import Space
    from mnemos.kernel.system import Mnemos

Make = Callable[["Mnemos", Sequence[Source], Mapping[str, Any]], Product]
Write = Callable[["Space", Product, Mapping[str, Any]], MemCube]
"""Stores a product that is no text, with the fields that it shall have (its lineage among them)."""
Estimate = Callable[[Sequence[Source], Mapping[str, Any]], float]


@dataclass(frozen=True, slots=True)
class Transformation:
    """A way to make one memory from others."""

    name: str
    about: str
    make: Make
    """Makes the product, and writes nothing. It is called again whenever a source has changed."""
    relation: str = DERIVED_FROM
    """How the product comes from its sources (`base.lineage`)."""
    source_kind: str = "text"
    kind: str = "text"
    absorbs: bool = False
    """Whether the sources become "merged" into the product."""
    fewest: int = 1
    """Sources that it takes at least."""
    before: tuple[Gate, ...] = ()
    """What must hold of the sources before anything is made."""
    after: tuple[Gate, ...] = ()
    """What must hold of the product before it is accepted."""
    options: tuple[str, ...] = ()
    """The keywords that `make` knows; `gates` (bounds by gate) is known to all."""
    estimate: Estimate | None = None
    """Seconds that it will take, before it is made."""
    write: Write | None = None
    """How a product is stored that is no text."""


class Transformations:
    """The transformations by name."""

    def __init__(self, known: Sequence[Transformation] = ()) -> None:
        self._known: dict[str, Transformation] = {}
        for one in known:
            self.register(one)

    def register(self, one: Transformation) -> None:
        """Add a transformation. Raises `Conflict` where the name is taken."""
        if one.name in self._known:
            raise Conflict(f"transformation {shown(one.name)} is registered already; give yours another name")
        self._known[one.name] = one

    def find(self, name: object) -> Transformation:
        """The transformation called `name`. Raises `NotFound`, naming those that there are."""
        if not isinstance(name, str) or name not in self._known:
            raise NotFound(f"there is no transformation {shown(name)}; there are {', '.join(self._known)}")
        return self._known[name]

    def names(self) -> list[str]:
        """The names, in the order in which they were registered."""
        return list(self._known)
