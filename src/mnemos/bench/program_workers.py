"""The scripted workers of the program benchmark: one writer for all ways of working, and those that repeat, break and wander."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mnemos.base.protocols import Message
from mnemos.text.program.counting import bytes_bound
from mnemos.text.program.request import Request
from mnemos.text.program.workers import call, write

SECTION_TOKENS = 560
"""Of a section that the writer writes for one requirement."""
_ASKED = re.compile(r"^- (R\d{4}): (.*)$", re.M)
_WRONG = re.compile(r"^([mt]\d+\.(?:py|json)): ", re.M)
_FILLER = "The part is described here in full, with its purpose, its limits and how it is used together with the others. "


FORMS = {
    "a word": "{}",
    "a phrase": "explain how to set {}",
    "a sentence": "tell the users how to set {}, what happens where they leave it out, and how to find out later what it was set to",
}
"""How long a requirement is: about 4, 9 and 32 tokens."""


def task(count: int, rng: random.Random, form: str = "a phrase") -> str:
    """A specification of so many requirements; each has a word of its own, by which it is known whether it was met."""
    syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
    words = set[str]()
    while len(words) < count:
        words.add("".join(rng.choice(syllables) for _ in range(4)))
    order = sorted(words)
    rng.shuffle(order)
    return "# Handbook\n\n" + "\n".join(f"- R{number:04d}: {FORMS[form].format(word)}" for number, word in enumerate(order))


def asked(text: str) -> dict[str, str]:
    """Number → what is asked for, of the requirements that stand in a text."""
    return dict(_ASKED.findall(text))


def section(number: str, word: str) -> str:
    """What the writer writes for a requirement."""
    head = f"# {number}\n\nThis is about {word}.\n\n"
    return head + _FILLER * (4 * SECTION_TOKENS // len(_FILLER)) + "\n"


def met(wanted: dict[str, str], files: dict[str, str]) -> float:
    """The share of requirements that the files are about: the features of the paper."""
    whole = "\n".join(files.values())
    return sum(f"about {word}." in whole for word in wanted.values()) / len(wanted)


def writer(request: Request) -> Any:
    """Writes a section, in a file of its own, for the first requirement of its step that has none yet."""
    if request.purpose != "work":
        return "The sections of this step are written."
    assert request.instruction is not None
    for number, word in asked(request.instruction.text).items():
        if f"{number}.md" not in request.files:
            return [write(**{f"{number}.md": section(number, word)})]
    return [call("step_complete")]


# -- the baselines, with the same writer --
def single_shot(text: str, window: int) -> dict[str, str]:
    """One request and one answer within the window: of the ways to divide the window between the task and the answer, the best."""
    wanted = asked(text)
    best: dict[str, str] = {}
    for shown in range(1, len(wanted) + 1):
        some = dict(list(wanted.items())[:shown])
        prompt = "\n".join(f"- {number}: {word}" for number, word in some.items())
        room = window - bytes_bound(prompt)
        files: dict[str, str] = {}
        for number, word in some.items():
            written = section(number, word)
            room -= bytes_bound(written)
            if room < 0:
                break
            files[f"{number}.md"] = written
        if len(files) > len(best):
            best = files
    return best


@dataclass
class RollingSummary:
    """An agent with one conversation, whose oldest messages are replaced by a summary when the window is full.

    The summary has `share` of the window, keeps sentences as they are, and those first that are still to be done: more than a model's summary
    keeps, which retells them (the paper reports about six sentences for AutoGPT). Files can be written; the task is nowhere but in the talk.
    """

    window: int
    share: float
    files: dict[str, str] = field(default_factory=dict)
    summaries: int = 0

    def run(self, text: str) -> dict[str, str]:
        """The files, when nothing that is in sight is left to do."""
        said = [text]
        while True:
            self._fit(said)
            left = [(number, word) for number, word in asked("\n".join(said)).items() if f"{number}.md" not in self.files]
            if not left:
                return self.files
            number, word = left[0]
            written = section(number, word)
            self.files[f"{number}.md"] = written
            said += [f"write {number}.md\n{written}", "Is the step complete? If not, go on."]

    def _fit(self, said: list[str]) -> None:
        """Summarise the oldest messages until the rest, with room for a section, fits into the window."""
        room = self.window - 2 * SECTION_TOKENS if sum(map(bytes_bound, said)) > self.window - SECTION_TOKENS else self.window
        while sum(map(bytes_bound, said)) > room:
            oldest = said[:2] if len(said) > 1 else said[:1]
            summary = self._summary("\n".join(oldest), int(self.share * self.window))
            if len(oldest) == 1 and bytes_bound(summary) >= bytes_bound(oldest[0]):
                return
            said[: len(oldest)] = [summary]
            self.summaries += 1
            room = max(room, int(self.share * self.window))

    def _summary(self, text: str, room: int) -> str:
        wanted = asked(text)
        lines = [f"- {number}: {word}" for number, word in wanted.items() if f"{number}.md" not in self.files]
        kept: list[str] = []
        for line in lines:
            if bytes_bound("\n".join([*kept, line])) > room:
                break
            kept.append(line)
        return "\n".join(kept)


# -- workers that go wrong --
def breaking(seed: int, probability: float, corrects: bool) -> Callable[[Request], Any]:
    """Writes a module and a table for each step, each broken with a probability, and then, with the same, breaks the module of the step before by
    an edit. Where it is told what is wrong, and `corrects`, it writes that anew, with the same probability of breaking it again."""

    def worker(request: Request) -> Any:
        if request.purpose != "work":
            return "Done."
        rng = random.Random(f"{seed}/{request.number}")
        step = request.address
        names = (f"m{step}.py", f"t{step}.json")
        last = next((message["content"] for message in reversed(request.messages) if message["role"] == "tool"), "")
        wrong = _WRONG.findall(last) if corrects else []
        for name in wrong or [name for name in names if name not in request.files]:
            spoilt = rng.random() < probability
            good = "def f():\n    return 1\n" if name.endswith(".py") else '{"a": [1, 2]}\n'
            return [write(**{name: good.replace(":", "", 1) if spoilt else good})]
        before = f"m{step - 1}.py"
        if before in request.files and not _called(request.messages, "patch_files", before) and rng.random() < probability:
            return [call("patch_files", edits=[{"path": before, "find": "return 1", "replace": "return (1"}])]
        return [call("step_complete")]

    return worker


def repeating(period: int, needed: float, with_tools: bool) -> Callable[[Request], Any]:
    """Says the same `period` things again and again, until it is asked at a temperature of at least `needed`."""

    def worker(request: Request) -> Any:
        if request.purpose != "work":
            return "Nothing new."
        if request.temperature >= needed:
            return [call("step_complete")]
        turn = sum(message["role"] == "assistant" for message in request.messages) % period
        return [call("list_files", prefix=f"{turn}")] if with_tools else f"I think about {turn}."

    return worker


def wandering(seed: int) -> Callable[[Request], Any]:
    """Does whatever a confused model may: writes of any size, views, unknown tools, broken JSON, bad names, words, silence. Of an even seed it
    completes at times, of an odd one never, so that contexts fill up."""

    def worker(request: Request) -> Any:
        rng = random.Random(f"{seed}/{request.number}")
        if request.purpose != "work":
            return rng.choice(["All is well.", "", "word " * rng.randint(1, 2000), [call("step_complete")]])
        if rng.random() < 0.15:
            return rng.choice(["", "I wonder.", "word " * rng.randint(1, 3000), None])
        return [_anything(rng, request.files, completes=seed % 2 == 0) for _ in range(rng.choice([1, 1, 1, 2, 3, 6]))]

    return worker


def _anything(rng: random.Random, files: Sequence[str], completes: bool) -> Any:
    names = [*files, "a.py", "b.md"]
    kind = rng.randrange(9)
    if kind == 0:
        return write(**{f"f{rng.randint(0, 9)}.md": "text " * rng.randint(0, 1500)})
    if kind == 1:
        return call("view_files", names=rng.sample(names, min(len(names), rng.randint(1, 4))))
    if kind == 2:
        return call("list_files")
    if kind in (3, 4):
        return call("step_complete" if completes else "list_files")
    if kind == 5:
        return call("delete_files", names=[rng.choice(names)])
    if kind == 6:
        return call("patch_files", edits=[{"path": rng.choice(names), "find": "text text", "replace": "x"}])
    if kind == 7:
        return rng.choice([call("fly"), ("write_files", '{"files": ['), ("write_files", "x" * rng.randint(1, 6000)), ("view_files", "null")])
    return write(**{rng.choice(["../x", "/etc/x", "a/../b", "con\0"]): "x"})


def remembering(written: int, changed: int, needed: int) -> Callable[[Request], Any]:
    """A worker of a long program: a file is written in one step, changed in a later one, and needed in a third, where it is read once."""
    name = f"s{written}.md"

    def worker(request: Request) -> Any:
        if request.purpose != "work":
            return "Done."
        step, mine = request.address, f"s{request.address}.md"
        shown = [message["content"] for message in request.messages if message["role"] == "tool" and f"=== {name}\n" in message["content"]]
        if step == needed and not shown:
            return [call("view_files", names=[name])]
        if mine not in request.files:
            content = shown[-1].partition("\n")[2] if shown else f"# Of step {step}\n"
            return [write(**{mine: content})]
        if step == changed and not _called(request.messages, "write_files", name):
            return [write(**{name: f"# Changed in step {step}\n"})]
        return [call("step_complete")]

    return worker


def _called(messages: Sequence[Message], tool: str, name: str) -> bool:
    """Whether a tool was called on a file, as far as the context tells."""
    return any(made["name"] == tool and name in made["arguments"] for message in messages for made in message.get("tool_calls") or ())
