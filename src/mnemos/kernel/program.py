"""Programs of a space: tasks that are done instruction by instruction, with files as cubes, and that go on after a kill where they were
(L2MAC, arXiv 2310.02003)."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from mnemos.base.cube import MemCube
from mnemos.base.errors import Conflict, Invalid, ModelUnavailable, NotFound, shown
from mnemos.base.ids import parse_id
from mnemos.base.protocols import ChatModel, ReplyModel
from mnemos.kernel.exchange.containers import create
from mnemos.kernel.exchange.files import explained
from mnemos.kernel.program_journal import PROGRAM, SpaceJournal, file_id
from mnemos.store.sqlite_write import Writer
from mnemos.text.program.chat_worker import ChatWorker
from mnemos.text.program.control import ControlUnit, context, opening
from mnemos.text.program.counting import RequestCounter
from mnemos.text.program.evaluators import Evaluator, default, evaluators
from mnemos.text.program.registry import Cost, Instruction
from mnemos.text.program.request import Hooks, Request
from mnemos.text.program.state import Event, Settings, State, folded
from mnemos.text.program.workers import Assembler, Budget, Worker, drive
from mnemos.text.tokens import token_counter

if TYPE_CHECKING:
    from mnemos.kernel.guard.hooks import GuardedSpace
    from mnemos.kernel.space import Space
    from mnemos.kernel.system import Mnemos
    from mnemos.kernel.work.jobs import Job
    from mnemos.kernel.work.running import Running


@dataclass(frozen=True, slots=True)
class Outcome:
    """How far a run came. `ended`: "done", "failed" (`reason` says why), or what its budget had no more of: "calls", "tokens", "seconds".

    `instructions`: how many are in each state. `cost`: of the whole program so far, planning included.
    """

    ended: str
    reason: str
    instructions: Mapping[str, int]
    files: int
    cost: Cost

    @property
    def done(self) -> bool:
        return self.ended == "done"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Program:
    """One program of a space; get it by `space.program`. Its cube is the task, `space.forget(program.id)` forgets it with all its files.

    `tokenizer`: counts tokens (a function from text to a count, or an object with `encode`); None counts a token for four bytes. `checks`:
    evaluators in the place of the built-in ones that the program names.
    """

    def __init__(self, space: Space, id: str | UUID, *, tokenizer: object = None, checks: Sequence[Evaluator] | None = None) -> None:
        self.space = space
        self._id = parse_id(id)
        self._journal = SpaceJournal(space, self._id)
        self._counter = _counter(tokenizer)
        self._checks = checks
        settings = self.state().settings
        if checks is not None and _names_of(checks) != settings.evaluators:
            raise Conflict(f"checks: the program was begun with {', '.join(settings.evaluators)}; give these, in that order, or leave them out")
        if checks is None:
            evaluators(settings.evaluators)

    def __repr__(self) -> str:
        return f"Program({self.id!r}, in space {self.space.name!r})"

    @property
    def id(self) -> str:
        """The id of the program's cube."""
        return str(self._id)

    # -- running --
    def run(
        self,
        worker: Worker | ChatModel,
        *,
        calls: int | None = None,
        tokens: int | None = None,
        seconds: float | None = None,
        hooks: Hooks | None = None,
        guard: GuardedSpace | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> Outcome:
        """Let `worker` (a function of the request, or a chat model) work until the program is over, or for so many calls, tokens or seconds.

        Whatever ends it (a kill too), the next run goes on at the call that had not been kept. `guard` is asked before each file is written,
        after `hooks.admit`; what it does not admit is not written, and the worker is told. `progress(instruction, of)` after each call.
        Raises what the worker raises, `ModelUnavailable` among it, `Conflict` where somebody else runs the program at the same time.
        """
        if isinstance(worker, ChatModel):
            most, window = _window_of(worker), self.state().settings.window
            if most is not None and window > most:
                told = f"the program was begun with a window of {window:,} tokens, and the model has {most:,}"
                raise Invalid(f"worker: {told}; begin it with window={most}")
            worker = ChatWorker(worker)
        counter = worker.counter if isinstance(worker, ChatWorker) else self._counter
        with self.space.system.snapshot() as snapshot:
            if isinstance(snapshot, Writer):
                raise Invalid("program: none can be run inside a transaction, which would hold up everybody's writes; end it first")
        if not callable(worker):
            raise Invalid(f"worker: expected a function of the request, or a chat model, not {type(worker).__name__}")
        if hooks is not None and not isinstance(hooks, Hooks):
            raise Invalid(f"hooks: expected Hooks of `mnemos.text.program.request`, not {type(hooks).__name__}")
        unit = ControlUnit(self._journal, counter, self._checks, _guarding(hooks or Hooks(), guard, self._id))
        ended = drive(unit, worker, Budget(calls, tokens, seconds), progress=progress)
        return _outcome(unit.state, ended)

    def retry(self) -> None:
        """Let a program that failed be run again from the instruction that failed. Raises `Conflict` for one that has not."""
        ControlUnit(self._journal, self._counter, self._checks).retry()

    def enqueue(self, worker: str = "assembler", **options: Any) -> Job:
        """Ask for a durable job that runs the program (`mem.jobs`), with the worker "assembler", or "chat": the store's chat model. `options`:
        keywords of `Jobs.enqueue`. Gives the job."""
        if worker not in WORKERS:
            raise NotFound(f"worker: there is no {shown(worker)} for jobs; there are {', '.join(WORKERS)}")
        return self.space.system.jobs.enqueue("program", key=self.id, payload={"space": self.space.name, "worker": worker}, **options)

    # -- looking --
    def state(self) -> State:
        """Where the program stands, as its journal tells: status, registry, table of files, costs."""
        return folded(self._journal.load()[0])

    @property
    def status(self) -> str:
        """planning, running, done or failed."""
        return self.state().status

    @property
    def task(self) -> str:
        return self.state().task

    def instructions(self) -> list[Instruction]:
        """The registry: each instruction with its state, its summary and its cost."""
        return list(self.state().registry)

    def outcome(self) -> Outcome:
        """How far the program came by now."""
        state = self.state()
        return _outcome(state, state.status)

    def files(self) -> dict[str, str]:
        """Name → content, in the order of names."""
        return dict(sorted(self._journal.load()[1].items()))

    def file(self, name: str, version: int | None = None) -> MemCube:
        """A file as a cube: its text, version, author, what it drew on; `version` for one of those before. Raises `NotFound`."""
        state = self.state()
        entry = state.files.get(name) or state.gone.get(name)
        if entry is None:
            raise NotFound(f"program {self.id} has no file {shown(name)}; there are {', '.join(sorted(state.files)[:20]) or 'none'}")
        return self.space.get(file_id(self._id, entry.number), version)

    def events(self) -> list[Event]:
        """The journal, oldest entry first, as plain JSON."""
        return self._journal.load()[0]

    def context(self, call: int, *, worker: ChatModel | None = None) -> Request:
        """What a worker was asked in call number `call` (from 0), built again from the journal. `worker`: the chat model, where one was used.

        Raises `NotFound` where there was no such call, or a part of it has been forgotten, `Corrupt` where the journal does not give it.
        """
        counter = self._counter if worker is None else ChatWorker(worker).counter
        return context(self.events(), call, counter=counter, checks=self._checks)

    def export(self, target: str | Path) -> Path:
        """Write the files to a new folder, or, where the name ends in .zip, to one file; equal files make equal bytes. Gives its path. Raises
        `Invalid` where something is there already, `StoreUnavailable`, `StoreFull`."""
        path, files = Path(target).expanduser(), self.files()
        if path.suffix == ".zip":
            packed = io.BytesIO()
            with zipfile.ZipFile(packed, "w") as archive:
                for name, text in files.items():
                    archive.writestr(zipfile.ZipInfo(name), text.encode())  # with the date of all: 1980-01-01
            _put(path, packed.getvalue())
            return path
        sink = create(path)
        try:
            for name, text in files.items():
                with sink.file(name) as stream:
                    stream.write(text.encode())
            sink.finish()
        except BaseException:
            sink.discard()
            raise
        return path


def _put(path: Path, data: bytes) -> None:
    """Write a new file. Raises `Invalid` where something is there, and as the exports of memories do."""
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError:
        raise Invalid(f"{path}: exists already; choose another name, or remove it first") from None
    except OSError as error:
        raise explained(error, path) from None


def _guarding(hooks: Hooks, guard: GuardedSpace | None, program: UUID) -> Hooks:
    """The hooks, with a guard behind what they admit."""
    if guard is None:
        return hooks
    from mnemos.kernel.guard.hooks import candidate_of  # only where it is needed: it reads word lists

    def admit(name: str, content: str) -> str | None:
        refused = hooks.admit(name, content) if hooks.admit is not None else None
        if refused or not content.strip():
            return refused
        written = candidate_of(f"{program}/{name}", content, origin="inference", source=f"program {program}")  # nobody vouches for what it says
        admission = guard.guard.admit(written)
        return None if admission else "; ".join(admission.reasons)

    return replace(hooks, admit=admit)


def _names_of(checks: Sequence[Evaluator]) -> tuple[str, ...]:
    """The names of evaluators. Raises `Invalid` for what is none."""
    given: Sequence[Any] = checks if isinstance(checks, (list, tuple)) else [checks]
    for one in given:
        if not isinstance(getattr(one, "name", None), str) or not callable(getattr(one, "check", None)):
            raise Invalid(f"checks: expected a list of evaluators, each with name, on_write and check, not {shown(one)}")
    return tuple(one.name for one in given)


def _window_of(chat: ChatModel | None) -> int | None:
    """The tokens of a model's window, where it says so."""
    return chat.context_window if isinstance(chat, ReplyModel) else None


def _counter(tokenizer: object) -> RequestCounter:
    return RequestCounter() if tokenizer is None else RequestCounter(token_counter(tokenizer))


def begin(
    space: Space,
    task: str,
    plan: Sequence[object] | str = "rules",
    *,
    tokenizer: object = None,
    checks: Sequence[Evaluator] | None = None,
    chat: ChatModel | None = None,
    **settings: Any,
) -> Program:
    """A new program in a space; see `Space.program`. With `chat` (the store's own, where a model is to plan) the instructions are fitted to its
    window, counted as it counts."""
    if chat is None and plan == "model" and tokenizer is None and isinstance(space.system.chat, ChatModel):
        chat = space.system.chat
    most = _window_of(chat)
    settings.setdefault("window", Settings.window if most is None else min(Settings.window, most))
    if checks is not None and "evaluators" in settings:
        raise Invalid("evaluators: stand for the built-in checks, and `checks` is given in their place; leave one of the two out")
    names = _names_of(checks) if checks is not None else settings.pop("evaluators", default())
    chosen = Settings.from_json({**settings, "evaluators": names})
    if most is not None and chosen.window > most:
        raise Invalid(f"window: {chosen.window:,} tokens are more than the model's own {most:,}")
    if "reply" not in settings:
        chosen = replace(chosen, reply=chosen.window // 8)
    counter = ChatWorker(chat).counter if chat is not None else _counter(tokenizer)
    events = opening(task, chosen, plan, counter=counter, checks=checks)
    journal = SpaceJournal(space, space.system.new_id())
    journal.begin(task, {"window": chosen.window}, events)
    return Program(space, journal.program, tokenizer=tokenizer, checks=checks)


def listed(space: Space) -> list[MemCube]:
    """The cubes of the programs of a space, oldest first: their text is the task."""
    return list(space.list(types=[PROGRAM], limit=2**31))


def _outcome(state: State, ended: str) -> Outcome:
    states: dict[str, int] = {}
    cost = state.planning
    for one in state.registry:
        states[one.state] = states.get(one.state, 0) + 1
        cost = cost.plus(**one.cost.as_json())
    return Outcome(ended, state.reason, states, len(state.files), cost)


def _chat(system: Mnemos) -> Worker | ChatModel:
    if not isinstance(system.chat, ChatModel):
        raise ModelUnavailable("program: the store was opened without a chat model; give `chat` to `mnemos.open`, or use another worker")
    return system.chat


WORKERS: Mapping[str, Callable[[Mnemos], Worker | ChatModel]] = {"assembler": lambda system: Assembler(), "chat": _chat}
"""The workers that jobs can run with: what a job runs with has to be known to every process."""


def run_job(system: Mnemos, job: Running) -> None:
    """The job "program": run it until it is over. Stopped or killed, it goes on where it was. Raises `Conflict` where the program fails."""
    program = Program(system.existing_space(job.payload["space"]), job.key)
    if program.status == "failed":
        program.retry()
    outcome = program.run(WORKERS[job.payload["worker"]](system), progress=job.progress)
    if outcome.ended == "failed":
        raise Conflict(f"program {program.id}: {outcome.reason}")
