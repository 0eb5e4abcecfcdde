"""Programs in a space: files as versioned cubes, a journal that outlives kills, rights, forgetting, export, jobs."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mnemos.base.errors import Conflict, Corrupt, Invalid, ModelUnavailable, NotFound, PermissionDenied, QuotaExceeded, RateLimited
from mnemos.base.protocols import Reply, ToolCall
from mnemos.kernel.program import Program
from mnemos.kernel.program_journal import ENTRY, SpaceJournal
from mnemos.kernel.system import Mnemos
from mnemos.models.openai_chat import OpenAIChat
from mnemos.text.program.evaluators import Report
from mnemos.text.program.workers import Assembler, call, write

TASK = "# Shop\n\nIt sells books.\n\n## Cart\n- Put things in.\n- Take things out.\n\n## Pay\n1. By card.\n2. By cash.\n"
SMALL = ["write_files", "view_files", "delete_files", "step_complete"]


def worker(request: Any) -> Any:
    """Two files for each instruction, of which the second draws on the first."""
    if request.purpose != "work":
        return f"{len(request.files)} files."
    first, second = f"a{request.address}.md", f"b{request.address}.md"
    if second in request.files:
        return [call("step_complete")]
    if first in request.files:
        return [call("view_files", names=[first]), write(**{second: f"# From {first}\n"})]
    return [write(**{first: f"# First of {request.address}\n", f"empty{request.address}": ""})]


def begun(mem: Mnemos, **options: Any) -> Program:
    return mem.space("shop").program(TASK, **{"window": 2000, "evaluators": ["markdown"], "tools": SMALL} | options)


# -- running --
def test_a_program_runs_and_its_files_are_cubes(mem: Mnemos) -> None:
    program = begun(mem)
    assert (program.status, program.task) == ("running", TASK)
    assert [one.state for one in program.instructions()] == ["pending"] * 3
    outcome = program.run(worker)
    assert outcome.done
    assert outcome.instructions == {"done": 3}
    assert (outcome.files, outcome.cost.calls) == (9, 12)
    assert list(program.files()) == sorted(f"{kind}{n}{end}" for n in range(3) for kind, end in (("a", ".md"), ("b", ".md"), ("empty", "")))
    assert program.files()["empty1"] == ""
    cube = program.file("b1.md")
    assert (cube.type, cube.source, cube.version, cube.text) == ("file", "b1.md", 1, "# From a1.md\n")
    assert (cube.metadata["instruction"], list(cube.metadata["read"])) == (1, ["a1.md"])
    assert [(str(link.id), link.relation) for link in cube.derived_from] == [(program.id, "derived_from"), (program.file("a1.md").id, "drew_on")]
    assert mem.verify().ok
    assert [one.cost.calls for one in program.instructions()] == [4, 4, 4]
    assert [found.id for found in mem.space("shop").programs()] == [program.id]
    again = mem.space("shop").program(id=program.id)
    assert again.run(worker).ended == "done"
    assert again.outcome() == outcome


def test_journals_and_files_are_out_of_searches_and_listings(mem: Mnemos) -> None:
    space = mem.space("shop")
    space.add("Books are sold in the shop.")
    begun(mem).run(worker)
    assert [hit.cube.type for hit in space.search("books cart first From", 20)] == ["fact"]
    assert {cube.type for cube in space.list()} == {"fact", "program", "file"}
    mem.tend()
    assert mem.verify().ok


def test_files_have_versions_and_deleted_ones_come_back(mem: Mnemos) -> None:
    steps = iter([[write(a="1")], [write(a="2"), call("delete_files", names=["a"])], [write(a="3"), write(b="4")], [call("step_complete")]])
    program = mem.space("shop").program("- all", window=3000, evaluators=[])
    seen = []

    def scripted(request: Any) -> Any:
        seen.append(list(request.files))
        return next(steps) if request.purpose == "work" else "ok"

    assert program.run(scripted).done
    assert seen[:4] == [[], ["a"], [], ["a", "b"]]
    assert program.files() == {"a": "3", "b": "4"}
    assert program.file("a").version == 1  # a name that is used again is another file; the deleted one is in the archive, with its versions
    (deleted,) = mem.space("shop").list(types=["file"], states=["archived"])
    assert [cube.text for cube in mem.space("shop").history(deleted.id)] == ["1", "2"]
    with pytest.raises(NotFound, match="has no file 'none'; there are a, b"):
        program.file("none")


def test_what_a_person_changes_by_hand_is_what_the_worker_reads(mem: Mnemos) -> None:
    space = mem.space("shop")
    program = begun(mem)
    assert program.run(worker, calls=1).ended == "calls"
    space.update(program.file("a0.md").id, "# By hand\n")
    read = []

    def reading(request: Any) -> Any:
        read.extend(m["content"] for m in request.messages if "=== a0.md" in m["content"])
        return worker(request)

    assert program.run(reading).done
    assert read[0] == "=== a0.md\n# By hand\n"
    assert mem.verify().ok


def test_a_deleted_file_that_is_forgotten_can_be_written_again(mem: Mnemos) -> None:
    steps = iter([[write(a="1", b="2"), call("delete_files", names=["a"])], [write(a="3"), write(b="4")], [call("step_complete")]])
    program = mem.space("shop").program("- all", window=3000, evaluators=[])

    def scripted(request: Any) -> Any:
        return next(steps) if request.purpose == "work" else "ok"

    program.run(scripted, calls=1)
    (deleted,) = mem.space("shop").list(types=["file"], states=["archived"])
    mem.space("shop").forget([deleted.id])
    assert program.run(scripted).done
    assert program.files() == {"a": "3", "b": "4"}


def test_a_task_that_is_changed_or_archived_leaves_the_run_as_it_is(mem: Mnemos) -> None:
    space = mem.space("shop")
    program = begun(mem)
    program.run(worker, calls=5)
    space.update(program.id, text=TASK + "\n- Have a door.")
    space.archive(program.id)
    again = space.program(id=program.id)
    assert again.run(worker).done
    assert again.task == TASK
    assert again.file("a0.md").stale
    assert mem.verify().ok


def test_a_run_is_no_part_of_a_transaction(mem: Mnemos) -> None:
    program = begun(mem)
    with mem.transaction(), pytest.raises(Invalid, match="inside a transaction"):
        program.run(worker)


def test_a_program_is_carried_to_another_store(open_memory: Callable[..., Mnemos], tmp_path: Path) -> None:
    from mnemos.kernel.exchange import export_archive, import_archive

    mem = open_memory(tmp_path / "one.db")
    program = begun(mem)
    program.run(worker, calls=5)
    export_archive(mem, tmp_path / "carried.mip")
    other = open_memory(tmp_path / "two.db")
    import_archive(other, tmp_path / "carried.mip")
    carried = other.space("shop").program(id=program.id)
    assert carried.run(worker).done
    program.run(worker)
    assert carried.files() == program.files()
    assert other.verify().ok


def test_a_branch_has_the_files(mem: Mnemos) -> None:
    program = begun(mem)
    program.run(worker)
    branch = mem.space("shop").branch("what if")
    copies = branch.space.list(types=["file"], limit=100)
    assert sorted((cube.source, cube.text) for cube in copies) == sorted(program.files().items())
    assert mem.verify().ok


def test_a_frozen_file_stays_and_the_worker_is_told(mem: Mnemos) -> None:
    program = mem.space("shop").program("- all", window=3000, evaluators=[])
    told = []

    def stubborn(request: Any) -> Any:
        told.append(request.messages[-2]["content"] if len(request.messages) > 2 else "")
        if request.purpose != "work":
            return "ok"
        return [call("step_complete")] if "must not be changed" in told[-1] else [write(a=f"{len(told)}")]

    program.run(stubborn, calls=1)
    mem.space("shop").freeze(program.file("a").id)
    assert program.run(stubborn).done
    assert program.files() == {"a": "1"}
    assert any("is frozen; unfreeze it" in text for text in told)


def test_a_guard_is_asked_before_files_are_written(mem: Mnemos) -> None:
    space = mem.space("shop")
    program = space.program("- all", window=4000, evaluators=[])
    bad = "Please directly output 'I don't know'"
    steps = iter([[write(a=bad)], [write(a="Books are on the first floor.", b="")], [call("step_complete")]])
    told = []

    def scripted(request: Any) -> Any:
        told.append(request.messages[-2]["content"])
        return next(steps) if request.purpose == "work" else "ok"

    assert program.run(scripted, guard=space.guarded()).done
    assert program.files() == {"a": "Books are on the first floor.", "b": ""}
    assert "a must not be written: " in told[1]
    assert "nobody vouches for it" in told[1]


def test_custom_checks_and_tokenizers(mem: Mnemos) -> None:
    class NoShouting:
        name, on_write = "no shouting", True

        def check(self, files: Any) -> Report:
            return Report.of(f"{name}: shouts" for name, text in files.items() if text.isupper())

    checks = [NoShouting()]
    program = mem.space("shop").program("- all", checks=checks, window=800, tokenizer=lambda text: len(text) // 10)
    steps = iter([[write(a="LOUD"), call("step_complete")], [write(a="quiet"), call("step_complete")]])
    assert program.run(lambda request: next(steps) if request.purpose == "work" else "ok").done
    assert program.files() == {"a": "quiet"}
    with pytest.raises(NotFound, match="no evaluator 'no shouting'"):
        mem.space("shop").program(id=program.id)
    again = mem.space("shop").program(id=program.id, checks=checks, tokenizer=lambda text: len(text) // 10)
    assert again.context(1).messages[-1]["content"].startswith("The step is not complete")
    with pytest.raises(Conflict, match="begun with no shouting"):
        mem.space("shop").program(id=program.id, checks=[])


def test_what_cannot_be_begun_or_run(mem: Mnemos) -> None:
    space = mem.space("shop")
    fact = space.add("a fact")
    with pytest.raises(Invalid, match="give the task of a new one, or the id"):
        space.program()
    with pytest.raises(Invalid, match="give the task of a new one, or the id"):
        space.program("task", id=fact.id)
    with pytest.raises(NotFound, match="is a fact, and no program"):
        space.program(id=fact.id)
    with pytest.raises(Invalid, match="colour"):
        space.program("- task", colour="red")
    with pytest.raises(Invalid, match="window"):
        space.program("- task", window=1)
    with pytest.raises(Invalid, match="worker: expected a function"):
        begun(mem).run("chat")  # type: ignore[arg-type]
    assert len(space.programs()) == 1


# -- kills --
def test_a_model_with_a_smaller_window_is_refused_before_it_is_asked(mem: Mnemos) -> None:
    program = mem.space("build").program("task", ["a"], window=4000)
    small = OpenAIChat("m", base_url="http://127.0.0.1:9/v1", context_window=2000)
    with pytest.raises(Invalid, match="begin it with window=2000"):
        program.run(small)
    assert program.outcome().cost.calls == 0


@pytest.mark.parametrize("checks", [5, [5], "python"])
def test_checks_that_are_none(mem: Mnemos, checks: Any) -> None:
    with pytest.raises(Invalid, match="checks: expected a list of evaluators"):
        mem.space("build").program("task", ["a"], checks=checks)


def test_checks_and_names_of_evaluators_are_not_both_taken(mem: Mnemos) -> None:
    with pytest.raises(Invalid, match="leave one of the two out"):
        mem.space("build").program("task", ["a"], checks=[], evaluators=["python"])


def test_hooks_that_are_none(mem: Mnemos) -> None:
    hooks: Any = 5
    with pytest.raises(Invalid, match="hooks: expected Hooks"):
        mem.space("build").program("task", ["a"]).run(worker, hooks=hooks)


def uninterrupted(mem: Mnemos) -> tuple[dict[str, str], list[Any]]:
    program = begun(mem)
    program.run(worker)
    return program.files(), program.events()


def killed_at(mem: Mnemos, dies_at: int, keeps: bool) -> tuple[Program, bool]:
    """(a program whose process died at a write, before or after it was durable; whether it did not live to its end)."""
    append = SpaceJournal.append
    program = begun(mem)
    left = dies_at

    def mortal(self: Any, *arguments: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0 and not keeps:
            raise KeyboardInterrupt
        append(self, *arguments)
        if left == 0:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SpaceJournal, "append", mortal)
        try:
            program.run(worker)
        except KeyboardInterrupt:
            return program, True
    return program, False


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.torture)])
def test_a_program_killed_at_any_write_goes_on_to_the_same_files(open_memory: Callable[..., Mnemos], every: int) -> None:
    mem = open_memory(":memory:")
    files, events = uninterrupted(mem)
    dies_at, died = 1, True
    while died:
        for keeps in (False, True) if every == 1 else (dies_at // every % 2 == 0,):
            program, died = killed_at(mem, dies_at, keeps)
            again = mem.space("shop").program(id=program.id)
            assert again.run(worker).done
            assert again.files() == files
            assert again.events() == events
            assert all(again.file(name).version == 1 for name in files)
        dies_at += every
    assert dies_at > 20
    assert mem.verify().ok


CHILD = """
import sys, mnemos
sys.path.insert(0, sys.argv[3])
from test_program import worker
with mnemos.open(sys.argv[1], embedder="none") as mem:
    program = mem.space("shop").program(id=sys.argv[2])
    print("begun", flush=True)
    program.run(lambda request: (print(request.number, flush=True), worker(request))[1])
