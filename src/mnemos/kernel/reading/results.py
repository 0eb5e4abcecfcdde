"""What searching and checking give back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mnemos.base.cube import MemCube
from mnemos.store.base import Finding


@dataclass(frozen=True, slots=True)
class Hit:
    """One memory that a search found. `signals` says what its score is made of; `exact` that nothing was approximated to find it."""

    cube: MemCube
    score: float
    signals: Mapping[str, float] = field(default_factory=dict)
    exact: bool = True

    def as_json(self) -> dict[str, Any]:
        return {"cube": self.cube.as_json(), "score": self.score, "signals": dict(self.signals), "exact": self.exact}


@dataclass(frozen=True, slots=True)
class Context:
    """Text that is ready for a prompt, with numbered sources: `hits[i]` is source i + 1, and `lines[i]` how it stands there. `tokens` counts `text`.
    A context that was made elsewhere may have no lines."""

    text: str
    hits: tuple[Hit, ...]
    tokens: int
    policy: str = "hybrid"
    lines: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.text

    def as_json(self) -> dict[str, Any]:
        return {"text": self.text, "tokens": self.tokens, "policy": self.policy, "hits": [hit.as_json() for hit in self.hits]}


class Page(list[MemCube]):
    """A list of cubes, and the `cursor` that `list` takes for the next page; None on the last one."""

    def __init__(self, cubes: Iterable[MemCube], cursor: str | None) -> None:
        super().__init__(cubes)
        self.cursor = cursor


@dataclass(frozen=True, slots=True)
class Report:
    """What `verify` checked, and what it found wrong. True where nothing is."""

    ok: bool
    checked: Mapping[str, int]
    findings: tuple[Finding, ...]

    def __bool__(self) -> bool:
        return self.ok

    def as_json(self) -> dict[str, Any]:
        found = [{"file": f.file, "place": f.place, "problem": f.problem} for f in self.findings]
        return {"ok": self.ok, "checked": dict(self.checked), "findings": found}
