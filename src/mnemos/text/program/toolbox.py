"""The tools of a worker: what it may call, and what each call does to the files. A call that cannot be done is answered, and breaks nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from mnemos.base.errors import Invalid, MnemosError, NotFound
from mnemos.base.protocols import Tool, ToolCall
from mnemos.text.json_answers import find_values
from mnemos.text.json_schema import fault, fitted
from mnemos.text.program.evaluators import NO_TESTS, Evaluator, check_all, run_pytest
from mnemos.text.program.files import Edit, check_content, check_name, content_hash, patched
from mnemos.text.program.sandbox import run_python

PLAN, COMPLETE = "plan", "step_complete"
VIEWED_CHARACTERS = 14_000
RUN_SECONDS, TEST_SECONDS = 20.0, 60.0
_LISTED = 200
_NOTICE = 1000
"""Characters of a view that are kept for saying what was left out."""

Json = dict[str, Any]
_TEXT: Json = {"type": "string"}
_NAMES: Json = {"type": "array", "items": _TEXT}


def _tool(name: str, description: str, required: Sequence[str] = (), /, **properties: Json) -> Tool:
    schema = {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}
    return {"name": name, "description": description, "parameters": schema}


def _list_of(*names: str) -> Json:
    properties = dict.fromkeys(names, _TEXT)
    items = {"type": "object", "properties": properties, "required": list(names), "additionalProperties": False}
    return {"type": "array", "items": items, "minItems": 1}


SCHEMAS: Mapping[str, Tool] = {
    tool["name"]: tool
    for tool in (
        _tool(PLAN, "Give the steps of the task.", ["steps"], steps={"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1}),
        _tool("write_files", "Write whole files.", ["files"], files=_list_of("path", "contents")),
        _tool("patch_files", "Replace texts that occur exactly once.", ["edits"], edits=_list_of("path", "find", "replace")),
        _tool("view_files", "Show files.", ["names"], names=_NAMES, first_line={"type": "integer", "minimum": 1}),
        _tool("list_files", "List names.", prefix=_TEXT),
        _tool("delete_files", 'Delete files; "-1" is all.', ["names"], names=_NAMES),
        _tool("run_python_file", "Run a file, 20 s.", ["name"], name=_TEXT, arguments=_NAMES),
        _tool("pytest_files", "Run tests, 60 s; no names: all.", names=_NAMES),
        _tool(COMPLETE, "Say that the step is complete."),
    )
}
"""Each tool as a worker is told of it, in few words: they are in every request."""

WORKING = tuple(name for name in SCHEMAS if name != PLAN)


@dataclass(frozen=True, slots=True)
class Done:
    """What a call came to: `content` is what the worker is told. `changes` name files with their new content, None for one that is deleted;
    `read` the files whose content the worker saw, with their hashes; `complete` whether the checks passed, where the step was said to be
    complete; `steps` a plan; `error` the kind of what went wrong."""

    content: str
    changes: Mapping[str, str | None] = field(default_factory=dict)
    read: Mapping[str, str] = field(default_factory=dict)
    complete: bool | None = None
    steps: tuple[str, ...] = ()
    error: str | None = None


Admit = Callable[[str, str], str | None]
"""Asked before a file is written, with its name and content: why it must not be, or None."""


class Toolbox:
    """Does the calls of one worker on files that the caller keeps: nothing is changed here, each call says what is to be.

    `names`: which tools there are. `admit`: asked before each write.
    """

    def __init__(self, evaluators: Sequence[Evaluator], names: Sequence[str] = WORKING, admit: Admit | None = None) -> None:
        unknown = [name for name in names if name not in WORKING]
        if unknown or COMPLETE not in names:
            raise Invalid(f"tools: expected some of {', '.join(WORKING)}, {COMPLETE} among them, not {', '.join(unknown) or 'these'}")
        self.tools = tuple(SCHEMAS[name] for name in WORKING if name in names)
        self._evaluators = tuple(evaluators)
        self._admit = admit
        self._refused: dict[str, str] = {}

    def refuse(self, names: Iterable[str], why: str) -> None:
        """Let the files stay as they are from now on."""
        self._refused |= dict.fromkeys(names, why)

    def run(self, call: ToolCall, files: Mapping[str, str], offered: Sequence[Tool]) -> Done:
        """Do one call. An unknown tool, arguments that are no JSON or not those of the tool, and what the tool cannot do, are answers with an
        error that says what would be right."""
        names = [tool["name"] for tool in offered]
        if call["name"] not in names:
            return _failed("unknown_tool", f"There is no tool {call['name'][:60]!r} here.", tools=names)
        schema = SCHEMAS[call["name"]]["parameters"]
        arguments = read_arguments(call["arguments"])
        if arguments is None:
            return _failed("bad_json", "The arguments are no JSON object. Nothing was done.", expected=schema)
        arguments = fitted(arguments, schema)
        if wrong := fault(arguments, schema, "arguments"):
            return _failed("wrong_arguments", f"{wrong}. Nothing was done.", expected=schema)
        try:
            done: Done = getattr(self, f"_{call['name']}")(files, **arguments)
        except MnemosError as error:
            return _failed(type(error).__name__, str(error))
        if stays := [name for name in done.changes if name in self._refused]:
            return _failed("refused", f"{stays[0]} must not be changed: {self._refused[stays[0]]}. Nothing was done.")
        return done

    # -- the tools, each a function of the files and its own arguments --
    def _plan(self, files: Mapping[str, str], steps: list[str]) -> Done:
        return Done("The plan is kept.", steps=tuple(steps))

    def _write_files(self, files: Mapping[str, str], /, **arguments: Any) -> Done:
        changes: dict[str, str | None] = {}
        for given in arguments["files"]:
            name = check_name(given["path"], {**files, **changes})
            if name in changes:
                raise Invalid(f"path: {name} is given twice. Nothing was written.")
            changes[name] = check_content(given["contents"])
        return self._written(files, changes, "Wrote")

    def _patch_files(self, files: Mapping[str, str], edits: list[dict[str, str]]) -> Done:
        by_name: dict[str, list[Edit]] = {}
        for edit in edits:
            by_name.setdefault(_existing(files, edit["path"]), []).append(Edit(edit["find"], edit["replace"]))
        changes: dict[str, str | None] = {name: check_content(patched(name, files[name], found)) for name, found in by_name.items()}
        return self._written(files, changes, "Changed")

    def _written(self, files: Mapping[str, str], changes: dict[str, str | None], verb: str) -> Done:
        for name, content in changes.items():
            if self._admit is not None and content is not None and (refused := self._admit(name, content)):
                return _failed("refused", f"{name} must not be written: {refused}. Nothing was written.")
        after = {**files, **{name: content for name, content in changes.items() if content is not None}}
        report = check_all(self._evaluators, after, writing=True)
        done = f"{verb} {', '.join(changes)}."
        if report.ok:
            checked = any(one.on_write for one in self._evaluators)
            return Done(f"{done} The checks pass." if checked else done, changes)
        return Done(f"{done} THE CHECKS FAIL:\n{report.text}", changes, error="checks")

    def _view_files(self, files: Mapping[str, str], names: list[str], first_line: int = 1) -> Done:
        shown: list[str] = []
        read: dict[str, str] = {}
        omitted: list[str] = []
        room = VIEWED_CHARACTERS - _NOTICE
        for name in dict.fromkeys(_existing(files, given) for given in names):
            text = "".join(files[name].splitlines(keepends=True)[first_line - 1 :]) if first_line > 1 else files[name]
            head = f"=== {name}\n" if first_line == 1 else f"=== {name}, from line {first_line}\n"
            if len(head) + len(text) <= room:
                shown.append(head + text)
            elif not shown:  # a file that is longer than a view is shown from its beginning
                kept = text[: room - len(head)]
                line = first_line + kept.count("\n")
                more = f"go on with first_line {line}" if line > first_line else "it is longer than what is shown at once"
                shown.append(f"{head}{kept}\n[… cut in line {line}: {more}]")
            else:
                omitted.append(name)
                continue
            read[name] = content_hash(files[name])
            room = max(0, room - len(shown[-1]) - 1)
        if omitted:
            names_left = ", ".join(omitted)
            left = names_left if len(names_left) < _NOTICE - 200 else f"{names_left[: _NOTICE - 200]} …"
            shown.append(f"[not shown, because {VIEWED_CHARACTERS:,} characters are shown at once: {left}]")
        return Done("\n".join(shown), read=read)

    def _list_files(self, files: Mapping[str, str], prefix: str = "") -> Done:
        names = sorted(name for name in files if name.startswith(prefix))
        more = f"\n… and {len(names) - _LISTED} more; narrow them with prefix" if len(names) > _LISTED else ""
        return Done("\n".join(names[:_LISTED]) + more if names else "There are none.")

    def _delete_files(self, files: Mapping[str, str], names: list[str]) -> Done:
        chosen = sorted(files) if "-1" in names else list(dict.fromkeys(_existing(files, name) for name in names))
        return Done(f"Deleted {', '.join(chosen) or 'nothing'}.", dict.fromkeys(chosen))

    def _run_python_file(self, files: Mapping[str, str], name: str, arguments: Sequence[str] = ()) -> Done:
        ran = run_python(files, [f"./{_existing(files, name)}", *arguments], RUN_SECONDS)
        how = f"Stopped after {RUN_SECONDS:g} seconds, which counts as failing" if ran.timed_out else f"Ended with {ran.code}"
        return Done(f"{how}.\n{ran.output}", error=None if ran.code == 0 else "failed")

    def _pytest_files(self, files: Mapping[str, str], names: Sequence[str] = ()) -> Done:
        ran = run_pytest(files, [_existing(files, name) for name in names], TEST_SECONDS)
        how = f"Stopped after {TEST_SECONDS:g} seconds, which counts as failing" if ran.timed_out else f"pytest ended with {ran.code}"
        if ran.code == NO_TESTS:
            how += ": there are no tests"
        return Done(f"{how}.\n{ran.output}", error=None if ran.code == 0 else "failed")

    def _step_complete(self, files: Mapping[str, str]) -> Done:
        report = check_all(self._evaluators, files, writing=False)
        if report.ok:
            return Done("The checks pass.", complete=True)
        return Done(f"THE CHECKS FAIL:\n{report.text}", complete=False, error="checks")


def read_arguments(text: str) -> Json | None:
    """The arguments of a call: a JSON object, mended where only one reading is possible (line breaks within texts, brackets missing at the end);
    None where there is none."""
    if not text.strip():
        return {}
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        found = [one.value for one in find_values(text) if isinstance(one.value, dict)]
        return found[0] if len(found) == 1 else None
    return value if isinstance(value, dict) else None


def _existing(files: Mapping[str, str], given: str) -> str:
    name = given.removeprefix("./")
    if name not in files:
        raise NotFound(f"There is no file {given[:200]!r}. Nothing was done.")
    return name


def _failed(kind: str, message: str, **more: Any) -> Done:
    return Done(orjson.dumps({"error": {"kind": kind, "message": message, **more}}).decode(), error=kind)
