"""The procedures of a space, as a program uses them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from mnemos.base.chain import Entry
from mnemos.base.cube import check_text
from mnemos.base.errors import Invalid, NotFound, shown
from mnemos.base.ids import parse_id
from mnemos.base.protocols import ChatModel
from mnemos.kernel.procedures import exchanging, keeping, noting, pruning, refining
from mnemos.kernel.procedures.counting import Injected, Ledger
from mnemos.kernel.procedures.learning import Learning, Learnt
from mnemos.kernel.procedures.settings import Settings
from mnemos.kernel.reading.viewing import Viewing
from mnemos.store.sqlite_write import Writer
from mnemos.text.procedures import distilling, pairs, reuse
from mnemos.text.procedures.distilling import Lesson
from mnemos.text.procedures.modelled import Adviser
from mnemos.text.procedures.pool import Pool, Recalled
from mnemos.text.procedures.procedure import Procedure
from mnemos.text.procedures.tools import ToolMemory
from mnemos.text.trajectories.credit import Base, Counts, shares, uplift, withheld
from mnemos.text.trajectories.slots import family
from mnemos.text.trajectories.trajectory import Call, Trajectory
from mnemos.text.trajectories.validation import Verdict

if TYPE_CHECKING:
    from mnemos.kernel.guard.hooks import GuardedSpace
    from mnemos.kernel.space import Space


@dataclass(frozen=True, slots=True)
class Guidance:
    """What a run is given: `text` for its prompt (empty where nothing is known), the entries in it, the one that was withheld from it, and the id
    under which its outcome is to be reported."""

    text: str
    run_id: str
    injected: tuple[Recalled, ...]
    withheld: Recalled | None = None

    def into(self, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The messages with the guidance in the first of a user, once. Raises `Invalid` where there is none."""
        return reuse.injected(messages, self.text)


