"""The command explain: where a memory came from, what was made of it, and what has happened to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from mnemos.base.lineage import ABSORBS, BRANCHED_FROM, DERIVED_FROM, MERGED, PART_OF, SUMMARISED, SUPERSEDES
from mnemos.cli.fields import IdArgument
from mnemos.cli.output import counted, one_line, print_json, rules_text, shortened, standing
from mnemos.cli.session import Session, command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mnemos.base.cube import MemCube
    from mnemos.kernel.lineage import Explanation, Source

_MEANING = {
    "stale": "something that it was made from has changed since",
    "frozen": "nobody changes it until `mnemos unfreeze`",
    "quarantined": "set aside as possibly harmful, until `mnemos release`",
    "archived": "out of searches, until `mnemos restore`",
    "merged": "another memory says it now; `mnemos restore` brings it back",
    "expired": "its time is over",
}
_MOST = 600  # characters of the memory's own text
_UP = {
    DERIVED_FROM: "made from", PART_OF: "part of", MERGED: "merged from", SUMMARISED: "summary of", BRANCHED_FROM: "branch of",
    SUPERSEDES: "holds instead of", ABSORBS: "also says",
}  # fmt: skip
_DOWN = {
    DERIVED_FROM: "made into", MERGED: "merged into", SUMMARISED: "summarised in", BRANCHED_FROM: "branched to", SUPERSEDES: "replaced by",
    ABSORBS: "also said by",
}  # fmt: skip
_BECAME = {"generated": "in use", "activated": "in use", "quarantined": "set aside"}
_DONE = {"add": "written", "update": "changed", "stale": "went stale", "permission": "rules set", "freeze": "frozen", "unfreeze": "unfrozen"}


@command
def explain(session: Session, id: IdArgument) -> None:
    """Show where a memory came from, what was made of it, and what has happened to it."""
    with session.open() as mem:
        told = session.view(mem).explain(id)
    if session.json:
        print_json(told.as_json())
    elif session.out.is_terminal:
        session.out.print(explained(told))
    else:
        session.tell(told.text())


def explained(told: Explanation) -> Group:
    """An explanation for reading: the memory, what is out of the ordinary about it, the tree in both directions, and what has happened."""
    home = told.cube.space
    about = Text(f"version {told.cube.version} · {_about(told.cube, '')}", style="dim")
    blocks: list[Any] = [Text(shortened(told.cube.text, _MOST), style="bold"), about]
    blocks += [Text.assemble(word, f": {_MEANING[word.plain]}") for word in standing(told.cube)]
    for steps, up, nothing in ((told.sources, True, "made from nothing else that is known"), (told.derived, False, "nothing was made of it")):
        tree = Tree(Text("where it came from" if up else "what was made of it", style="bold cyan"), guide_style="bright_black")
        _grow(tree, [step for step in steps if up or step.relation != PART_OF], up, home)
        if parts := sum(step.relation == PART_OF for step in steps if not up):
            tree.add(Text(f"searched by its {counted(parts, 'part', 'parts')}", style="dim"))
        if not tree.children:
            tree.add(Text(nothing, style="dim"))
        blocks += [Text(), tree]
    return Group(*blocks, Text(), Text("what has happened to it", style="bold cyan"), _events(told.events))


def _grow(tree: Tree, steps: Sequence[Source], up: bool, home: str) -> None:
    for step in steps:
        cube = step.tree.cube
        label = (_UP if up else _DOWN).get(step.relation, one_line(step.relation.replace("_", " ")))
        head = Text.assemble((f"{label} ", "cyan"), one_line(cube.text), no_wrap=True, overflow="ellipsis")
        used = f"{'' if up else 'from '}version {step.version}{', changed since' if step.outdated else ''}"
        parts = [*standing(cube), Text(used, style="yellow" if step.outdated else "dim"), Text(_about(cube, home), style="dim")]
        _grow(tree.add(Group(head, Text.assemble((" · ", "dim")).join(parts))), step.tree.sources if up else step.tree.derived, up, home)


def _about(cube: MemCube, home: str) -> str:
    """Type, author and id of a memory, and its space, where that is not `home`."""
    parts = [one_line(cube.type), one_line(cube.author or ""), "" if cube.space == home else f"space {one_line(cube.space)}", cube.id]
    return " · ".join(part for part in parts if part)


def _events(events: Sequence[dict[str, Any]]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    grid.add_column(style="dim", overflow="fold")
    for event in events:
        what = _BECAME.get(event["to"], event["to"]) if event["what"] == "state" else _DONE.get(event["what"], event["what"])
        by = f"by {one_line(event['by'])}" if event["by"] else ""
        details = ", ".join(part for part in (by, *_details(event)) if part)
        grid.add_row(event["at"][:19].replace("T", " "), what, Text(details))
    return grid


def _details(event: dict[str, Any]) -> list[str]:
    """What an entry of the log says beside what was done."""
    said = []
    if event["what"] in ("add", "update"):
        said.append(f"version {event['version']}")
    if "reverted_to" in event:
        said.append(f"as version {event['reverted_to']} was")
    if event["what"] == "stale":
        said.append(f"by a change of {event['of']}")
    if "to" in event and event["what"] == "link":
        said.append(f"{_UP.get(event['relation'], one_line(event['relation']))} {event['to']}")
    for name, words in (("into", "into"), ("superseded_by", "held instead:"), ("confidence", "sure to")):
        if name in event:
            said.append(f"{words} {event[name]}")
    if event.get("reason"):
        said.append(f"“{one_line(str(event['reason']))}”")
    if event["what"] == "permission" and "acl" in event:
        said.append(rules_text(event["acl"] or {}) or "those of the space alone")
    return said
