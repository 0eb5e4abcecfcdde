"""The part of a long text that bears on a question."""

from __future__ import annotations

import re
from collections.abc import Callable

from mnemos.index.terms import query_terms, term, words

_SENTENCE = re.compile(r"[^.!?。！？\n]+(?:[.!?。！？]+[\"')\]]*|\n+|$)\s*")
ELLIPSIS = " … "


def excerpt(text: str, question: str, limit: int, count: Callable[[str], int]) -> str:
    """`text` where it has at most `limit` tokens; else its sentences that share most words with `question`, in order, joined by ellipses.

    The first sentences of a text are kept where nothing matches. A single sentence longer than the limit is cut at a word.
    """
    if count(text) <= limit:
        return text
    sentences = [match.group() for match in _SENTENCE.finditer(text)] or [text]
    wanted = set(query_terms(question).hashes.tolist())
    found = [wanted & {term(word) for word in words(sentence)} for sentence in sentences]
    spread = {h: sum(h in one for one in found) for h in wanted}
    weight = [sum(1.0 / spread[h] for h in one) for one in found]
    near = [w + 0.5 * max(weight[i - 1] if i else 0.0, weight[i + 1] if i + 1 < len(weight) else 0.0) for i, w in enumerate(weight)]
    kept: set[int] = set()
    used = 0
    for i in sorted(range(len(sentences)), key=lambda i: (-near[i], i)):
        cost = count(sentences[i]) + 1
        if used + cost <= limit:
            kept.add(i)
            used += cost
    if not kept:
        return _cut(sentences[max(range(len(sentences)), key=lambda i: near[i])], limit, count)
    out: list[str] = []
    last: int | None = None
    for i in sorted(kept):
        if out and last is not None and i > last + 1:
            out.append(ELLIPSIS.lstrip())
        out.append(sentences[i].rstrip() + " ")
        last = i
    return ("" if 0 in kept else ELLIPSIS.lstrip()) + "".join(out).rstrip() + ("" if len(sentences) - 1 in kept else ELLIPSIS.rstrip())


def _cut(sentence: str, limit: int, count: Callable[[str], int]) -> str:
    """The longest beginning of a sentence that fits, ended at a word."""
    low, high = 0, len(sentence)
    while low < high:
        middle = (low + high + 1) // 2
        if count(sentence[:middle]) + 1 <= limit:
            low = middle
        else:
            high = middle - 1
    head = sentence[:low]
    return (head.rsplit(" ", 1)[0] if " " in head else head).rstrip() + ELLIPSIS.rstrip()
