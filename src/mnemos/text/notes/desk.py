"""One portion of memories on the desk: stale notes are renewed, new memories described, linked, and let add to what they are linked with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import numpy as np

from mnemos.base.cube import Content
from mnemos.index.terms import term, words
from mnemos.text.asking import Answer, Refused, Report, ask_all, made_by
from mnemos.text.bridging import Mentions
from mnemos.text.notes.describing import described, described_by, shown
from mnemos.text.notes.evolving import Change, added, proposed, refused, without_context
from mnemos.text.notes.explaining import explained
from mnemos.text.notes.linking import Candidate, best, by_names, in_thread, kind_of, reason_of
from mnemos.text.notes.neighbours import closest, nearest
from mnemos.text.notes.note import Evolution, Link, Note, note_of
from mnemos.text.notes.parameters import Parameters
from mnemos.text.notes.shelf import Shelf, memories, present
from mnemos.text.prompts import Aliases, prompt
from mnemos.text.strategy import Draft, Floats, Memory, Portion, Workbench

_FEWEST = 2
"""A memory of fewer terms has nothing to describe."""


@dataclass(slots=True)
class Sheet:
    """A memory on the desk, with its note as it is to be."""

    memory: Memory
    note: Note
    view: Memory | None = None
    """Its note as it is stored."""
    reasons: list[str] = field(default_factory=list)
    """What is to be written, and why; nothing where it stays as it is."""
    rewritten: bool = False
    """Whether a model has given it a description in this portion: a second one would not know of the first."""

    @property
    def content(self) -> Content:
        return self.memory.content

    def text(self) -> str:
        return self.note.text(self.memory.text)


@dataclass(slots=True)
class Pair:
    """A new memory with the earlier ones that it may be linked with, the strongest first."""

    sheet: Sheet
    linked: list[tuple[Candidate, float]]
    near: list[Memory]
    beside: list[bool]
    meanings: dict[str, str] = field(default_factory=dict)
    """What the new memory says that names in both mean."""


class Desk:
    """The work on one portion. Nothing of it outlives the portion, so that it can be done again where something has changed meanwhile."""

    def __init__(self, work: Workbench, portion: Portion, parameters: Parameters, report: Report) -> None:
        self._work, self._portion, self._parameters, self._report = work, portion, parameters, report
        self._sheets: dict[UUID, Sheet] = {}
        self._known: dict[UUID, Memory] = {}
        """Memories that are sources of notes on the desk."""
        self._vectors: dict[str, Floats] = {}

    def work_through(self) -> None:
        fresh = [memory for memory in self._portion.fresh if _says_something(memory.text)]
        stale, lost = self._gathered(fresh)
        bare = self._renew(stale, {memory.id for memory in fresh})
        new = self._describe([*lost, *bare, *fresh])
        self._join(new)
        self._write()

    # -- what there is --
    def _gathered(self, fresh: Sequence[Memory]) -> tuple[list[tuple[Memory, Memory | None]], list[Memory]]:
        """Stale notes, each with its memory as it is now (None where it may not be shown any more); and memories that have lost their note with
        something that it drew on."""
        stale = self._portion.stale
        with self._portion.look() as view:
            own = {note.id: note.content.derived_from[0].id for note in stale}
            self._known |= present(view, [*own.values(), *_drawn_on(stale)])
            shelf = Shelf(view)
            bare = view.allowed & (view.index.lexical.lengths >= _FEWEST)
            bare[shelf.of] = False
            bare[[self._known[id].row for id in own.values() if id in self._known]] = False
            rows = [memory.row for memory in self._portion.fresh]
            bare[rows] = False
            until = max(rows, default=len(bare))  # what comes after it has not had its turn
            lost = memories(view, np.flatnonzero(bare[:until])[: self._parameters.portion].tolist())
        return [(note, self._known.get(own[note.id])) for note in stale], lost

    def _renew(self, stale: Iterable[tuple[Memory, Memory | None]], fresh: set[UUID]) -> list[Memory]:
        """Stale notes without what drew on what has changed. Gives the memories, none of them `fresh`, whose note cannot be read and is retired."""
        bare: dict[UUID, Memory] = {}
        for view, memory in stale:
            note = note_of(view)
            if memory is None:
                self._portion.retire(view, "what it describes is not there any more")
            elif note is None:
                self._portion.retire(view, "it holds no note that can be read")
                if memory.id not in fresh and _says_something(memory.text):
                    bare[memory.id] = memory
            elif memory.id not in fresh:
                changed = {
                    id for step in note.evolutions for id, version in step.sources
                    if id not in self._known or self._known[id].content.version != version
                }  # fmt: skip
                self._sheets[memory.id] = Sheet(memory, note.without(changed), view, ["what it drew on has changed"])
        return list(bare.values())

    def _describe(self, new: Sequence[Memory]) -> list[Sheet]:
        """Sheets for memories that have no note, or one of what they were before."""
        notes = self._notes_of(memory.id for memory in new)
        open_ = [memory for memory in new if memory.id not in notes or notes[memory.id].content.derived_from[0].version != memory.content.version]
        contents = [memory.content for memory in open_]
        if self._work.chat is None:
            found = [(described(content), "rules") for content in contents]
        else:
            found = described_by(self._work.chat, contents, self._report)
        out = []
        for memory, (description, by) in zip(open_, found, strict=True):
            view = notes.get(memory.id)
            sheet = Sheet(memory, Note(description, by), view, ["described" if view is None else "its memory has changed"])
            self._sheets[memory.id] = sheet
            out.append(sheet)
        return out

    def _notes_of(self, ids: Iterable[UUID]) -> dict[UUID, Memory]:
        """The notes of some memories, as far as they can be read: a memory may also be among what other notes drew on."""
        found = self._portion.views_of(ids)
        return {id: note for id, views in found.items() for note in views if note.content.derived_from[0].id == id and note_of(note) is not None}

    # -- links and evolution --
    def _join(self, new: Sequence[Sheet]) -> None:
        """Link new memories with earlier ones, and let them add to those."""
        pairs = self._pairs(new)
        answers = self._answers(pairs)
        for pair, answer in zip(pairs, answers, strict=True):
            if answer is None:
                pair.sheet.note = self._linked(pair, None)
                if self._parameters.evolve:
                    self._evolve(pair)
            else:
                names = self._aliases(pair)
                pair.sheet.note = self._linked(pair, {names.id(one["id"]): one["relation"] for one in answer["links"]})
                if self._parameters.evolve:
                    self._evolve_by(pair, answer["updates"], names)

    def _pairs(self, new: Sequence[Sheet]) -> list[Pair]:
        """The candidates of each new memory, by likeness of the notes and by rare names."""
        if not new:
            return []
        p = self._parameters
        vectors = self._portion.embed([sheet.text() for sheet in new])
        with self._portion.look() as view:
            shelf, mentions = Shelf(view), Mentions.of(view)
            found = [by_names(view, mentions, sheet.memory.row, sheet.content.author, p) for sheet in new]
            if vectors is not None:
                on_desk = np.array([sheet.memory.row for sheet in new])
                for at, (rows, cosines) in enumerate(nearest(view, shelf.mask, vectors, p.neighbours + 1)):
                    stored = shelf.of[np.searchsorted(shelf.rows, rows)]
                    earlier = on_desk < on_desk[at]
                    rows = np.concatenate([stored, on_desk[earlier]])
                    cosines = np.concatenate([cosines, vectors[earlier] @ vectors[at]])
                    before = (rows < on_desk[at]) & view.allowed[rows]
                    for row, cosine in zip(*closest(rows[before], cosines[before], p.neighbours), strict=True):
                        found[at].setdefault(int(row), Candidate(int(row))).cosine = float(cosine)
            chosen = [best(one, p) for one in found]
            near = [memories(view, [candidate.row for candidate, _ in one]) for one in chosen]
            beside = [
                [in_thread(view, sheet.memory.row, candidate.row) for candidate, _ in one] for sheet, one in zip(new, chosen, strict=True)
            ]
        pairs = [Pair(*each) for each in zip(new, chosen, near, beside, strict=True)]
        self._take_up(pairs)
        return pairs

    def _take_up(self, pairs: Sequence[Pair]) -> None:
        """Put the notes of what may evolve on the desk."""
        wanted: dict[UUID, Memory] = {}
        for pair in pairs:
            pair.meanings = explained(pair.sheet.content, {name for candidate, _ in pair.linked for name in candidate.names})
            for at, ((candidate, _), memory) in enumerate(zip(pair.linked, pair.near, strict=True)):
                shown = self._work.chat is not None and at < self._parameters.neighbours
                if memory.id not in self._sheets and (shown or pair.meanings.keys() & candidate.names.keys()):
                    wanted[memory.id] = memory
        notes = {id: note for id, note in self._notes_of(wanted).items() if not note.stale} if wanted else {}
        drawn = _drawn_on(notes.values())
        if drawn:
            with self._portion.look() as view:
                self._known |= present(view, drawn)
        for id, stored in notes.items():
            note = note_of(stored)
            if note is not None and all(drawn_on in self._known for drawn_on in _drawn_on([stored])):  # else it draws on what may not be shown
                self._sheets[id] = Sheet(wanted[id], note, stored)
        self._known |= {pair.sheet.memory.id: pair.sheet.memory for pair in pairs}
        self._known |= {memory.id: memory for pair in pairs for memory in pair.near}

    def _linked(self, pair: Pair, chosen: Mapping[str | None, str] | None) -> Note:
        """The note with its links; of those memories that a model was shown, only with those that it chose."""
        note, content = pair.sheet.note, pair.sheet.content
        links = []
        nearest = max((candidate.cosine for candidate, _ in pair.linked), default=0.0)
        for at, ((candidate, weight), memory, beside) in enumerate(zip(pair.linked, pair.near, pair.beside, strict=True)):
            said = chosen.get(str(memory.id)) if chosen is not None else None
            if chosen is not None and said is None and at < self._parameters.neighbours:
                continue
            kind = said or kind_of(content, memory.content, candidate, beside, candidate.cosine == nearest)
            weight = min(1.0, 0.5 + weight / 2) if said else weight
            by = "model" if said else "rules"
            links.append(Link(memory.id, memory.content.version, kind, weight, reason_of(candidate), by))
        return Note(note.own, note.by, tuple(links), note.evolutions)

    def _evolve(self, pair: Pair) -> None:
        """Give what a new memory says of names to the earlier ones that bear them."""
        content = pair.sheet.content
        budget = self._parameters.neighbours
        for (candidate, _), memory in zip(pair.linked, pair.near, strict=True):
            sheet = self._sheets.get(memory.id)
            known = {name: pair.meanings[name] for name in candidate.names if name in pair.meanings}
            change = added(sheet.note, sheet.content, content, known) if known and budget and sheet is not None else None
            if sheet is not None and change is not None:
                budget -= self._apply(sheet, change) or self._apply(sheet, without_context(change, sheet.note))

    def _evolve_by(self, pair: Pair, updates: Sequence[dict[str, Any]], names: Aliases) -> None:
        """Make a model's changes, as far as they are supported, trusted, within the budget, and near to what the memory says."""
        content = pair.sheet.content
        by_id = {str(memory.id): memory for memory in pair.near}
        for update in updates[: self._parameters.neighbours]:
            memory = by_id[str(names.id(update["id"]))]
            sheet = self._sheets.get(memory.id)
            if sheet is None or sheet.rewritten:
                self._work.report("evolution refused: rewritten already" if sheet else "evolution refused: no note")
                continue
            others = [one.content for one in self._shown(pair) if one.id != memory.id]
            by = "{model} {prompt}".format(**made_by(self._chat, prompt("evolve")))
            change = proposed(sheet.note, sheet.content, content, others, update, by)
            if change is None:
                self._report.reject()
            else:
                sheet.rewritten |= self._apply(sheet, change)

    def _apply(self, sheet: Sheet, change: Change) -> bool:
        why = refused(sheet.note, sheet.content, change, self._work.now, self._likeness, self._parameters)
        if why is not None:
            self._work.report(f"evolution refused: {why}")
            return False
        sources = tuple((source.id, source.version) for source in change.sources)
        sheet.note = sheet.note.evolved(Evolution(sources, self._work.now, change.reason, change.by, change.gives))
        sheet.reasons.append(f"{change.reason} (memory {change.sources[0].id})")
        self._work.report("evolved")
        return True

    # -- a model --
    @property
    def _chat(self) -> Any:
        return self._work.chat

    def _answers(self, pairs: Sequence[Pair]) -> list[Answer | None]:
        """What a model says of each pair; None where the rules decide."""
        out: list[Answer | None] = [None] * len(pairs)
        if self._work.chat is None:
            return out
        asked = [at for at, pair in enumerate(pairs) if pair.near]
        values, checks = [], []
        for at in asked:
            names = self._aliases(pairs[at])
            neighbours = []
            for memory in self._shown(pairs[at]):
                sheet = self._sheets.get(memory.id)
                description = sheet.note.now.as_json() if sheet else {}
                neighbours.append({"id": names.alias(str(memory.id)), **shown(memory.content), **description})
            values.append({"note": shown(pairs[at].sheet.content), "neighbours": neighbours})
            checks.append(_checker(names))
        for at, answer in zip(asked, ask_all(self._chat, prompt("evolve"), values, check=checks, report=self._report), strict=True):
            out[at] = None if isinstance(answer, Refused) else answer
        return out

    def _shown(self, pair: Pair) -> Sequence[Memory]:
        """The earlier memories that a model is shown with a new one."""
        return pair.near[: self._parameters.neighbours]

    def _aliases(self, pair: Pair) -> Aliases:
        return Aliases(str(memory.id) for memory in self._shown(pair))

    # -- likeness --
    def _likeness(self, one: str, other: str) -> float:
        """Cosine of two texts; of their words where there is no embedder."""
        missing = [text for text in dict.fromkeys((one, other)) if text not in self._vectors]
        if missing:
            vectors = self._portion.embed(missing)
            if vectors is None:
                return _overlap(one, other)
            self._vectors |= dict(zip(missing, vectors, strict=True))
        return float(self._vectors[one] @ self._vectors[other])

    # -- writing --
    def _write(self) -> None:
        """Ask for what has changed to be written: notes of new memories first, in the order of the memories."""
        for sheet in sorted(self._sheets.values(), key=lambda sheet: sheet.memory.row):
            if not sheet.reasons:
                continue
            content, note = sheet.content, sheet.note
            drawn = dict.fromkeys(id for step in note.evolutions for id, _ in step.sources)
            draft = Draft(
                sheet.text(), "note", [sheet.memory, *(self._known[id] for id in drawn)], note.metadata(), note.now.tags,
                event_at=content.event_at if content.event_at is not None else content.created_at,
                valid_from=content.valid_from, valid_to=content.valid_to, by=note.by,
            )  # fmt: skip
            if sheet.view is None:
                self._portion.add(draft)
            else:
                self._portion.revise(sheet.view, draft, "; ".join(dict.fromkeys(sheet.reasons)))


def _says_something(text: str) -> bool:
    return sum(1 for _ in words(text)) >= _FEWEST


def _drawn_on(notes: Iterable[Memory]) -> list[UUID]:
    """What the evolution of some notes drew on."""
    return [link.id for note in notes for link in note.content.derived_from[1:]]


def _checker(names: Aliases) -> Any:
    """A check that a model names only what it was shown, each once in each list."""

    def check(answer: Answer) -> str | None:
        for key in ("links", "updates"):
            said = [one["id"] for one in answer[key]]
            known, unknown = names.ids(said)
            if unknown:
                return f"{key}: there is no memory {unknown[0]!r}; name only those that are shown"
            if len(known) < len(said):
                return f"{key}: a memory is named twice"
        return None

    return check


def _overlap(one: str, other: str) -> float:
    """Cosine of the counts of words."""
    first, second = (Counter(term(word) for word in words(text)) for text in (one, other))
    norm = (sum(n * n for n in first.values()) * sum(n * n for n in second.values())) ** 0.5
    return float(sum(n * second[h] for h, n in first.items()) / norm) if norm else 0.0
