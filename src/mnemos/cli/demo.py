"""`mnemos demo`: a year of conversation remembered, asked, corrected and forgotten. Every step checks that it did what it says."""

from __future__ import annotations

import io
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from mnemos.base.errors import Conflict, Invalid
from mnemos.cli.demo_sample import Question, sample_path, sample_questions
from mnemos.cli.demo_view import View
from mnemos.cli.output import one_line, print_json, progress, size
from mnemos.cli.residue import files_of, found_in, pieces_of
from mnemos.cli.session import Session

if TYPE_CHECKING:
    from mnemos.kernel.reading.results import Hit
    from mnemos.kernel.space import Space
    from mnemos.kernel.system import Mnemos

SPACE, LIBRARY = "household", "python"
SHOWN = ("single-fact", "temporal", "knowledge-update", "preference", "assistant-said")
"""Kinds of which the first shipped question is shown; all questions are counted."""
SECRET = "S24:3"
"""A turn that was told in confidence: the one to be forgotten."""
TOPICS = ("assert", "class", "context-managers", "exceptions", "for", "function", "global", "lambda", "nonlocal", "raise", "return", "truth", "try",
          "while", "with", "yield")  # fmt: skip
LOOKUPS = ("How do I make sure that a file is closed when an error happens?", "When is the default value of a parameter computed?")
_PAUSE = 0.8
_PORTION = 64


def run(session: Session, *, input: Path | None, questions: list[str], keep: Path | None, fast: bool, pause: bool) -> int:
    """Show the demo; give 0 where every step held, else 1. Raises as the steps do."""
    from mnemos.cli.demo_own import show_own

    def wait() -> None:
        if pause and session.out.is_terminal:
            time.sleep(_PAUSE)

    # With --json nobody reads the steps: what they showed is left out, what they found is given.
    view = View(Console(file=io.StringIO()) if session.json else session.out, wait)
    with _place(keep) as path:
        if input is not None:
            show_own(session, view, path, input, questions, kept=keep)
        else:
            Demo(session, view, path, keep).show(fast)
    if session.json:
        print_json({"ok": not view.failed, "held": view.held, "failed": view.failed, "seconds": view.seconds, "store": str(keep) if keep else None})
    return 1 if view.failed else 0


@contextmanager
def _place(keep: Path | None) -> Iterator[Path]:
    """Where the store goes: the path to keep, which must be free, or a folder that vanishes."""
    if keep is not None:
        if keep.exists():
            raise Conflict(f"{keep}: exists already; name a new file with --keep")
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="mnemos-demo-") as folder:
        yield Path(folder) / "memory.db"


