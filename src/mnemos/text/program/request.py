"""What a worker is asked, and what a caller hears of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from mnemos.base.protocols import Message, Tool
from mnemos.text.program.registry import Instruction
from mnemos.text.program.toolbox import Done

Purpose = Literal["plan", "work", "summary", "note"]


@dataclass(frozen=True, slots=True)
class Request:
    """What a worker is asked. `purpose`: "plan", "work", or, with nothing to be called, "summary" and "note", where a sentence or two is wanted.

    `number` counts the calls of the run from 0. `tokens` is what messages and tools cost; an answer may have `max_tokens`. `choice`: "auto",
    "none", or the name of the tool that has to be called. `instruction` is None while a plan is made. `files` are the names in the file store.
    """

    number: int
    purpose: Purpose
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    choice: str
    temperature: float
    tokens: int
    max_tokens: int
    address: int
    instruction: Instruction | None
    files: tuple[str, ...]


@dataclass(frozen=True)
class Hooks:
    """What a caller hears of a run, and may forbid: `admit(name, content)` gives why a file must not be written, or None."""

    before_call: Callable[[Request], object] | None = None
    after_tool: Callable[[str, Done], object] | None = None
    on_restart: Callable[[int, str], object] | None = None
    on_advance: Callable[[int, Instruction], object] | None = None
    admit: Callable[[str, str], str | None] | None = None