class Procedures:
    """What the agents of a space have learnt to do. Get it as `space.procedures`; safe to use from many threads.

    Entries are memories of type "procedure", views of the runs (type "trajectory") that they were learnt from: forgetting a run forgets what only it
    taught, and rights, versions and exports are those of the space. `guard` admits what is written, where one is given. With a chat model
    (`chat`, by default the store's) it distils, too, and its insights are kept where it judges them good; `adviser.report` counts what it was
    asked. Where it fails, everything goes on without it.
    """

    def __init__(
        self, space: Space, settings: Settings | None = None, *, guard: GuardedSpace | None = None, chat: ChatModel | None = None
    ) -> None:
        chat = chat if chat is not None else space.system.chat if isinstance(space.system.chat, ChatModel) else None
        self.adviser = None if chat is None else Adviser(chat)
        self.space = space
        self.settings = settings if settings is not None else Settings()
        self.guard = guard
        self.ledger = Ledger(space.num)
        self._pool = Pool(self._embedded, self.settings.key, self.settings.weights)
        self._noted = noting.Noted()
        self._seen = -1
        self._end: int | None = None
        """When the first entry of the pool expires, at the latest: time alone is no entry of the log."""
        self._again: set[UUID] = set()
        self._rng = np.random.default_rng()
        self._lock = threading.RLock()  # taken within a snapshot or a transaction, never around one, or two threads could wait for each other

    def __repr__(self) -> str:
        return f"Procedures of {self.space!r}"

    def __len__(self) -> int:
        return len(self.entries())

    # -- learning --
    def learn(
        self, runs: Iterable[Trajectory], *, failed_with: Iterable[str] = (), provisional: Sequence[Lesson] = (), **fields: Any
    ) -> Learnt:
        """Distil runs, check what comes of it, and keep what is new, with the runs that it rests on; in one transaction.

        Give the runs of a task together, failures too: what is learnt from them is how they were overcome. `failed_with` names entries that one of
        the failures had in its prompt; `provisional` are a model's lessons of the failures (`reflect`), with the numbers of their runs. `fields` are
        keywords of `Space.add` for the runs (author, source, sensitivity, …). Raises as `Space.add`.
        """
        self.space.admit("write")
        given = [runs] if not isinstance(runs, Iterable) else list(runs)
        if not all(isinstance(run, Trajectory) for run in given):
            raise Invalid("learn: expected trajectories; make them with `mnemos.text.trajectories.importing.trajectory`")
        failed = _names(failed_with, "failed_with: expected ids of entries")
        if taken := sorted(fields.keys() & {"text", "type", "metadata", "derived_from"}):
            raise Invalid(f"learn: {taken[0]} of a run is what the run itself gives; leave it out")
        lessons = distilling.distil(given, self.settings.success)
        if self.settings.hard:
            lessons += pairs.hard_comparisons(given, self._embedded_texts, self.settings.success)
        verdicts: list[Verdict | None] = [None] * len(lessons)
        if self.adviser is not None:
            reflected = {number for lesson in provisional for number in lesson.sources}
            told = [*provisional, *self.adviser.distil(given, self.settings.success, segment=self.settings.segment, without=reflected)]
            lessons, verdicts = [*lessons, *told], [*verdicts, *self.adviser.judge(told, given)]
        self._embedded([lesson.procedure.text for lesson in lessons])  # before the lock is taken
        with self.space.system.writing(alone=True) as transaction, self._lock:
            self.space.settings_for(transaction, "write")
            return Learning(self, given, failed, fields).keep(lessons, verdicts)

    def add(self, procedure: Procedure) -> str:
        """Keep an entry as it is, without a run behind it; gives its id. Raises as `Space.add`; `Invalid` where the guard does not admit it."""
        if not isinstance(procedure, Procedure):
            raise Invalid(f"procedure: expected a Procedure, not {type(procedure).__name__}; make one of a dict with `Procedure.from_json`")
        cube = keeping.write_procedure(self.space, Procedure.from_json(procedure.as_json()), (), self.guard)
        if cube is None or cube.state == "quarantined":
            raise Invalid("procedure: the guard did not admit it; see what it says of it with `guard.inspect`")
        return cube.id

    def reflect(self, run: Trajectory, tools: Iterable[str] = ()) -> list[Procedure]:
        """Provisional lessons of a run that failed, for the next attempt; they are not kept."""
        if not isinstance(run, Trajectory):
            raise Invalid(f"reflect: expected a trajectory, not {type(run).__name__}")
        lesson = distilling.reflection(run, _names(tools, "tools: expected a list of names"))
        more = self.adviser.reflect(run) if self.adviser is not None else []
        return [*([] if lesson is None else [lesson]), *more]

    # -- using --
    def recall(
        self, task: str | None = None, k: int | None = None, *, messages: Sequence[Mapping[str, Any]] | None = None, tools: Iterable[str] = ()
    ) -> list[Recalled]:
        """The entries that fit a task, or, in mid-run, the last messages; best first. `tools` are those at hand."""
        self.space.admit("read")
        at_hand = _names(tools, "tools: expected a list of names")
        if task is not None:
            check_text(task, "task")
        k = self.settings.k if k is None else k
        if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= 100:
            raise Invalid(f"k: expected a number from 1 to 100, not {shown(k)}")
        asked = task if task is not None and self.settings.key == "query" else reuse.question(task, messages)
        if task is None and messages and self.adviser is not None and self.settings.rerank:
            asked = self.adviser.situation(messages) or asked
        with self.space.system.snapshot() as snapshot, self._lock:
            pool = self.pool()

            def adds(id: str) -> float:
                counts = self.ledger.counts(snapshot, id, pool[id].revision)
                return uplift(counts, self.ledger.base(snapshot, pool[id].families, counts)) if counts.f else 0.0

            found = pool.recall(asked, k, tools=at_hand, uplift=adds, floor=self.settings.floor, relative=self.settings.relative)
        if self.settings.least_trust is not None:
            kept = reuse.trusted([one.procedure for one in found], self.settings.least_trust)
            found = [found[place] for place in kept]
        if self.adviser is not None and self.settings.rerank and len(found) > 1:
            found = [found[place] for place in self.adviser.order(asked, [one.procedure for one in found])]
        return found

    def guide(
        self,
        task: str | None = None,
        *,
        messages: Sequence[Mapping[str, Any]] | None = None,
        tools: Iterable[str] = (),
        k: int | None = None,
        rng: np.random.Generator | None = None,
    ) -> Guidance:
        """Begin a run with what is known for it. Report how it ended under the `run_id`. It takes the right to write, for the run will be counted."""
        self.space.admit("write", counted=False)
        found = self.recall(task, k, messages=messages, tools=tools)
        out = withheld(len(found), rng if rng is not None else self._rng, self.settings.hold_out)
        injected = [one for place, one in enumerate(found) if place != out]
        weights = shares([one.score for one in injected])
        run = str(self.space.system.new_id())
        noted = [Injected(one.id, one.procedure.revision, weight) for one, weight in zip(injected, weights, strict=True)]
        aside = None if out is None else Injected(found[out].id, found[out].procedure.revision, 0.0)
        of_family = family(task) if task and not injected else ""  # such a run is counted for its family; of others the log need not keep it
        with self.space.system.writing() as transaction:
            self.space.settings_for(transaction, "write")
            self.ledger.open_run(transaction, run, noted, aside, of_family)
        procedures = [one.procedure for one in injected]
        text = reuse.guidance(procedures, task)
        if self.adviser is not None and self.settings.rewrite and procedures:
            text = self.adviser.rewrite(task if task is not None else reuse.question(None, messages), procedures) or text
        return Guidance(text, run, tuple(injected), None if out is None else found[out])

    def report(self, run_id: str, reward: float) -> None:
        """Say how a run ended, once: its entries are credited, durably, before this returns. Raises `NotFound` for a run that is not open."""
        if not isinstance(run_id, str):
            raise Invalid(f"run_id: expected the text that `guide` gave, not {type(run_id).__name__}")
        if not isinstance(reward, (int, float)) or not 0 <= reward <= 1:
            raise Invalid(f"reward: expected a number from 0 to 1, not {shown(reward)}")
        self.space.admit("write", counted=False)
        with self.space.system.writing() as transaction:
            self.space.settings_for(transaction, "write")
            self.ledger.close_run(transaction, run_id, reward >= self.settings.success)

    def solve(self, task: str, attempt: refining.Attempt, *, tools: Sequence[str] = (), rng: np.random.Generator | None = None) -> refining.Solved:
        """Try a task, learn from how it went, and from time to time let go of what does not help: the dynamic mode (`refining.solve`)."""
        if not callable(attempt):
            raise Invalid(f"attempt: expected a function of the guidance that gives a trajectory, not {type(attempt).__name__}")
        return refining.solve(self, check_text(task, "task"), attempt, tools, rng)

    # -- looking after them --
    def entries(self) -> dict[str, Procedure]:
        """The entries that are in use, by id."""
        self.space.admit("read")
        with self.space.system.snapshot(), self._lock:
            return dict(self.pool().entries)

    def get(self, id: str) -> Procedure:
        """One entry, in use or in the archive. Raises `NotFound`."""
        cube = self.space.get(id)
        if cube.type != keeping.PROCEDURE:
            raise NotFound(f"cube {id} is no procedure, but of type {cube.type!r}")
        return keeping.procedure_of(cube)

    def counts(self, id: str) -> Counts:
        """How often an entry was used, and how these runs ended. Raises `NotFound`."""
        revision = self.get(id).revision
        with self.space.system.snapshot() as snapshot:
            return self.ledger.counts(snapshot, id, revision)

    def base(self, id: str) -> Base:
        """The base rate that an entry is measured against. Raises `NotFound`."""
        procedure = self.get(id)
        with self.space.system.snapshot() as snapshot:
            return self.ledger.base(snapshot, procedure.families, self.ledger.counts(snapshot, id, procedure.revision))

    def prune(self, *, forget: bool = False) -> list[pruning.Pruned]:
        """Let go of the entries that do not help, by the rule of the settings: to the archive, with the reason in the log, from where `space.restore`
        brings them back; with `forget` for good. What is frozen stays."""
        self.space.admit("write")
        with self.space.system.transaction(), self._lock:
            return pruning.prune(self, forget=forget)

    def archived(self) -> dict[str, Procedure]:
        """The entries in the archive, by id."""
        return pruning.archived(self)

    def export(self, path: str | Path) -> int:
        """Write the entries with their runs and counts to a file of JSON lines; give how many entries. Raises `StoreFull`, `StoreUnavailable`."""
        return exchanging.export(self, path)

    def load(self, path: str | Path) -> list[str]:
        """Take in what `export` wrote, or a pool of records with when_to_use and content; all or nothing. Gives the ids. Raises `Invalid`, naming the
        line."""
        return exchanging.load(self, path)

    # -- tools --
    def note_calls(self, calls: Iterable[Call] | Trajectory, **fields: Any) -> None:
        """Remember calls of tools, with what came back: of a run, or as they were made.

        `fields` are keywords of `Space.add`: what came back may want a `sensitivity`, and with `derived_from` it is forgotten with the run. Raises as
        `Space.add`.
        """
        noting.note(self.space, calls, fields)

    def tools(self) -> ToolMemory:
        """What is known of each tool from the last hundred of its calls that were noted."""
        self.space.admit("read")
        with self.space.system.snapshot() as snapshot, self._lock:
            return self._noted.read(self, snapshot)

    # -- for the modules of this room --
    def pool(self) -> Pool:
        """The entries as they are now, to be used within a snapshot and under the lock: brought up to date by what the log says was changed since.

        What a transaction has written may yet be undone: it is looked at again the next time.
        """
        with self.space.system.snapshot() as snapshot:
            position, own = snapshot.position, isinstance(snapshot, Writer)
            since = [] if self._seen < 0 else [entry for entry in snapshot.log(self._seen) if not self.mere_count(entry)]
            if self._seen < 0 or any(entry.cube is None for entry in since) or self.past(self._end):
                held, self._end = keeping.held_procedures(self.space)
                self._pool.replace(held)
                self._seen, self._again = (-1, set()) if own else (position, set())
                return self._pool
            changed = self._again | {entry.cube for entry in since if entry.cube is not None and entry.space == self.space.num}
            viewing, now = Viewing.of(self.space, snapshot), self.space.system.clock()
            for cube in changed:
                procedure, end = keeping.present_procedure(viewing, cube, now)
                self._pool.put(str(cube), procedure)
                self._end = keeping.first_end((self._end, end))
            self._seen, self._again = (self._seen, changed) if own else (position, set())
        return self._pool

    def past(self, end: int | None) -> bool:
        """Whether a moment has come; None never does."""
        return end is not None and end <= self.space.system.clock()

    def mere_count(self, entry: Entry) -> bool:
        """Whether a log entry tells of a run alone, and of no entry of the pool."""
        return entry.kind == "setting" and self.ledger.own_setting(entry.body_json().get("name"))

    def note(self, id: str, procedure: Procedure | None) -> None:
        """Within a transaction: an entry was written, or, with None, let go."""
        self._pool.put(id, procedure)
        self._again.add(parse_id(id))

    def entry(self, id: str) -> Procedure:
        return self._pool[id]

    def _embedded(self, texts: Sequence[str]) -> NDArray[np.float32] | None:
        made = self.space.system.embedding.vectors(texts) if texts else None
        return None if made is None else np.stack([np.frombuffer(vector, dtype=np.float32) for vector in made])

    def _embedded_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = self._embedded(texts)
        if vectors is None:
            raise Invalid("hard comparison needs an embedder; open the store with one, or leave `hard` off")
        return vectors


def _names(given: Iterable[str], expected: str) -> list[str]:
    """A list of texts. Raises `Invalid` for anything else, with what was expected."""
    named = [None] if isinstance(given, str) or not isinstance(given, Iterable) else list(given)
    if not all(isinstance(one, str) for one in named):
        raise Invalid(f"{expected}, not {shown(given)}")
    return [one for one in named if one is not None]
