"""The graph of a space, held in memory beside its index and caught up from row to row; passages are rows."""

from __future__ import annotations

from mnemos.text.hypergraph.graph import Graph
from mnemos.text.strategy import View

_AT_A_TIME = 2048


def graph_of(view: View) -> Graph:
    """The graph of all rows. What the caller may not see must be left out by the mask that each question to it takes."""
    graph = view.index.attached("hypergraph", Graph)
    n = len(view.index)
    while graph.read < n:
        rows = list(range(graph.read, min(graph.read + _AT_A_TIME, n)))
        # A row that was forgotten cannot be read any more; `died` tells.
        alive = [row for row in rows if view.index.died.view()[row] > 0]
        for row, content in zip(alive, view.contents(alive), strict=True):
            title = content.metadata.get("heading") or content.metadata.get("title")
            more = [*([title] if isinstance(title, str) else []), *([content.author] if content.author else []), *content.entities]
            graph.add(row, content.text or "", more)
        graph.read = rows[-1] + 1
    return graph
