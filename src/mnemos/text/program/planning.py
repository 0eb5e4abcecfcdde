"""From a task to a program without a model: its headings, bullets and sentences are requirements, each of them repeated word for word."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mnemos.base.cube import check_text
from mnemos.base.errors import Invalid

PER_STEP = 4
"""Requirements of one instruction, at most."""
_HEADING = re.compile(r"^ {0,3}(#{1,6})(?:\s+(.*?))??(?:\s+#+)?\s*$")
_UNDERLINE = re.compile(r"^(=+|-{2,})\s*$")
_BULLET = re.compile(r"^(\s*)(?:[-*+•]|\(?\d{1,4}[.)]|\(?[a-z][.)])\s+(.*)$")
_FENCE = re.compile(r"^\s*(```|~~~)")
_SENTENCE = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]?[A-Z0-9À-Þ])")
_ABBREVIATED = re.compile(r"(?:\b(?:e\.g|i\.e|etc|vs|cf|Dr|Mr|Mrs|Ms|Prof|No|Fig|Sec|approx|resp)|\b[A-Z])\.[\"')\]]*$")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One thing that a task asks for: `text`, word for word, and the headings that it stands under, outermost first."""

    text: str
    headings: tuple[str, ...] = ()


def requirements(task: str) -> list[Requirement]:
    """What a task asks for, in its order: each bullet with the lines that belong to it, each sentence of its paragraphs, each block of code.

    Every word of the task that is not a heading or a mark of a list stands in exactly one of them.
    """
    out: list[Requirement] = []
    headings: list[tuple[int, str]] = []
    for kind, level, text in _blocks(check_text(task, "task")):
        if kind == "heading":
            headings = [(depth, title) for depth, title in headings if depth < level] + [(level, text)]
            continue
        under = tuple(title for _, title in headings)
        out += [Requirement(part, under) for part in (_sentences(text) if kind == "paragraph" else [text])]
    if not out and headings:  # a list of headings alone: they are what is asked for
        return [Requirement(title) for kind, _, title in _blocks(task) if kind == "heading"]
    return out


def _blocks(task: str) -> list[tuple[str, int, str]]:
    """(kind, level, text) of headings, bullets, paragraphs and fenced code, in order."""
    out: list[tuple[str, int, str]] = []
    lines: list[str] = []
    kind, indent, fence = "", 0, ""

    def end() -> None:
        nonlocal kind
        if lines:
            coded = any(_FENCE.match(line) for line in lines)  # what code looks like is a part of what it says
            out.append((kind.partition(" ")[0], 0, "\n".join(lines) if coded else " ".join(" ".join(lines).split())))
        lines.clear()
        kind = ""

    for line in task.splitlines():
        opening = _FENCE.match(line)
        if fence or opening:
            if not fence:
                within = kind.startswith("bullet") and len(line) - len(line.lstrip()) > indent
                end() if not within else None
                kind = "bullet" if within else "code"
            lines.append(line)
            if fence and line.strip().startswith(fence):
                fence = ""
                if kind == "code":
                    end()
            elif opening and not fence:
                fence = opening[1]
            continue
        heading, bullet = _HEADING.match(line), _BULLET.match(line)
        if heading:
            end()
            out.append(("heading", len(heading[1]), heading[2])) if heading[2] else None
        elif _UNDERLINE.match(line) and kind == "paragraph" and len(lines) == 1:
            title = lines.pop()
            end()
            out.append(("heading", 1 if line.startswith("=") else 2, title))
        elif bullet:
            end()
            kind, indent = "bullet", len(bullet[1])
            lines.append(bullet[2])
        elif not line.strip():
            end() if kind != "bullet" else None
            if kind == "bullet":
                kind = "bullet ended"
        elif kind == "bullet ended":
            belongs = len(line) - len(line.lstrip()) > indent
            kind = "bullet"
            if not belongs:
                end()
                kind = "paragraph"
            lines.append(line.strip())
        else:
            kind = kind or "paragraph"
            lines.append(line.strip())
    end()
    return [(kind, level, text) for kind, level, text in out if text.strip()]


def _sentences(paragraph: str) -> list[str]:
    out: list[str] = []
    for part in _SENTENCE.split(paragraph):
        if out and _ABBREVIATED.search(out[-1]):
            out[-1] += f" {part}"
        else:
            out.append(part)
    return out


def plan(
    task: str, *, per_step: int = PER_STEP, room: int | None = None, count: Callable[[str], int] = len
) -> list[str]:
    """A program for a task: instructions of at most `per_step` requirements that stand under the same heading, each word for word.

    `room` is how much an instruction may cost by `count`. Raises `Invalid` where the task asks for nothing, or
    one requirement alone costs more.
    """
    return grouped(requirements(task), per_step=per_step, room=room, count=count)


def grouped(
    wanted: Sequence[Requirement], *, per_step: int = PER_STEP, room: int | None = None, count: Callable[[str], int] = len
) -> list[str]:
    """Instructions for requirements, as `plan` makes them."""
    if not wanted:
        raise Invalid("task: asks for nothing; write down what is to be made")
    if per_step < 1:
        raise Invalid("per_step: an instruction has at least one requirement")
    out: list[str] = []
    group: list[Requirement] = []
    for one in wanted:
        wider = [*group, one]
        if group and (one.headings != group[0].headings or len(wider) > per_step or (room is not None and count(instruction(wider)) > room)):
            out.append(instruction(group))
            wider = [one]
        if room is not None and count(instruction(wider)) > room:
            raise Invalid(
                f"task: the requirement that begins {one.text[:60]!r} costs {count(instruction(wider)):,} tokens, and an instruction may "
                f"cost {room:,}; make the window larger, or divide the requirement"
            )
        group = wider
    return [*out, instruction(group)]


def instruction(group: Sequence[Requirement]) -> str:
    """The text of an instruction: what its requirements stand under, and each of them on a line of its own."""
    under = " / ".join(group[0].headings)
    return "\n".join([f"Under “{under}”:" if under else "What is asked for:", *(f"- {one.text}" for one in group)])


def missing_from(steps: Sequence[str], task: str) -> list[Requirement]:
    """Requirements of a task that stand, word for word, in none of the steps."""
    said = "\n".join(_plain(step) for step in steps)
    return [one for one in requirements(task) if _plain(one.text) not in said]


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
