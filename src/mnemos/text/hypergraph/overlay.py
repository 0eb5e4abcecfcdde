"""What a session adds to the graph for itself: objects of its points that no text names. It ends with the session, and never enters the graph of the
corpus: what a model makes up for one question is no knowledge (HGMem, section 3.3, writes it there)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Described:
    """An object: its kind (organization, person, geo, event, role, concept) and what the texts say of it; both empty where nobody could say."""

    kind: str = ""
    description: str = ""


@dataclass
class Overlay:
    """Objects by their keys, and which names each stands beside."""

    objects: dict[str, Described] = field(default_factory=dict)
    beside: dict[str, dict[str, str]] = field(default_factory=dict)
    """Key → other key → how they stand to each other. Both ways."""

    def describe(self, key: str, kind: str = "", description: str = "") -> None:
        """Note an object; what is known of it already stays."""
        if description or key not in self.objects:
            self.objects[key] = Described(kind, description)

    def relate(self, one: str, other: str, description: str) -> None:
        """Note how two stand to each other."""
        if one != other:
            self.beside.setdefault(one, {})[other] = description
            self.beside.setdefault(other, {})[one] = description

    def around(self, names: Iterable[str]) -> frozenset[str]:
        """`names`, and those that an object among them stands beside: from where the corpus's graph is looked into."""
        names = frozenset(names)
        return names | {other for name in names for other in self.beside.get(name, ())}