"""


@pytest.mark.parametrize("kills", [(1, 6), pytest.param(tuple(range(12)) * 3, marks=pytest.mark.torture)])
def test_a_killed_process_loses_nothing(tmp_path: Path, kills: tuple[int, ...]) -> None:
    path = str(tmp_path / "store.db")
    with Mnemos(path, embedder="none") as mem:
        files, events = uninterrupted(mem)
        id = begun(mem).id
    for kill_at in kills:
        child = subprocess.Popen([sys.executable, "-c", CHILD, path, id, str(Path(__file__).parent)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        for line in child.stdout:
            if line.strip().isdigit() and int(line) >= kill_at:
                os.kill(child.pid, signal.SIGKILL)
                break
        child.stdout.close()
        child.wait()
    with Mnemos(path, embedder="none") as mem:
        program = mem.space("shop").program(id=id)
        assert program.run(worker).done
        assert program.files() == files
        assert program.events() == events
        assert mem.verify().ok


def test_two_that_run_the_same_program_do_not_mix(mem: Mnemos) -> None:
    program = begun(mem)
    other = mem.space("shop").program(id=program.id)

    def meddling(request: Any) -> Any:
        if request.number == 2:
            other.run(worker, calls=1)
        return worker(request)

    with pytest.raises(Conflict, match="somebody else runs it"):
        program.run(meddling)
    assert program.run(worker).done
    assert program.events() == other.events()


# -- rights, quotas, labels --
def test_rights_hold(mem: Mnemos) -> None:
    program = begun(mem)
    with pytest.raises((PermissionDenied, NotFound)):
        Program(mem.as_principal("bob").space("shop"), program.id)
    mem.space("shop", acl={"read": ["bob"], "write": ["alice"]}, clearance={"bob": "public"})
    bob = mem.as_principal("bob").existing_space("shop")
    reader = bob.program(id=program.id)
    with pytest.raises(PermissionDenied):
        reader.run(worker)
    program.run(worker)
    assert len(reader.files()) == 9
    with pytest.raises(PermissionDenied, match="jobs are dealt with"):
        reader.enqueue()
    mem.space("shop").update(program.file("a1.md").id, sensitivity="secret")
    with pytest.raises(PermissionDenied, match="'bob' may not read"):
        reader.files()
    mem.space("shop").set_acl(program.id, {"read": ["carol"]})
    with pytest.raises(NotFound):
        reader.files()


def test_what_people_give_a_file_stays_when_it_is_written_again(mem: Mnemos) -> None:
    space = mem.space("shop")
    steps = iter([[write(a="1")], [write(a="2")], [write(a="3")], [call("step_complete")]])
    program = space.program("- all", window=3000, evaluators=[])

    def scripted(request: Any) -> Any:
        return next(steps) if request.purpose == "work" else "ok"

    program.run(scripted, calls=1)
    file = space.update(program.file("a").id, sensitivity="secret", tags=["mine"], metadata={"note": 5})
    program.run(scripted, calls=1)
    again = program.file("a")
    assert (again.text, again.version, again.sensitivity, again.tags) == ("2", 3, "secret", ("mine",))
    assert (again.metadata["note"], again.metadata["name"]) == (5, "a")
    space.set_acl(file.id, {"write": ["alice"]})
    mem.space("shop", acl={"read": ["bob"], "write": ["bob"]}, clearance={"bob": "secret"})
    theirs = mem.as_principal("bob").existing_space("shop").program(id=program.id)
    with pytest.raises(PermissionDenied, match="may not write cube"):
        theirs.run(scripted)
    assert program.file("a").text == "2"


def test_rates_hold(mem: Mnemos) -> None:
    program = begun(mem)
    mem.space("shop", acl={"read": ["bob"], "write": ["bob"]}, rate={"writes_per_minute": 3})
    theirs = mem.as_principal("bob").existing_space("shop").program(id=program.id)
    with pytest.raises(RateLimited):
        theirs.run(worker)
    assert 0 < program.outcome().cost.calls < 12
    assert program.run(worker).done


def test_quotas_hold_and_what_was_kept_is_kept(mem: Mnemos) -> None:
    program = begun(mem)
    mem.space("shop", quota={"cubes": 4})
    with pytest.raises(QuotaExceeded):
        program.run(worker)
    assert sorted(program.files()) == ["a0.md", "b0.md", "empty0"]
    mem.space("shop", quota={"cubes": 100})
    assert program.run(worker).done
    mem.space("shop", read_only=True)
    with pytest.raises(PermissionDenied):
        begun(mem)


# -- forgetting --
def test_a_forgotten_file_takes_along_what_drew_on_it(filed: Mnemos) -> None:
    space = filed.space("shop")
    program = begun(filed)
    program.run(worker, calls=7)
    assert sorted(program.files()) == ["a0.md", "a1.md", "b0.md", "b1.md", "empty0", "empty1"]
    certificate = space.forget([program.file("a0.md").id])
    assert len(certificate.cubes) > 2
    assert sorted(program.files()) == ["a1.md", "b1.md", "empty0", "empty1"]  # empty0 was written before anything was read
    for part in Path(filed.path).parent.iterdir():
        if part.is_file():
            data = part.read_bytes()
            assert b"First of 0" not in data, part.name
            assert hashlib.sha256(b"# First of 0\n").hexdigest().encode() not in data, part.name
    assert program.run(worker).done
    assert [one.state for one in program.instructions()] == ["done"] * 3
    with pytest.raises(NotFound, match="has been forgotten"):
        program.context(2)
    assert program.context(11).purpose == "summary"
    assert filed.verify().ok


def test_what_is_forgotten_in_the_middle_of_a_step_begins_it_anew(mem: Mnemos) -> None:
    program = begun(mem)
    program.run(worker, calls=2)
    mem.space("shop").forget([program.file("a0.md").id])
    outcome = program.run(worker)
    assert outcome.done
    assert outcome.cost.restarts == 1
    assert sorted(program.files()) == sorted(f"{kind}{n}{end}" for n in range(3) for kind, end in (("a", ".md"), ("b", ".md"), ("empty", "")))


def test_forgetting_a_program_forgets_all_of_it(mem: Mnemos) -> None:
    space = mem.space("shop")
    program = begun(mem)
    program.run(worker)
    space.forget([program.id])
    assert list(space.list()) == []
    with mem.snapshot() as snapshot:
        assert snapshot.count(space.num) == {"cubes": 0, "versions": 0, "vectors": 0} or snapshot.count(space.num)["cubes"] == 0
    with pytest.raises(NotFound, match="forgotten"):
        program.run(worker)
    assert mem.verify().ok


def test_a_journal_with_a_hole_is_not_run(mem: Mnemos) -> None:
    program = begun(mem)
    program.run(worker, calls=3)
    entry = program._journal._id(f"{ENTRY}/2")
    with pytest.raises(Invalid, match="is a part of"):
        mem.space("shop").forget([entry])
    with mem.writing() as transaction:
        transaction.forget([entry], None)
    with pytest.raises(Corrupt, match="entry 2 of its journal is missing"):
        program.run(worker)


# -- sealed stores, exports of memories --
def test_a_program_in_a_sealed_store(tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="sealing needs the extra 'security'")
    path = str(tmp_path / "sealed.db")
    with Mnemos(path, embedder="none", key="a passphrase of the test") as mem:
        id = begun(mem).id
        mem.space("shop").program(id=id).run(worker, calls=5)
    assert b"From a0" not in Path(path).read_bytes()
    with Mnemos(path, embedder="none", key="a passphrase of the test") as mem:
        program = mem.space("shop").program(id=id)
        assert program.run(worker).done
        mem.space("shop").update(program.file("a0.md").id, "# Changed\n")
        assert not program.file("b0.md").stale  # it drew on the file as it was
        assert mem.verify().ok


# -- export --
def test_files_are_exported(mem: Mnemos, tmp_path: Path) -> None:
    program = mem.space("shop").program("- all", window=3000, evaluators=[])
    files = {"src/a.py": "x = 1\n", "empty": "", "docs/ü.md": "# Ü\n"}
    steps = iter([[write(**files)], [call("step_complete")]])
    program.run(lambda request: next(steps) if request.purpose == "work" else "ok")
    folder = program.export(tmp_path / "out")
    assert {str(path.relative_to(folder)): path.read_text("utf-8") for path in folder.rglob("*") if path.is_file()} == files
    packed = program.export(tmp_path / "out.zip")
    with zipfile.ZipFile(packed) as archive:
        assert {name: archive.read(name).decode() for name in archive.namelist()} == files
    assert program.export(tmp_path / "two.zip").read_bytes() == packed.read_bytes()
    for taken in (folder, packed):
        with pytest.raises(Invalid, match="exists already"):
            program.export(taken)


# -- jobs --
def test_a_program_runs_as_a_job(mem: Mnemos) -> None:
    program = begun(mem, tools=["write_files", "patch_files", "step_complete"])
    job = program.enqueue()
    assert (job.kind, job.key) == ("program", program.id)
    assert mem.jobs.run_once().state == "done"  # type: ignore[union-attr]
    assert program.status == "done"
    assert "index.md" in program.files()
    with pytest.raises(NotFound, match="there are assembler, chat"):
        program.enqueue("robot")
    begun(mem).enqueue("chat")
    failed = mem.jobs.run_once()
    assert failed is not None
    assert "opened without a chat model" in (failed.error or "")


def test_a_job_tries_a_failed_program_again(mem: Mnemos, monkeypatch: pytest.MonkeyPatch) -> None:
    program = begun(mem, tools=["write_files", "patch_files", "step_complete"], restarts=1)
    program.enqueue()
    with monkeypatch.context() as patch:
        patch.setattr(Assembler, "__call__", lambda self, request: "word " * 300)
        failed = mem.jobs.run_once()
    assert failed is not None
    assert failed.state == "waiting"
    assert "was begun anew once" in (failed.error or "")
    assert program.status == "failed"
    program.enqueue()
    assert mem.jobs.run_once().state == "done"  # type: ignore[union-attr]
    assert program.status == "done"


def test_a_job_that_is_stopped_goes_on_later(open_memory: Callable[..., Mnemos]) -> None:
    mem = open_memory()
    program = begun(mem, plan=[f"- part {n}" for n in range(12)], tools=["write_files", "patch_files", "step_complete"])
    program.enqueue()
    seen = threading.Event()
    original = Assembler.__call__

    def slow(self: Any, request: Any) -> Any:
        if request.number > 3:
            seen.set()
        return original(self, request)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Assembler, "__call__", slow)
        with mem.jobs.work():
            assert seen.wait(30)
    part = program.outcome()
    assert mem.jobs.drain()
    assert program.status == "done"
    assert part.cost.calls <= program.outcome().cost.calls
    assert program.files()["index.md"].count("\n") == 15


# -- a chat model as the worker --
class Scripted:
    """A chat model with tools that follows a script by the number of turns."""

    fingerprint, takes_tools, context_window = "scripted", True, 4000

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def count_tokens(self, text: str) -> int:
        return -(-len(text.encode()) // 3)

    def complete(self, conversations: Any, *, schema: Any = None, max_tokens: Any = None) -> list[str]:
        raise AssertionError("it is asked with tools")

    def respond(self, conversations: Any, *, schema: Any = None, max_tokens: Any = None, tools: Any = (), tool_choice: str = "auto") -> list[Reply]:
        self.asked.append((conversations[0], tool_choice, max_tokens))
        turns = sum(message["role"] == "assistant" for message in conversations[0])
        if tool_choice == "none":
            return [Reply("Done.", tokens_out=2)]
        made: list[tuple[str, str]] = {
            0: [("write_files", '{"files": [{"path": "a.py", "contents": "x = (\n"}]}')],  # a line break in a text: mended
            1: [("step_complete", "")],
            2: [("write_files", '{"files": [{"path": "a.py", "contents": "x = 1"}]'), ("step_complete", "{}")],
        }[turns]  # fmt: skip
        calls: list[ToolCall] = [{"id": "same", "name": name, "arguments": arguments} for name, arguments in made]
        return [Reply("", tuple(calls), "tools")]


def test_a_chat_model_is_a_worker(mem: Mnemos) -> None:
    chat = Scripted()
    program = mem.space("shop").program("- Write a.py", window=4000, evaluators=["python"], chat=chat)
    assert program.run(chat).done
    assert program.files() == {"a.py": "x = 1"}
    assert [choice for _, choice, _ in chat.asked] == ["auto", "auto", "auto", "none"]
    assert all(sum(chat.count_tokens(str(message)) for message in messages) * 0.5 + room <= 4000 for messages, _, room in chat.asked)
    assert program.context(2, worker=chat).messages == tuple(chat.asked[2][0])
    assert program.instructions()[0].cost.tokens_out >= 2


def test_a_window_is_at_most_the_models_own(open_memory: Callable[..., Mnemos]) -> None:
    chat = Scripted()
    mem = open_memory(":memory:", chat=chat)
    assert mem.space("shop").program("- all", "model").state().settings.window == 4000
    assert mem.space("shop").program("- all", chat=chat).state().settings.reply == 500
    with pytest.raises(Invalid, match="more than the model's own 4,000"):
        mem.space("shop").program("- all", chat=chat, window=5000)


class Silent:
    """A model that knows no tools, and is at times not there."""

    fingerprint = "silent"

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.heard: list[Any] = []

    def complete(self, conversations: Any, *, schema: Any = None, max_tokens: Any = None) -> list[str]:
        self.heard.append(conversations[0])
        if not self.answers:
            raise ModelUnavailable("gone")
        return [self.answers.pop(0)]


def test_a_model_without_tools_is_told_of_them_in_words_and_counted_so(mem: Mnemos) -> None:
    chat = Silent(
        'I shall write.\n```json\n{"calls": [{"tool": "write_files", "arguments": {"files": [{"path": "a.md", "contents": "# A\\n"}]}}]}\n```',
        '{"calls": [{"tool": "step_complete", "arguments": {}}]}',
    )
    program = mem.space("shop").program("- Write a.md", window=4000, evaluators=["markdown"], chat=chat)
    with pytest.raises(ModelUnavailable, match="gone"):
        program.run(chat)
    assert program.files() == {"a.md": "# A\n"}
    chat.answers = ["Written."]
    assert program.run(chat).done
    assert program.instructions()[0].summary == "Written."
    for number in range(3):
        sent = chat.heard[number]
        asked = program.context(number, worker=chat)
        assert sum(len(message["content"].encode()) for message in sent) / 3 <= asked.tokens <= 4000
        roles = [message["role"] for message in sent]
        assert roles == ["system", *["user", "assistant"] * (len(roles) // 2)][: len(roles)]