class Demo:
    """The steps on the shipped sample, one method each."""

    def __init__(self, session: Session, view: View, path: Path, keep: Path | None) -> None:
        self._session, self._view, self._path, self._keep = session, view, path, keep
        self._took: list[tuple[str, float]] = []

    def show(self, fast: bool) -> None:
        from mnemos.kernel.system import Mnemos

        view = self._view
        about = ("A year of one household's talk: remembered, asked, corrected, forgotten.", "Offline. No API key, no network, one file.")
        view.opening("Mnemos", about)
        with Mnemos(self._path, embedder=self._session.chosen_embedder) as mem:
            space = mem.space(SPACE)
            with self._timed("remember"):
                self.remember(mem, space)
            with self._timed("ask"):
                self.ask(space)
            with self._timed("score"):
                self.score(space)
            with self._timed("correct"):
                self.correct(mem, space)
            with self._timed("trace"):
                self.trace(space)
            with self._timed("forget"):
                self.forget(mem, space)
            if not fast:
                with self._timed("library"):
                    self.library(mem)
        with self._timed("reopen"):
            self.reopen()
        kept = str(self._keep) if self._keep else None
        view.closing(self._took, next_steps(kept, SPACE))

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._took.append((name, time.perf_counter() - start))

    def remember(self, mem: Mnemos, space: Space) -> None:
        """Import the sample conversation."""
        from mnemos.text.formats import read

        view, records = self._view, list(read(sample_path("conversation.jsonl")))
        view.heading("Remember", "a conversation, with who said what and when")
        if mem.embedding.embedder is not None:
            with self._session.err.status("preparing the embedder (the first time takes a few seconds) …"):
                mem.embedding.embedder.embed(["ready?"])
        start = time.perf_counter()
        with progress(self._session.out, "remembering", "turns", quiet=self._session.json) as tick:
            tick(0, len(records))
            for at in range(0, len(records), _PORTION):
                space.add_many(records[at : at + _PORTION])
                tick(min(at + _PORTION, len(records)), len(records))
        seconds = time.perf_counter() - start
        view.bar(len(records), "turns", seconds)
        days = sorted(record["event_at"] for record in records)
        people = sorted({record["author"] for record in records})
        view.say(f"{days[0].day} {days[0]:%B %Y} to {days[-1].day} {days[-1]:%B %Y}, between {', '.join(people[:-1])} and {people[-1]}.")
        stored = space.list(limit=len(records) + 1)
        same = [cube.text for cube in stored] == [record["text"] for record in records]
        disk = sum(file.stat().st_size for file in files_of(self._path))
        view.must(same, f"all {len(records)} turns are on the disk, word for word, in {size(disk)}")

    def ask(self, space: Space) -> None:
        """Show the first question of several kinds with its hits. The marks come from the sample's labels, after the search."""
        view, questions = self._view, sample_questions()
        view.heading("Ask", "the first shipped question of each kind")
        for kind in SHOWN:
            question = next(q for q in questions if q.kind == kind)
            start = time.perf_counter()
            hits = space.search(question.text, k=10)
            seconds = time.perf_counter() - start
            view.question(question.text, f"{kind} · {seconds * 1000:.0f} ms")
            view.hits(hits[:3], question.evidence)
            self._where(hits, question)
            view.note("answer", Text(question.answer, style="green"))
            view.gap()
            if len(hits) != 10:
                view.must(False, "ten hits come back", f"{question.text!r} gave {len(hits)} hits, not 10")
        view.say(("✓ marks the turns that hold the answer; marks and answers are the sample's labels, looked up after the search.", "dim"))

    def _where(self, hits: list[Hit], question: Question) -> None:
        """Say where the evidence came where it is not among the hits shown."""
        ranks = [rank for rank, hit in enumerate(hits, 1) if hit.cube.source in question.evidence]
        if not ranks:
            where = Text.assemble("the evidence is not among the first ten: ", (", ".join(sorted(question.evidence)), "magenta"))
            self._view.note("missed", where, "yellow")
        elif ranks[0] > 3:
            self._view.note("later", Text(f"the evidence came at rank {ranks[0]}"), "yellow")

    def score(self, space: Space) -> None:
        """Ask all shipped questions, and count."""
        view, questions = self._view, sample_questions()
        view.heading("Count", f"all {len(questions)} shipped questions, measured now")
        found: dict[str, list[tuple[bool, bool, bool]]] = {}
        latencies, blank = [], 0
        for question in questions:
            start = time.perf_counter()
            sources = [hit.cube.source for hit in space.search(question.text, k=10)]
            latencies.append(time.perf_counter() - start)
            if not question.evidence:
                blank += 1
                continue
            some = tuple(not question.evidence.isdisjoint(part) for part in (sources[:5], sources))
            outcome = (some[0], some[1], question.evidence <= set(sources))
            found.setdefault(question.kind, []).append(outcome)
        everything = [outcome for outcomes in found.values() for outcome in outcomes]
        rows: list[list[str | Text]] = []
        for kind, outcomes in [*found.items(), ("together", everything)]:
            style = "bold" if kind == "together" else ""
            counts = [sum(outcome[i] for outcome in outcomes) for i in range(3)]
            share = counts[1] / len(outcomes)
            bar = Text("━" * round(share * 12), style="green") + Text("─" * (12 - round(share * 12)), style="bright_black")
            rows.append([Text(kind, style=style), str(len(outcomes)), *(Text(str(count), style=style) for count in counts), bar])
        view.rows(rows, headings=("kind", "asked", "in top 5", "in top 10", "all in 10", ""), right=True)
        top5, top10, whole = (sum(outcome[i] for outcome in everything) / len(everything) for i in range(3))
        median = sorted(latencies)[len(latencies) // 2]
        view.say(
            (f"Evidence is among the first 5 hits for {top5:.0%}, among the first 10 for {top10:.0%}", "bold"),
            f", all that a question needs among the first 10 for {whole:.0%}, at a median of {median * 1000:.0f} ms a question. "
            f"{blank} more questions have no answer in the conversation: what a search gives then is merely near, and whoever "
            "reads it has to say so.",
        )
        view.must(top10 > 0.5, "more than half of the answers are found", f"evidence among the first ten for only {top10:.0%} of the questions")

    def correct(self, mem: Mnemos, space: Space) -> None:
        """A fact changes, the old value stays reachable, and the change is taken back."""
        view = self._view
        view.heading("Correct", "the present value wins, the past stays reachable")
        old, new, query = "Mossy weighs 30.5 kilos.", "Mossy weighs 31 kilos.", "How much does Mossy weigh?"
        cube = space.add(old, type="fact", source="vet", tags=["dog"])
        before = mem.position()
        changed = space.update(cube.id, new)
        now = space.search(query, k=3, types=["fact"])
        then = space.search(query, k=3, types=["fact"], as_of=before)
        back = space.rollback(cube.id, 1)
        versions = space.history(cube.id)
        view.rows(
            [
                [f"add, position {before}", f"version 1  {old}"],
                [f"update, position {changed.position}", f"version 2  {new}"],
                ["search now", Text(now[0].cube.text if now else "nothing", style="green")],
                [f"search as of {before}", Text(then[0].cube.text if then else "nothing", style="yellow")],
                [f"rollback, position {back.position}", f"version {back.version}  {back.text}"],
            ]
        )
        view.must([hit.cube.text for hit in now] == [new], "a search finds the new value, and the old one no more")
        view.must([hit.cube.text for hit in then] == [old], "a search in the past finds what was known then")
        view.must([v.text for v in versions] == [old, new, old] and space.get(cube.id).text == old, "rolled back; the history keeps all 3 versions")
        view.must(space.at(before).get(cube.id).version == 1, f"the space at position {before} shows version 1")

    def trace(self, space: Space) -> None:
        """A note knows what it was made from: it is stale where that has changed, and goes where that is forgotten."""
        view = self._view
        view.heading("Trace", "what was made of what")
        old, new = "The vet opens at nine on Saturdays.", "The vet opens at ten on Saturdays."
        fact = space.add(old, type="fact", source="vet")
        note = space.add("Take Mossy to the vet on a Saturday, from nine.", type="note", derived_from=[fact.id])
        space.update(fact.id, new)
        told = space.explain(note.id)
        view.rows(
            [
                ["a note", told.cube.text],
                ["made from", f"version 1  {old}"],
                ["its source now", f"version 2  {new}"],
                ["so the note is", Text("stale" if told.cube.stale else "up to date", style="yellow")],
            ]
        )
        query = "When can Mossy go to the vet?"
        found = [[hit.cube.id for hit in space.search(query, k=3, types=["note"], stale=stale)] for stale in (None, False)]
        outdated = [(step.version, step.tree.cube.version) for step in told.sources if step.outdated]
        view.must(told.cube.stale and outdated == [(1, 2)], "a note is stale as soon as its source has changed")
        view.must(found == [[note.id], []], "a search says so, and leaves it out where it is asked to")
        gone = {cube.id for cube in space.forget([fact.id]).cubes}
        view.must(gone == {fact.id, note.id}, "forgetting the source forgets what was made of it")

    def forget(self, mem: Mnemos, space: Space) -> None:
        """Forget a turn; look for it by searching, and in the files' bytes; check the certificate, and a forged one."""
        from mnemos.kernel.forgetting import Certificate, verify_certificate

        view = self._view
        view.heading("Forget", "with a certificate, and down to the bytes")
        chosen = space.list(source=SECRET)
        if not chosen:
            view.must(False, f"turn {SECRET} is there")
            return
        secret, query = chosen[0], "Why did Nuala walk off the stage in Cork?"
        view.say((f"{secret.author}, {secret.source}: ", "bold"), f"“{one_line(secret.text)}”")
        pieces = pieces_of(secret.text, (cube.text for cube in space.list(limit=10_000) if cube.id != secret.id))
        found = any(hit.cube.id == secret.id for hit in space.search(query))
        held = found_in(self._path, pieces)
        view.gap()
        certificate = space.forget([secret.id], reason="told in confidence")
        left, again = found_in(self._path, pieces), any(hit.cube.id == secret.id for hit in space.search(query))
        paper = certificate.as_json()
        digest = certificate.cubes[0].digests[0]
        view.rows(
            [
                ["certificate", f"log position {certificate.position}, head {certificate.head[:24]}…"],
                ["memory", f"{secret.id}"],
                ["its digest", f"{digest[:40]}…"],
            ]
        )
        view.must(found and not again, f"a search for it found it before, and finds it no more: “{query}”")
        view.must(held == len(pieces) > 0 and left == 0, f"its {len(pieces)} pieces of 8 bytes: {held} found in the files before, {left} after")
        view.must(bool(verify_certificate(paper, mem)), "the certificate holds, checked against the log")
        forged = json.loads(json.dumps(paper))
        forged["cubes"][0]["digests"][0] = ("0" if digest[0] != "0" else "1") + digest[1:]
        view.must(not verify_certificate(Certificate.from_json(forged), mem), "one with a single digit changed does not")

    def library(self, mem: Mnemos) -> None:
        """A second collection beside the first: a part of the language reference that every Python carries."""
        from mnemos.text.excerpt import excerpt
        from mnemos.text.formats.python_reference import python_reference_documents

        view, library = self._view, mem.space(LIBRARY)
        documents = [document for document in python_reference_documents() if document["metadata"]["topic"] in TOPICS]
        view.heading("Read", "documents, in a space of their own")
        start = time.perf_counter()
        with progress(self._session.out, "reading", "documents", quiet=self._session.json) as tick:
            tick(0, len(documents))
            for number, document in enumerate(documents, 1):
                library.add_many([document])
                tick(number, len(documents))
        seconds = time.perf_counter() - start
        view.bar(len(documents), "documents", seconds)
        characters = sum(len(document["text"]) for document in documents)
        view.say(f"{characters:,} characters of Python's own language reference, searched by their parts.")
        view.gap()
        strangers = 0
        for query in LOOKUPS:
            hits = library.search(query, k=5)
            strangers += sum(hit.cube.space != LIBRARY or not (hit.cube.source or "").startswith("python-reference/") for hit in hits)
            best = hits[0].cube
            view.question(query, one_line(best.source or ""))
            view.say((one_line(excerpt(best.text, query, 36, lambda text: len(text.split()))), "green"))
            view.gap()
        outside = {hit.cube.space for hit in mem.space(SPACE).search(LOOKUPS[0])}
        view.must(strangers == 0 and outside == {SPACE}, "the two spaces do not mix: each answers from its own memories alone")

    def reopen(self) -> None:
        """Close, open again, ask again, and check the whole store."""
        from mnemos.kernel.system import Mnemos

        view = self._view
        view.heading("Prove", "close it, open it again, check everything")
        start = time.perf_counter()
        with Mnemos(self._path, embedder=self._session.chosen_embedder) as mem:
            opened = time.perf_counter() - start
            cubes = mem.space(SPACE).list(limit=10_000)
            start = time.perf_counter()
            report = mem.verify()
            checked = time.perf_counter() - start
        expected = sum(1 for line in sample_path("conversation.jsonl").read_text(encoding="utf-8").splitlines() if line.strip())
        view.must(len(cubes) == expected, f"opened in {opened * 1000:.0f} ms with {len(cubes)} memories: {expected} turns, 1 forgotten, 1 fact added")
        words = {"entries": "log entries", "versions": "versions", "vectors": "vectors"}
        counted = ", ".join(f"{report.checked.get(key, 0):,} {word}" for key, word in words.items())
        view.must(report.ok, f"verify: {counted} and every page checked in {checked:.2f} s", f"verify found {len(report.findings)} faults")


def next_steps(kept: str | None, space: str) -> list[tuple[str, str]]:
    """What to type next."""
    if kept:
        at = f"mnemos -s {kept} --space {space}"
        return [(f"{at} search \"…\"", "ask more"), (f"{at} list", "look around"), (f"{at} context \"…\"", "text for a prompt")]
    return [
        ("mnemos demo --input FILE", "the same on your own chats or notes"),
        ("mnemos add \"I moved to Lisbon.\"", "remember, in memory.db"),
        ("mnemos search \"Where do I live?\"", "ask"),
        ("mnemos serve", "REST, MCP and a proxy on port 7077"),
        ("mnemos --help", "everything else"),
    ]


def require_words(text: str) -> str:
    """A question of the user's. Raises `Invalid` where it is blank."""
    if not text.strip():
        raise Invalid("--question: is empty; say what to look for")
    return text
