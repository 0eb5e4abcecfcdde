"""Clues by a language model: over the gists of a corpus it recalls what may be there, asks simpler questions, and drafts an answer. All of it serves
to search; none of it is evidence.

Source: MemoRAG, arXiv 2409.05591, section 2 (recall, rewrite, answer), and its summary mode: key points, each searched for.
"""

from __future__ import annotations

from collections.abc import Sequence

from mnemos.base.protocols import ChatModel
from mnemos.text.asking import Refused, Report, ask
from mnemos.text.clues.memory import MOST, SURE, Clue, cleaned
from mnemos.text.prompts import prompt
from mnemos.text.tokens import TokenCounter, count_tokens

GIST_TOKENS = 3000
"""Of the gists that a model is shown."""


def clues(
    chat: ChatModel,
    question: str,
    gists: Sequence[str],
    *,
    draft: bool = False,
    most: int = MOST,
    tokens: int = GIST_TOKENS,
    count: TokenCounter = count_tokens,
    report: Report | None = None,
) -> list[Clue]:
    """What a model thinks the corpus says to a question, from as many of its gists, the first ones first, as fit `tokens`; cleaned, at most `most`.
    With `draft` it is asked for an answer, too. Empty where no model answers: `report` tells why; then the statistical clues are there still."""
    shown = "\n".join(_fitting(gists, tokens, count))
    report = Report() if report is None else report
    out: list[Clue] = []
    told = ask(chat, prompt("expand_question"), {"question": question, "gist": shown, "most": most}, report=report)
    if not isinstance(told, Refused):
        pairs = [("recall", text) for text in told["clues"]], [("rewrite", text) for text in told["questions"]]
        for at in range(max(map(len, pairs))):  # in turns: neither kind crowds the other out
            out += [Clue(part[at][1].strip(), part[at][0], SURE[part[at][0]]) for part in pairs if at < len(part)]
    if draft:
        answer = ask(chat, prompt("draft_answer"), {"question": question, "gist": shown}, report=report)
        if not isinstance(answer, Refused) and answer["answer"].strip():
            drafted = Clue(answer["answer"].strip(), "answer", SURE["answer"])
            return [*cleaned(question, out, most - 1), *cleaned(question, [drafted], 1)][:most]
    return cleaned(question, out, most)


def _fitting(gists: Sequence[str], tokens: int, count: TokenCounter) -> list[str]:
    out, used = [], 0
    for gist in gists:
        used += count(gist) + 1
        if used > tokens:
            break
        out.append(gist)
    return out
