"""Pipelines: declared steps such as retrieve → augment → update → archive that share what they find, as one transaction, all or nothing.

MemOS, arXiv 2507.03724, section 5.3 (memory pipelines: composable, transactional, reusable as templates). Everything that can be wrong with
a pipeline is said before any of it runs; where a step fails, the store and what searches find are as they were.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mnemos.base.cube import MemCube, plain_json
from mnemos.base.errors import Invalid, MnemosError, NotFound, shown
from mnemos.kernel.pipelines.steps import STEPS, Scene, Step, done, known_arguments
from mnemos.kernel.pipelines.values import as_text, names_in, resolved
from mnemos.kernel.rights.space_settings import check_space_name

if TYPE_CHECKING:
    from mnemos.kernel.system import Mnemos

TEMPLATES = "pipeline/"
"""Before the name of a template: the setting that keeps it."""
_COMMON = ("step", "as", "when", "each", "optional")
_MOST_STEPS = 1000
_SHOWN = 60


@dataclass(frozen=True)
class _Declared:
    """One step as it was declared, checked. `gives`: the name of what it gives. `when`: it is left out where this is empty. `each`: it is done
    for each of these, as `$item`. `optional`: where it fails, it is undone by itself and the rest goes on."""

    number: int
    name: str
    kind: Step
    arguments: Mapping[str, Any]
    gives: str | None = None
    when: Any = None
    each: Any = None
    optional: bool = False

    @property
    def label(self) -> str:
        return f"step {self.number} ({self.name})"

    @property
    def needs(self) -> set[str]:
        """The names that it refers to."""
        names = names_in(self.when) | names_in(self.each)
        for name, value in self.arguments.items():
            names |= names_in(value, name in self.kind.texts)
        return names - ({"item"} if self.each is not None else set())


@dataclass(frozen=True, slots=True)
class StepReport:
    """What a step did. `outcome`: done, skipped (its `when` was empty), or failed (it was optional; `error` says why). `entries` are the
    positions of the log that it wrote, the last one included; None where it wrote nothing."""

    number: int
    step: str
    outcome: str
    seconds: float
    gave: str
    entries: tuple[int, int] | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """What a pipeline did: what its steps gave, by name, and what each of them did. Item access gives what a step gave."""

    state: Mapping[str, Any]
    steps: tuple[StepReport, ...]
    position: int

    def __getitem__(self, name: str) -> Any:
        return self.state[name]

    def explain(self) -> str:
        """One line for each step: what it did, what it gave, what it wrote, how long it took."""
        lines = []
        for step in self.steps:
            wrote = "" if step.entries is None else f", wrote log entries {step.entries[0]} to {step.entries[1]}"
            said = f": {step.error}" if step.error else f" {step.gave}{wrote}" if step.outcome == "done" else ""
            lines.append(f"{step.number}. {step.step}: {step.outcome}{said} ({step.seconds * 1e3:.1f} ms)")
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        steps = [{name: value for name in StepReport.__slots__ if (value := getattr(step, name)) is not None} for step in self.steps]
        return {"position": self.position, "steps": steps}


@dataclass
class _Progress:
    state: dict[str, Any]
    reports: list[StepReport] = field(default_factory=list)


class Pipeline:
    """Checked steps, ready to run. Get one with `mem.pipeline`.

    A step is a dict: "step" names its kind (`pipeline_steps.STEPS`), "as" what it gives, the rest are its arguments. In them "$name" stands for
    what an earlier step, or the caller of `run`, gave; "$name.field" for a part of it; in texts "{name}" puts it into the text. "when" leaves a
    step out where what it names is empty; "each" does it for each of a list, as "$item"; "optional" lets the rest go on where it fails.
    """

    def __init__(self, system: Mnemos, steps: Any, space: str | None = None) -> None:
        if isinstance(steps, (str, Mapping)) or not isinstance(steps, Sequence) or not steps:
            raise Invalid("pipeline: expected a list of steps, each a dict such as {'step': 'retrieve', 'query': '$question', 'as': 'hits'}")
        if len(steps) > _MOST_STEPS:
            raise Invalid(f"pipeline: {len(steps):,} steps; at most {_MOST_STEPS:,} are accepted")
        self._system = system
        self._space = None if space is None else check_space_name(space)
        self._raw = copy.deepcopy(list(steps))
        self._steps = [_declared(number, step) for number, step in enumerate(self._raw, 1)]
        given: set[str] = set()
        asked: dict[str, None] = {}
        for step in self._steps:
            asked |= dict.fromkeys(sorted(step.needs - given))
            given |= {step.gives} if step.gives else set()
        late = sorted(set(asked) & given)
        if late:
            raise Invalid(f"pipeline: ${late[0]} is used before the step that gives it; order the steps so that it comes first")
        self.inputs: tuple[str, ...] = tuple(asked)
        """The names that `run` wants to be given."""

    def save(self, name: str) -> None:
        """Keep it as a template of the store: `mem.pipeline(name)`. The log keeps every template for good, so none should hold a memory's text.

        Raises `PermissionDenied`, `Invalid` (a function of the program itself cannot be kept; name one).
        """
        self._system.set_setting(TEMPLATES + _template_name(name), plain_json({"space": self._space, "steps": self._raw}, "pipeline"))

    def run(self, /, **inputs: Any) -> Run:
        """Do all steps in one transaction, which is durable when this returns. Where a step fails nothing is kept, and its error is raised, saying
        which step it was. Other writers wait meanwhile. Raises `Invalid` where not exactly `inputs` are given."""
        if unknown := sorted(set(inputs) ^ set(self.inputs)):
            verb = "wants to be given" if unknown[0] in self.inputs else "does not use"
            raise Invalid(f"pipeline: it {verb} {unknown[0]!r}; it takes {', '.join(self.inputs) or 'nothing'}")
        progress = _Progress(dict(inputs))
        scene = Scene(self._system, self._space)
        with self._system.writing(alone=True) as transaction:
            for step in self._steps:
                before, started = transaction.position, time.perf_counter()
                outcome, given, error = self._do(scene, step, progress.state)
                if step.gives:
                    progress.state[step.gives] = given
                wrote = (before + 1, transaction.position) if transaction.position > before else None
                took = time.perf_counter() - started
                progress.reports.append(StepReport(step.number, step.name, outcome, took, _summary(given), wrote, error))
            position = transaction.position
        return Run(progress.state, tuple(progress.reports), position)

    def _do(self, scene: Scene, step: _Declared, state: dict[str, Any]) -> tuple[str, Any, str | None]:
        """(outcome, what the step gives, what went wrong with an optional one)."""
        if step.when is not None and not resolved(step.when, state):
            return "skipped", None, None
        try:
            with self._system.transaction() if step.optional else nullcontext():
                return "done", self._given(scene, step, state), None
        except Exception as error:
            if step.optional:
                return "failed", None, f"{type(error).__name__}: {error}"
            where = f"pipeline, {step.label}"
            if isinstance(error, MnemosError) and error.args:
                error.args = (f"{where}: {error.args[0]}; nothing of the pipeline was kept", *error.args[1:])
            else:
                error.add_note(f"{where}; nothing of the pipeline was kept")
            raise

    def _given(self, scene: Scene, step: _Declared, state: Mapping[str, Any]) -> Any:
        if step.each is None:
            return done(step.kind, scene, step.arguments, state)
        items = resolved(step.each, state)
        if not isinstance(items, (list, tuple)):
            raise Invalid(f"each: expected a list, not {type(items).__name__}")
        return [done(step.kind, scene, step.arguments, {**state, "item": item}) for item in items]


def saved_pipeline(system: Mnemos, name: str) -> Pipeline:
    """The pipeline that was saved under a name. Raises `NotFound`."""
    kept = system.setting(TEMPLATES + _template_name(name))
    if kept is None:
        raise NotFound(f"there is no pipeline {shown(name)}; there are {', '.join(saved_pipelines(system)) or 'none'}")
    return Pipeline(system, kept["steps"], kept["space"])


def saved_pipelines(system: Mnemos) -> list[str]:
    """The names of the templates that are kept."""
    with system.snapshot() as snapshot:
        return [name.removeprefix(TEMPLATES) for name in snapshot.settings(TEMPLATES)]


def _template_name(name: object) -> str:
    if not isinstance(name, str) or not name.strip() or len(name) > 200:
        raise Invalid(f"pipeline: {shown(name)} is no name; give 1 to 200 characters, not all blank")
    return name


def _declared(number: int, raw: Any) -> _Declared:
    """One step, checked as far as it can be before it runs. Raises `Invalid` and `NotFound`, saying which step."""
    where = f"pipeline, step {number}"
    if not isinstance(raw, Mapping) or not all(isinstance(name, str) for name in raw):
        raise Invalid(f"{where}: expected a dict with 'step' and its arguments, not {shown(raw)}")
    name = raw.get("step")
    if not isinstance(name, str) or name not in STEPS:
        raise Invalid(f"{where}: there is no kind of step {shown(name)}; there are {', '.join(STEPS)}")
    kind, where = STEPS[name], f"{where} ({name})"
    arguments = {key: value for key, value in raw.items() if key not in _COMMON}
    takes = dict.fromkeys((*kind.required, *kind.optional))
    if unknown := [key for key in arguments if key not in takes]:
        raise Invalid(f"{where}: unknown argument {shown(unknown[0])}; known are {', '.join((*takes, *_COMMON[1:]))}")
    if missing := [key for key in kind.required if arguments.get(key) is None]:
        raise Invalid(f"{where}: {missing[0]!r} is missing")
    gives, optional = raw.get("as"), raw.get("optional", False)
    if gives is not None and (not isinstance(gives, str) or not gives.isidentifier() or gives.startswith("_") or gives == "item"):
        raise Invalid(f"{where}: 'as' takes a name of letters, digits and underscores (but not 'item'), not {shown(gives)}")
    if not isinstance(optional, bool):
        raise Invalid(f"{where}: 'optional' takes true or false, not {shown(optional)}")
    step = _Declared(number, name, kind, arguments, gives, raw.get("when"), raw.get("each"), optional)
    try:
        kind.check(known_arguments(arguments, kind.texts))
        _ = step.needs
    except (Invalid, NotFound) as error:
        raise type(error)(f"{where}: {error}") from None
    return step


def _summary(value: Any) -> str:
    """What a step gave, in a few words."""
    if value is None:
        return "nothing"
    if isinstance(value, (list, tuple)):
        return f"{len(value)} of {type(value[0]).__name__}" if value else "none"
    if isinstance(value, MemCube):
        return f"{value.type} {value.id} at version {value.version}"
    text = " ".join(as_text(value).split())
    return f"{text[:_SHOWN]}…" if len(text) > _SHOWN else text
