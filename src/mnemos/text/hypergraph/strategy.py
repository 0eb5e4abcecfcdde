"""The strategy "hypergraph": memories are joined by the names they share, and a question that no single one answers goes on from what it found.

Source: HGMem, arXiv 2512.23959, section 3.2 (local investigation: the next retrieval begins at what the points name), here as one step of every
search, without a model. The whole method, a working memory for one question, is `text.hypergraph.session`.
"""

from __future__ import annotations

from mnemos.text.bridging import DEFAULTS, Mentions, Parameters, bridged, crossed
from mnemos.text.plain import Plain, distinct
from mnemos.text.question import Question
from mnemos.text.strategy import Recall, View


class Hypergraph(Plain):
    """Nothing is written; at reading, what shares a rare name with what was found is found, too. Among turns it finds what the foundation finds."""

    name = "hypergraph"
    about = "questions over several memories: what shares a rare name with what was found is found, too"

    def __init__(self, parameters: Parameters = DEFAULTS) -> None:
        super().__init__()
        self.parameters = parameters

    def prepare(self, view: View) -> bool:
        return crossed(view) and Mentions.read_some(view)

    def recall(self, question: Question, view: View, k: int) -> Recall:
        ranking = self.ranking(question, view)
        scores = bridged(question, view, ranking.scores, self.parameters) if crossed(view) else ranking.scores
        best = distinct(view.index, scores, k)
        lent = scores[best] - ranking.scores[best]
        return Recall(best, scores[best], {**ranking.signals(best), "bridge": lent})
