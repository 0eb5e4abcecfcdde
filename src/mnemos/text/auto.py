"""The default strategy: of the ways to remember, what has been measured to find more, where it does.

On passages (documents and facts) a search goes one step on, over rare names (`text.bridging`); among the turns of conversations, where names are
everywhere, it does not. What the other strategies add beyond that is within the noise of the sets at hand, or costs more than it finds
(`mnemos bench strategies`, docs/strategies/table.md), so no view is made unless a space asks for it by name.

Names are read off the texts once in a process, some 0.3 ms a passage. A small space is read when it is searched; a larger one in idle time (the job
"index", `Mnemos.preload`), and until then is searched by the foundation alone.
"""

from __future__ import annotations

from mnemos.text.bridging import Mentions, bridged, crossed
from mnemos.text.plain import Plain, distinct
from mnemos.text.question import Question
from mnemos.text.strategy import Recall, View

SMALL = 1000
"""Rows whose names are read while a search waits."""


class Auto(Plain):
    """What a space uses where nothing else is said."""

    name = "auto"
    about = "what has been measured to find best: the foundation, and on passages one step on, over rare names"

    def recall(self, question: Question, view: View, k: int) -> Recall:
        ranking = self.ranking(question, view)
        scores = ranking.scores
        if crossed(view) and Mentions.unread(view) <= SMALL:
            scores = bridged(question, view, scores)
        best = distinct(view.index, scores, k)
        signals = ranking.signals(best)
        return Recall(best, scores[best], signals if scores is ranking.scores else {**signals, "bridge": scores[best] - ranking.scores[best]})

    def prepare(self, view: View) -> bool:
        return crossed(view) and Mentions.read_some(view)
