"""A strategy for tests of the seam: each memory gets a note that repeats it in capitals, linked to the note before."""

from __future__ import annotations

from mnemos.text.plain import Plain
from mnemos.text.strategy import Draft, Workbench

SIZE = 4


class Echo(Plain):
    """Makes a view of every memory."""

    name = "echo"
    about = "for tests"
    consolidates = True

    def consolidate(self, work: Workbench) -> None:
        last = None
        for portion in work.portions(SIZE):
            for view in portion.stale:
                with portion.look() as look:
                    (row,) = look.index.rows_of(view.content.derived_from[0].id)[-1:]
                    content = look.contents([row])[0]
                source = next((one for one in portion.fresh if one.id == content.id), None)
                if source is not None:
                    portion.revise(view, Draft(source.text.upper(), "note", [source]), "its source has changed")
            known = portion.views_of([memory.id for memory in portion.fresh])
            for memory in portion.fresh:
                if memory.id in known:
                    continue
                edges = [{"to": str(last), "kind": "after", "weight": 0.5}] if last else []
                last = portion.add(Draft(memory.text.upper(), "note", [memory], {"edges": edges}, tags=["echo"]))
                portion.add(Draft(f"relation of {memory.id}", "relation", [last], {"members": [{"id": str(memory.id), "role": "subject"}]}))
                work.report("echoed")
