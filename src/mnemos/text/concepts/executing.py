"""Running what a model wrote: `transform` of a problem's inputs, in a process of its own with limits (`text.program.sandbox`).

ArcMemo (arXiv 2509.04439, section 3, solve loop): 2 seconds for each call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import orjson

from mnemos.base.errors import Invalid
from mnemos.text.program.sandbox import Limits, run_python

SECONDS = 2.0
"""For each call of `transform` (the paper's)."""
START_SECONDS = 3.0
"""For the process to start."""
_MARK = "mnemos-result:"
_LONGEST = 2_000_000
_RUN = """
import json, signal, sys
def late(*_):
    raise TimeoutError("took longer than allowed")
def plain(value):
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, bool) or value is None or isinstance(value, (int, str)):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    raise TypeError("transform gave a " + type(value).__name__)
out, mark, seconds = sys.__stdout__, sys.argv[1], float(sys.argv[2])
sys.stdout = sys.stderr
with open("inputs.json") as file:
    inputs = json.load(file)
if hasattr(signal, "SIGALRM"):
    signal.signal(signal.SIGALRM, late)
results = []
space = {"__name__": "solution"}
try:
    with open("solution.py") as file:
        exec(compile(file.read(), "solution.py", "exec"), space)
    transform = space["transform"]
except BaseException as error:
    results = [{"error": type(error).__name__ + ": " + str(error)[:300]} for _ in inputs]
else:
    for given in inputs:
        try:
            if hasattr(signal, "setitimer"):
                signal.setitimer(signal.ITIMER_REAL, seconds)
            results.append({"value": plain(transform(given))})
        except BaseException as error:
            results.append({"error": type(error).__name__ + ": " + str(error)[:300]})
        finally:
            if hasattr(signal, "setitimer"):
                signal.setitimer(signal.ITIMER_REAL, 0)
out.write("\\n" + mark + json.dumps(results) + "\\n")
out.flush()
"""


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of one input: a value of plain JSON, or an error in words."""

    value: Any = None
    error: str | None = None


class Executor(Protocol):
    """Runs code that defines `transform(input)` on inputs of plain JSON; one result for each, whatever the code does."""

    def run(self, code: str, inputs: Sequence[Any], timeout: float = SECONDS) -> list[Ran]: ...


class SandboxExecutor:
    """In a process of its own, without network on Linux, with limits of time, memory and files. See `text.program.sandbox` for what that keeps in."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits(shown_characters=_LONGEST)

    def run(self, code: str, inputs: Sequence[Any], timeout: float = SECONDS) -> list[Ran]:
        """Raises `Invalid` for a time limit that is none, and for inputs that are no plain JSON."""
        if not timeout > 0:
            raise Invalid(f"timeout: expected seconds above 0, not {timeout}")
        try:
            given = orjson.dumps([_plain(one) for one in inputs]).decode()
            code.encode()
        except (TypeError, UnicodeEncodeError) as error:
            raise Invalid(f"code and inputs must be plain text and JSON ({error})") from None
        files = {"solution.py": code, "inputs.json": given, "run.py": _RUN}
        mark = f"{_MARK}{np.random.default_rng().integers(2**62)}:"  # what the code prints itself cannot pass for the result by chance
        ran = run_python(files, ["run.py", mark, str(timeout)], START_SECONDS + timeout * max(len(inputs), 1), self.limits)
        lines = [line for line in ran.output.splitlines() if line.startswith(mark)]
        if not lines:
            why = "took longer than allowed" if ran.timed_out else f"ended with code {ran.code}: {ran.output.strip()[-300:]}"
            return [Ran(error=why) for _ in inputs]
        try:
            told = orjson.loads(lines[-1][len(mark) :])
        except orjson.JSONDecodeError:
            return [Ran(error="gave what is no JSON") for _ in inputs]
        if not isinstance(told, list) or len(told) != len(inputs) or not all(isinstance(one, dict) for one in told):
            return [Ran(error="gave no result for each input") for _ in inputs]
        return [Ran(one.get("value"), one.get("error")) for one in told]


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value
