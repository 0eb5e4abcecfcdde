"""Contexts: the base that every instruction begins with, what is left of a conversation that is too long, and how much room anything has."""

from __future__ import annotations

from collections.abc import Sequence

from mnemos.base.protocols import Message, Tool
from mnemos.text.program import prompts
from mnemos.text.program.conversation import ending, rounds
from mnemos.text.program.counting import RequestCounter, last_fitting
from mnemos.text.program.state import Settings, State

_TASK_SHARE, _NAMES_SHARE, _NOTE_SHARE = 16, 8, 16
"""The task, the names of files and the note from before take at most one part in so many of the window."""
_LEAST_RESULT = 64


class Contexts:
    """Builds contexts; the same state gives the same context, to the byte."""

    def __init__(self, counter: RequestCounter, tools: Sequence[Tool], advice: str = "") -> None:
        """`advice` stands in every base, behind the instruction."""
        self._counter = counter
        self._tools = tuple(tools)
        self._advice = advice
        self._made: tuple[object, list[Message]] | None = None

    def planning(self, task: str, steps: int) -> list[Message]:
        """What a model is asked for a plan: with the whole task."""
        return [{"role": "system", "content": prompts.PLANNER.format(steps=steps)}, {"role": "user", "content": task}]

    def base(self, state: State) -> list[Message]:
        """System, task, instruction, the names of the files (and not what is in them), and what is carried over from before."""
        key = (state.registry.counter, state.note, state.listing)
        if self._made is None or self._made[0] != key:
            self._made = key, self._base(state)
        return list(self._made[1])

    def _base(self, state: State) -> list[Message]:
        settings, current = state.settings, state.registry.current
        assert current is not None
        parts = [
            prompts.TASK.format(task=self._cut(state.task, settings.window // _TASK_SHARE, f" {prompts.CUT_TASK}")),
            prompts.STEP.format(number=state.registry.counter + 1, total=len(state.registry), text=current.text),
            *([self._advice] if self._advice else ()),
            state.listing,
        ]
        if state.note:
            parts.append(prompts.BEFORE.format(summary=state.note))
        return [{"role": "system", "content": prompts.SYSTEM}, {"role": "user", "content": "\n\n".join(parts)}]

    def listing(self, names: Sequence[str], settings: Settings) -> str:
        """The names of the files as a base tells them: of many, the first ones."""
        if not names:
            return prompts.NO_FILES
        shown, room = list(names), settings.window // _NAMES_SHARE
        while len(shown) > 1 and self._counter.text(", ".join(shown)) > room:
            shown = shown[: len(shown) // 2]  # the order is that of the names, so that halves of it are cheap to find, and the same each time
        listed = prompts.LISTED if any(tool["name"] == "list_files" for tool in self._tools) else ""
        more = f" {prompts.MORE_NAMES.format(count=len(names) - len(shown))}{listed}" if len(shown) < len(names) else ""
        return prompts.FILES.format(count=len(names), names=", ".join(shown)) + more

    def _cut(self, text: str, room: int, mark: str) -> str:
        return self._counter.cut(text, room, lambda whole, shown: mark)

    def cut_words(self, text: str, settings: Settings) -> str:
        """A note, at most as long as a base has room for."""
        return self._cut(text, settings.window // _NOTE_SHARE, prompts.CUT_WORDS)

    def cut_result(self, text: str, room: int) -> str:
        """A tool's result, at most so many tokens, with a notice where it was longer."""
        return self._counter.cut(text, room, lambda whole, shown: prompts.CUT_RESULT.format(whole=whole, shown=shown))

    def shortened(self, state: State, last: str) -> list[Message]:
        """The conversation without its oldest rounds, as many as leave room for a note, and with `last` as what the user says in the end."""
        base, groups = self.base(state), rounds(state.messages)
        costs = [self._counter.request(group) for group in groups]
        fixed = self._counter.request(base, self._tools) + self._counter.message({"role": "user", "content": last})
        first = last_fitting(costs, state.settings.window - state.settings.note_room - fixed)
        return ending([*base, *(message for group in groups[first:] for message in group)], last)

    def result_room(self, state: State) -> int:
        """Tokens that the results of one turn may have together: half of what the base leaves, so that what follows has room too."""
        if state.registry.current is None:
            return state.settings.window
        left = state.settings.limit - self._counter.request(self.base(state), self._tools)
        return max(_LEAST_RESULT, left // 2)

    def instruction_room(self, state: State) -> int:
        """Tokens that the text of an instruction may have, as a part of JSON, whatever stands around it in a base."""
        settings = state.settings
        around = self._counter.request([{"role": "system", "content": prompts.SYSTEM}], self._tools)
        told = (prompts.TASK, prompts.STEP, prompts.FILES, prompts.MORE_NAMES, prompts.LISTED, prompts.BEFORE, self._advice)
        words = sum(map(self._counter.quoted, told))
        shared = sum(settings.window // share for share in (_TASK_SHARE, _NAMES_SHARE, _NOTE_SHARE))
        return max(1, (settings.limit - settings.note_room - around - words - shared) * 19 // 20)  # tokenizers are not quite additive
