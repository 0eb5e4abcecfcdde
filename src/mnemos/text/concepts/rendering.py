"""Concepts as text for a prompt: sections by kind and subtype, fields that can be left out, and rarely used ones by name alone.

ArcMemo (arXiv 2509.04439, section 3, rendering).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mnemos.text.concepts.concept import GRID_MANIPULATION, Concept, Lesson
from mnemos.text.concepts.types import TypeTable

SHOWN_FROM = 2
"""Uses below which a concept is shown by name alone when all are shown (the paper's); 0 once some were selected."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """What is shown of each concept, and from how many uses on it is shown at all (others by name)."""

    description: bool = True
    typing: bool = True
    cues: bool = True
    implementation: bool = True
    types: bool = True
    least_uses: int = SHOWN_FROM


SELECTED = Rendering(least_uses=0)


def rendered(concepts: Sequence[Concept], types: TypeTable | None = None, rendering: Rendering = Rendering(), others: Iterable[str] = ()) -> str:
    """The concepts in sections: structures, types, routines that manipulate grids, other routines by subtype; then `others` by name."""
    structures = [one for one in concepts if one.kind == "structure"]
    grid = [one for one in concepts if one.kind == "routine" and one.routine_subtype == GRID_MANIPULATION]
    rest = [one for one in concepts if one.kind == "routine" and one.routine_subtype != GRID_MANIPULATION]
    parts = [_section("Structures", structures, rendering, True)]
    if rendering.types and types is not None and len(types):
        parts.append("## Types\n" + "\n".join(f"- {name} := {types.definition(name)}" for name in types.names()))
    parts.append(_section("Routines: grid manipulation", grid, rendering, True))
    for subtype in dict.fromkeys(one.routine_subtype or "other" for one in rest):
        parts.append(_section(f"Routines: {subtype}", [one for one in rest if (one.routine_subtype or "other") == subtype], rendering, False))
    names = list(others)
    if names:
        parts.append(f"## Other concepts\n{', '.join(names)}")
    return "\n\n".join(part for part in parts if part)


def _section(title: str, concepts: Sequence[Concept], rendering: Rendering, cued: bool) -> str:
    if not concepts:
        return ""
    told = [one for one in concepts if len(one.used_in) >= rendering.least_uses]
    named = [one.name for one in concepts if len(one.used_in) < rendering.least_uses]
    lines = [f"## {title}", *(_concept(one, rendering, cued) for one in told)]
    if named:
        lines.append(f"Seldom used: {', '.join(named)}")
    return "\n".join(lines)


def _concept(one: Concept, rendering: Rendering, cued: bool) -> str:
    lines = [f"- {one.name}"]
    if rendering.description and one.description:
        lines.append(f"  description: {one.description}")
    if rendering.typing and one.output_typing:
        lines.append(f"  output: {one.output_typing}")
    if rendering.typing and one.parameters:
        lines.append("  parameters:")
        for parameter in one.parameters:
            typing = f": {parameter.typing}" if parameter.typing else ""
            lines.append(f"  - {parameter.name}{typing}{f' ({parameter.description})' if parameter.description else ''}")
    if rendering.cues and cued:
        lines += [f"  cue: {cue}" for cue in one.cues]
    if rendering.implementation:
        lines += [f"  how: {line}" for line in one.implementation]
    return "\n".join(lines)


def rendered_lessons(lessons: Sequence[Lesson]) -> str:
    """Open-ended lessons, numbered from 1, each with its situation and its suggestion."""
    return "\n".join(f"{number}. When: {one.situation}\n   Try: {one.suggestion}" for number, one in enumerate(lessons, 1))
