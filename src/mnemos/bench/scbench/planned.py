"""Options of policies that need to know the model, or how long a context is, filled in from a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mnemos.activation.calibration import Plan, calibrate
from mnemos.base.errors import Invalid, NotFound
from mnemos.bench.scbench.choosing import LENGTH, REFERENCE_MODEL, Choice, Way
from mnemos.models import reference
from mnemos.models.local.model import LocalModel
from mnemos.models.reference import language, tasks

CALIBRATE = "calibrate"
CONTEXTS, TASKS = 6, ("kv", "needle", "world")
"""Generated contexts that a plan of the reference model is made from, and their tasks."""
OF_TOKENS = ("lazyeviction",)
"""Policies whose budget is a number of tokens: a share is one of the context."""


def options_of(way: Way, model: Any, choice: Choice) -> dict[str, Any]:
    """The options as they were given, with the number of layers for pyramidkv, tokens for a `share` of those that count them, and, for `plan=`, the
    plan: of the file that it names, or, for "calibrate", one made now for the reference model, on contexts of other seeds. Raises `Invalid` and
    `NotFound`."""
    options = dict(way.options)
    if way.name == "pyramidkv":
        options.setdefault("layers", model.config.get_text_config().num_hidden_layers)
    if way.name in OF_TOKENS and (share := options.pop("share", None)) is not None:
        options["tokens"] = max(1, round(share * (choice.length or LENGTH)))
    if (named := options.get("plan")) is not None:
        options["plan"] = _plan(str(named), model, choice)
    return options


def _plan(named: str, model: Any, choice: Choice) -> Plan:
    if named != CALIBRATE:
        path = Path(named).expanduser()
        if not path.is_file():
            raise NotFound(f"--methods: there is no plan {named}; write one with Plan.save, or say plan={CALIBRATE} of the reference model")
        return Plan.loads(path.read_text(encoding="utf-8"), _fingerprint(choice))
    if choice.model != REFERENCE_MODEL:
        raise Invalid(f"--methods: plan={CALIBRATE} knows texts of the reference model alone; of {choice.model} name the file of a plan")
    made = (tasks.make(TASKS[number % len(TASKS)], LENGTH, 1, f"scbench plan {number}") for number in range(CONTEXTS))
    return calibrate(model, _fingerprint(choice), [language.encode([*each.context, *each.turns[0].question]) for each in made])


def _fingerprint(choice: Choice) -> str:
    return LocalModel.load(reference.folder() if choice.model == REFERENCE_MODEL else choice.model).fingerprint
