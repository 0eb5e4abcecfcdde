"""Several threads and two processes on one store: a search sees every write that was acknowledged before it, and never half of one."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mnemos.kernel.system import Mnemos
from support import EMBEDDER

ROUNDS = 12
TESTS = Path(__file__).parents[1]

OTHER_PROCESS = """
import sys
from mnemos.kernel.system import Mnemos
from support import EMBEDDER
with Mnemos(sys.argv[1], embedder=EMBEDDER) as mem:
    space = mem.space("shared")
    for line in sys.stdin:
        act, _, text = line.strip().partition(" ")
        if act == "add":
            print(space.add(text).id, flush=True)
        elif act == "update":
            id, _, text = text.partition(" ")
            print(space.update(id, text).version, flush=True)
        elif act == "forget":
            print(len(space.forget([text]).cubes), flush=True)
        elif act == "search":
            print(*sorted(hit.cube.text.replace(" ", "_") for hit in space.search(text, k=1000)), flush=True)
"""


@pytest.fixture
def ask(filed: Mnemos) -> object:
    process = subprocess.Popen(
        [sys.executable, "-c", OTHER_PROCESS, filed.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=TESTS
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def ask_(line: str) -> str:
        stdin.write(line + "\n")
        stdin.flush()
        return stdout.readline().strip()

    yield ask_
    stdin.close()
    stdout.close()
    assert process.wait(60) == 0


def test_two_processes_find_each_others_writes_at_once(filed: Mnemos, ask: Callable[[str], str]) -> None:
    space, texts = filed.space("shared"), dict[str, str]()

    def both_find() -> None:
        wanted = sorted(text.replace(" ", "_") for text in texts.values())
        assert sorted(hit.cube.text.replace(" ", "_") for hit in space.search("tram number", k=1000)) == wanted
        assert ask("search tram number").split() == wanted

    for i in range(ROUNDS):
        mine = space.add(f"tram number {i} of mine").id
        texts[mine] = f"tram number {i} of mine"
        both_find()
        theirs = ask(f"add tram number {i} of theirs")
        texts[theirs] = f"tram number {i} of theirs"
        both_find()
        if i % 3 == 0:
            assert ask(f"update {mine} tram changed {i}") == "2"
            assert space.update(theirs, f"number changed {i}").version == 2
            texts |= {mine: f"tram changed {i}", theirs: f"number changed {i}"}
            both_find()
        if i % 4 == 0:
            assert ask(f"forget {mine}") == "1"
            space.forget([theirs])
            del texts[mine], texts[theirs]
            both_find()
    assert filed.verify().ok


@pytest.mark.parametrize("place", ["file", ":memory:"])
def test_threads_find_what_they_wrote_and_see_changes_whole(open_memory: Callable[..., Mnemos], place: str) -> None:
    mem = open_memory(None if place == "file" else place)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        space = mem.space("shared")
        try:
            for i in range(ROUNDS):
                pair = space.add_many({"text": f"{side} tram {number} {i}", "tags": [f"t{number}"]} for side in ("left", "right"))
                for other in range(4):  # a pair is there as a whole, or not at all
                    assert len(space.search("tram", k=1000, tags=[f"t{other}"])) % 2 == 0
                found = {hit.cube.id for hit in space.search(f"tram {number} {i}", k=1000)}
                assert found >= {cube.id for cube in pair}
                space.update(pair[0].id, f"left changed {number} {i}")
                assert [h.cube.text for h in space.search("left", k=1000) if h.cube.id == pair[0].id] == [f"left changed {number} {i}"]
                if i % 3 == 0:
                    space.forget([cube.id for cube in pair])
                    assert not {hit.cube.id for hit in space.search("tram", k=1000)} & {cube.id for cube in pair}
        except BaseException as failure:  # noqa: BLE001  (a thread has no caller; the test raises it below)
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    space = mem.space("shared")
    live = {hit.cube.id: hit.score for hit in space.search("tram changed", k=1000)}
    assert len(live) == 4 * (ROUNDS - len(range(0, ROUNDS, 3))) * 2
    if place == "file":
        with Mnemos(mem.path, embedder=EMBEDDER, clock=mem.clock) as again:
            assert {hit.cube.id: hit.score for hit in again.space("shared").search("tram changed", k=1000)} == pytest.approx(live, abs=1e-4)
