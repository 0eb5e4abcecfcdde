"""Evaluators: what must hold of the files before an instruction counts as done. Deterministic, and what takes too long has failed."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mnemos.base.errors import Invalid, NotFound, shown
from mnemos.text.program import lint
from mnemos.text.program.sandbox import Limits, Ran, run_python
from mnemos.text.program.yaml_lint import yaml_errors

Files = Mapping[str, str]
MOST_ERRORS = 20
"""Told of one evaluator; the others are counted."""


@dataclass(frozen=True, slots=True)
class Report:
    """Whether the files pass, what is wrong with them, one thing a line, and all of it as text for a worker."""

    ok: bool
    errors: tuple[str, ...] = ()
    text: str = ""

    @classmethod
    def of(cls, errors: Iterable[str], passed: str = "") -> Report:
        """The report that lists the errors; without any, all is well, and `passed` says what that means."""
        found = tuple(errors)
        if not found:
            return cls(True, (), passed)
        more = [f"… and {len(found) - MOST_ERRORS} more"] if len(found) > MOST_ERRORS else []
        return cls(False, found, "\n".join([*found[:MOST_ERRORS], *more]))


class Evaluator(Protocol):
    """Checks all files together. `on_write` says that it is quick enough to be asked after every write; the others are asked when an instruction
    is said to be complete."""

    @property
    def name(self) -> str: ...
    @property
    def on_write(self) -> bool: ...
    def check(self, files: Files) -> Report: ...


class EachFile:
    """An evaluator that looks at each file of some kinds by itself; what it found of a content is remembered, so that asking again is cheap."""

    on_write = True

    def __init__(self, name: str, endings: Sequence[str], find: Callable[[str], Iterable[str]]) -> None:
        self.name = name
        self._endings = tuple(endings)
        self._find = functools.lru_cache(maxsize=2048)(lambda text: tuple(find(text)))

    def check(self, files: Files) -> Report:
        return Report.of(f"{name}: {error}" for name in sorted(files) if name.endswith(self._endings) for error in self._find(files[name]))


class Pytest:
    """Runs the tests that stand in the files. Failing tests, errors, and more than `seconds` are failures; that there are no tests is one only
    where `required`."""

    name = "pytest"
    on_write = False

    def __init__(self, *, seconds: float = 60.0, required: bool = False, limits: Limits | None = None) -> None:
        self._seconds = seconds
        self._required = required
        self._limits = limits

    def check(self, files: Files) -> Report:
        tests = [name for name in sorted(files) if is_test(name)]
        if not tests:
            return Report.of(["there are no tests: write some in files named test_*.py"] if self._required else [])
        ran = run_pytest(files, tests, self._seconds, self._limits)
        return _pytest_report(ran, self._seconds, self._required)


NO_TESTS = 5
"""The exit code with which pytest says that it found none."""


def is_test(name: str) -> bool:
    """Whether pytest looks for tests in a file of that name."""
    last = name.rpartition("/")[2]
    return last.endswith(".py") and (last.startswith("test_") or last.endswith("_test.py"))


def run_pytest(files: Files, names: Sequence[str], seconds: float, limits: Limits | None = None) -> Ran:
    """Run pytest on files of that name (none: on all), in a process of its own."""
    for name in names:
        if name not in files:
            raise NotFound(f"there is no file {shown(name)}")
    given = [f"./{name}" for name in names]  # "-k_test.py" is a name, and no option
    arguments = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", "-c", os.devnull, "--rootdir=.", "--color=no", *given]
    return run_python(files, arguments, seconds, limits)


def _pytest_report(ran: Ran, seconds: float, required: bool) -> Report:
    if ran.timed_out:
        return Report.of([f"the tests did not end within {seconds:g} seconds, which counts as failing\n{ran.output}"])
    if ran.code == 0:
        return Report(True, (), _last_line(ran.output))
    if ran.code == NO_TESTS:
        return Report.of(["the test files hold no tests"] if required else [])
    return Report.of([f"the tests fail (pytest ended with {ran.code})\n{ran.output}"])


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip("= ") if lines else ""


def _python_errors(text: str) -> Iterable[str]:
    """What the compiler says; nothing is run."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(text, "<file>", "exec", dont_inherit=True)
    except SyntaxError as error:
        yield f"line {error.lineno or 1}: {error.msg}"
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        yield f"cannot be compiled: {type(error).__name__}: {error}"


def _json_errors(text: str) -> Iterable[str]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        if twice := next((key for key in keys if keys.count(key) > 1), None):
            raise Invalid(f"the key {shown(twice)} is there twice in one object")
        return dict(pairs)

    def constant(word: str) -> Any:
        raise Invalid(f"{word} is no JSON number")

    try:
        json.loads(text, object_pairs_hook=once, parse_constant=constant)
    except json.JSONDecodeError as error:
        yield f"line {error.lineno}, column {error.colno}: {error.msg}"
    except (Invalid, RecursionError, ValueError) as error:
        yield str(error)


class Links:
    """Links of Markdown files lead to files, and to headings in them, that are there."""

    name = "links"
    on_write = False

    def check(self, files: Files) -> Report:
        return Report.of(lint.dead_links(files))


def default() -> tuple[str, ...]:
    """The evaluators of a program that names none: without pytest where it is not installed."""
    return tuple(name for name in DEFAULT if name != "pytest" or _has_pytest())


def _has_pytest() -> bool:
    return importlib.util.find_spec("pytest") is not None


def evaluators(names: Sequence[str]) -> list[Evaluator]:
    """The built-in evaluators of those names. Raises `NotFound`, naming those that there are, and `Invalid` where one needs what is not
    installed: a worker could not mend that."""
    out: list[Evaluator] = []
    for name in names:
        if name not in EVALUATORS:
            raise NotFound(f"there is no evaluator {shown(name)}; there are {', '.join(EVALUATORS)}")
        if name == "pytest" and not _has_pytest():
            raise Invalid("evaluator 'pytest': pytest is not installed in this Python; pip install pytest, or leave it out")
        out.append(EVALUATORS[name]())
    return out


EVALUATORS: Mapping[str, Callable[[], Evaluator]] = {
    "python": lambda: EachFile("python", (".py", ".pyi"), _python_errors),
    "json": lambda: EachFile("json", (".json",), _json_errors),
    "yaml": lambda: EachFile("yaml", (".yaml", ".yml"), yaml_errors),
    "markdown": lambda: EachFile("markdown", (".md", ".markdown"), lint.markdown_errors),
    "links": Links,
    "pytest": Pytest,
}
"""Names → how to make the evaluator. A new one is a class with `name`, `on_write` and `check`, and a line here."""

DEFAULT = ("python", "json", "yaml", "markdown", "pytest")


def check_all(found: Iterable[Evaluator], files: Files, *, writing: bool) -> Report:
    """What all evaluators say, or only those that are asked after every write."""
    errors: list[str] = []
    texts: list[str] = []
    for evaluator in found:
        if writing and not evaluator.on_write:
            continue
        report = evaluator.check(files)
        errors += report.errors if not report.ok else []
        if not report.ok:
            texts.append(f"{evaluator.name}:\n{report.text}")
    return Report(not texts, tuple(errors), "\n".join(texts))
