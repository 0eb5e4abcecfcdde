"""`mnemos demo --input FILE`: the user's own file remembered and asked."""

from __future__ import annotations

import re
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnemos.base.errors import Invalid
from mnemos.cli.demo import next_steps, require_words
from mnemos.cli.demo_view import View
from mnemos.cli.importing import portions
from mnemos.cli.output import counted, one_line, progress, size
from mnemos.cli.residue import files_of
from mnemos.cli.session import Session

if TYPE_CHECKING:
    from mnemos.base.cube import MemCube
    from mnemos.kernel.space import Space
    from mnemos.kernel.system import Mnemos

_WORD = re.compile(r"[^\W\d_]{4,}")
_LOOKUPS = 3
_SPACES = 3


def show_own(session: Session, view: View, path: Path, input: Path, questions: list[str], *, kept: Path | None) -> None:
    """Remember `input`, ask the questions (or look up a few memories by their rarest words), and check the store."""
    from mnemos.kernel.system import Mnemos
    from mnemos.text.formats import detect, read

    questions = [require_words(question) for question in questions]
    name = detect(input)
    notices: list[str] = []
    records = [] if name == "export" else list(read(input, name, notice=notices.append))
    if not records and name != "export":
        raise Invalid(f"{input}: holds nothing to remember; give another file")
    view.opening("Mnemos", [f"Your {input.name}, remembered and asked. Nothing leaves this machine."])
    took = []
    with Mnemos(path, embedder=session.chosen_embedder) as mem:
        view.heading("Remember", f"{one_line(input.name)}, read as {name}")
        start = time.perf_counter()
        spaces, held = _restore(session, mem, input) if name == "export" else _remember(session, mem, records)
        seconds = time.perf_counter() - start
        view.bar(held, "memories", seconds)
        if notices:
            view.say((f"{counted(len(notices), 'thing was', 'things were')} left out or repaired; first: {one_line(notices[0])}", "yellow"))
        with mem.snapshot() as snapshot:
            cubes = snapshot.count()["cubes"]
        stored = cubes if name == "export" else sum(len(_all(space)) for space in spaces)
        disk = sum(file.stat().st_size for file in files_of(path))
        view.must(stored == held, f"all {held:,} are on the disk, in {size(disk)} and {counted(len(spaces), 'space', 'spaces')}")
        took.append(("remember", seconds))
        start = time.perf_counter()
        if questions:
            _ask(view, spaces, questions)
        else:
            _look_up(view, spaces[0])
        took.append(("ask", time.perf_counter() - start))
        view.heading("Prove", "check everything")
        start = time.perf_counter()
        report = mem.verify()
        took.append(("verify", time.perf_counter() - start))
        view.must(report.ok, f"verify: {report.checked.get('versions', 0):,} versions and every page are whole", "verify found faults")
    view.closing(took, next_steps(str(kept) if kept else None, spaces[0].name))


def _restore(session: Session, mem: Mnemos, path: Path) -> tuple[list[Space], int]:
    """Import an export; give its spaces, the fullest first, and how many memories and parts of documents the file holds."""
    from mnemos.kernel.exchange.transfer import import_jsonl
    from mnemos.text.formats import read_export

    held = Counter(entry["space"] for entry in read_export(path) if "record" in entry and entry["record"]["version"] == 1)
    if not held:
        raise Invalid(f"{path}: holds nothing to remember; give another file")
    with progress(session.out, "importing", "entries", quiet=session.json) as tick:
        import_jsonl(mem, path, progress=tick)
    return [mem.space(name) for name, _ in held.most_common()], held.total()


def _remember(session: Session, mem: Mnemos, records: list[dict[str, Any]]) -> tuple[list[Space], int]:
    spaces: dict[str, Space] = {}
    done = 0
    with progress(session.out, "remembering", "memories", quiet=session.json) as tick:
        for name, portion in portions(records, session.space_name):
            done += len(spaces.setdefault(name, mem.space(name)).add_many(portion))
            tick(done, len(records))
    return list(spaces.values()), done


def _ask(view: View, spaces: list[Space], questions: list[str]) -> None:
    some = f", asked in {_SPACES} of the {len(spaces)} spaces" if len(spaces) > _SPACES else ""
    view.heading("Ask", f"your questions{some}")
    for question in questions:
        for space in spaces[:_SPACES]:
            start = time.perf_counter()
            hits = space.search(question, k=5)
            seconds = time.perf_counter() - start
            view.question(question, f"{space.name} · {seconds * 1000:.0f} ms")
            view.hits(hits, source_width=12)
            view.gap()
            if not hits:
                view.must(False, "hits come back", f"{question!r} gave no hit in space {space.name!r}")


def _look_up(view: View, space: Space) -> None:
    """Take memories from the beginning, the middle and the end, and look each up by the rarest words that it holds."""
    view.heading("Ask", "memories looked up by their rarest words")
    cubes = [cube for cube in _all(space) if len(_WORD.findall(cube.text)) >= 4]
    spread = Counter(word.casefold() for cube in cubes for word in set(_WORD.findall(cube.text)))
    found = 0
    step = max(len(cubes) // _LOOKUPS, 1)
    chosen = cubes[step // 2 :: step][:_LOOKUPS]
    for cube in chosen:
        query = " ".join(sorted(dict.fromkeys(_WORD.findall(cube.text)), key=lambda word: (spread[word.casefold()], -len(word)))[:4])
        hits = space.search(query, k=5)
        view.question(query, "")
        view.hits(hits, [cube.source] if cube.source else [], source_width=12)
        view.gap()
        found += any(hit.cube.id == cube.id or (cube.source and hit.cube.source == cube.source) for hit in hits)
    if chosen:
        view.say(("Ask your own questions with --question.", "dim"))
        view.must(found > 0, f"{found} of {len(chosen)} came back among the first five")


def _all(space: Space) -> list[MemCube]:
    out: list[MemCube] = []
    page = space.list(limit=1000)
    out += page
    while page.cursor:
        page = space.list(limit=1000, cursor=page.cursor)
        out += page
    return out
