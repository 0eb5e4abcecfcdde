"""What a run is asked for, from text: methods with their options, tasks, modes, the model; each name is checked against those that there are."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mnemos.base.errors import Invalid, NotFound
from mnemos.bench.scbench.harness import MODES, OWN, REFERENCE
from mnemos.bench.scbench.tasks import KINDS, task_of

REFERENCE_MODEL, MEMORY = "reference", "memory"
FULL = "full"
AWARE = "aware"
LENGTH, TURNS, SESSIONS, QUICK_SESSIONS = 512, 4, 10, 2


@dataclass(frozen=True, slots=True)
class Way:
    """A method as it was named: "snapkv:share=1/8:aware" is the policy snapkv with a share of an eighth, and it knows the question."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    aware: bool = False
    said: str = ""

    @classmethod
    def of(cls, text: str) -> Way:
        """Raises `Invalid` for what is not of that form."""
        name, *parts = text.strip().split(":")
        if not name:
            raise Invalid(f"method {text!r}: expected NAME or NAME:OPTION=VALUE:…, such as snapkv:share=1/8")
        options: dict[str, Any] = {}
        for part in parts:
            option, equals, value = part.partition("=")
            if not equals and option != AWARE:
                raise Invalid(f"method {text!r}: {part!r} is neither OPTION=VALUE nor {AWARE!r}, which lets it know the question")
            if equals:
                options[option.strip()] = value_of(value)
        return cls(name, options, AWARE in parts, text.strip())

    @property
    def label(self) -> str:
        """Name and options; that it knows the question is said by tables."""
        return " ".join([self.name, *(f"{option}={value:.4g}" if isinstance(value, float) else f"{option}={value}"
                                      for option, value in self.options.items())])  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """A run: which sessions, by which methods, on which model. `records`: a file of sessions, instead of generated ones."""

    tasks: tuple[str, ...] = ("kv",)
    modes: tuple[str, ...] = MODES
    ways: tuple[Way, ...] = ()
    model: str = REFERENCE_MODEL
    model_name: str = "default"
    length: int | None = None
    """None: `LENGTH` of generated sessions, and as long as they are of those in a file."""
    turns: int = TURNS
    sessions: int = SESSIONS
    records: Path | None = None
    answers: str = REFERENCE
    save: Path | None = None

    @classmethod
    def of(cls, own: Mapping[str, str], quick: bool = False) -> Choice:
        """From the options of the command line. Raises `Invalid` and `NotFound`, listing what there is."""
        records = Path(own["records"]).expanduser() if "records" in own else None
        tasks = listed(own.get("tasks", "" if records else ",".join(KINDS)))
        for task in tasks:
            task_of(task)
        if records is not None and len(tasks) > 1:
            raise Invalid("--tasks: of a file of records, give one task at most: that of the rows that do not name theirs")
        model = own.get("model", REFERENCE_MODEL)
        ways = tuple(Way.of(text) for text in listed(own.get("methods", MEMORY if model == MEMORY else FULL)))
        if not ways:
            raise Invalid("--methods: name one or more, such as full,snapkv:share=1/8")
        return cls(
            tuple(tasks), tuple(one_of("--mode", mode, MODES) for mode in listed(own.get("mode", ",".join(MODES)))), ways, model,
            own.get("model-name", cls.model_name), number("--length", own["length"]) if "length" in own else None,
            number("--turns", own.get("turns", str(TURNS))), number("--sessions", own.get("sessions", str(QUICK_SESSIONS if quick else SESSIONS))),
            records, one_of("--answers", own.get("answers", REFERENCE), (REFERENCE, OWN)),
            Path(own["save"]).expanduser() if "save" in own else None,
        )  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        return {
            "tasks": list(self.tasks), "modes": list(self.modes), "methods": [way.said for way in self.ways], "model": self.model,
            "length": self.length, "turns": self.turns, "sessions": self.sessions, "records": str(self.records) if self.records else None,
            "answers": self.answers,
        }  # fmt: skip


def listed(text: str) -> list[str]:
    """The words between commas, each once."""
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def one_of(option: str, value: str, known: Collection[str]) -> str:
    """The value. Raises `NotFound`, listing those that there are."""
    if value not in known:
        raise NotFound(f"{option}: there is no {value!r}; there are {', '.join(known)}")
    return value


def number(option: str, text: str) -> int:
    """A whole number, 1 or more. Raises `Invalid`."""
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise Invalid(f"{option}: expected a whole number, 1 or more, not {text!r:.40}")
    return int(text)


def value_of(text: str) -> Any:
    """A number, a fraction such as 1/8, true, false or none, and else the text itself."""
    known = {"true": True, "false": False, "none": None}
    if text.casefold() in known:
        return known[text.casefold()]
    top, slash, bottom = text.partition("/")
    try:
        if slash:
            return int(top) / int(bottom)
        return int(text) if text.lstrip("-").isdigit() else float(text)
    except (ValueError, ZeroDivisionError):
        return text
