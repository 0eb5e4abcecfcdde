"""A memory's keywords, tags and sentence of context: by rules, and by a language model where there is one (A-MEM, arXiv 2502.12110, section 3.1).

Whatever a model says is held to the memory: a context that its text does not support, keywords that do not stand in it and tags with names, numbers
or times that it does not tell are not taken.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from mnemos.base.clock import from_micros
from mnemos.base.cube import Content
from mnemos.base.protocols import ChatModel
from mnemos.index.terms import fold, term, words
from mnemos.text.asking import Refused, Report, ask_all, made_by
from mnemos.text.entities import entities
from mnemos.text.key_phrases import key_phrases
from mnemos.text.name_words import class_of
from mnemos.text.notes.note import Description
from mnemos.text.prompts import prompt
from mnemos.text.quoting import Cited, supported
from mnemos.text.reading import Flag, read
from mnemos.text.sentence_spans import sentence_spans
from mnemos.text.time_expressions import find_times

_PHRASES = 6
_LONGEST_SENTENCE = 300
_MOST_DAYS = 3
_FORMS = {
    "decision": re.compile(r"\b(?:decided|decide to|chose|opted|agreed to|settled on|will go with)\b"),
    "plan": re.compile(r"\b(?:plan(?:s|ned|ning)? to|going to|intend|will|next (?:week|month|year)|tomorrow|hope to)\b"),
    "preference": re.compile(r"\b(?:love|loves|like|likes|prefer|prefers|favou?rite|enjoy|enjoys|hate|hates|dislike|dislikes)\b"),
    "problem": re.compile(r"\b(?:problem|issue|error|fail(?:s|ed|ure)?|broken|bug|worried|trouble)\b"),
}
"""What sort of thing is said, by words that say so."""


def described(content: Content) -> Description:
    """The description of a memory by rules: key phrases and names, form and classes, and its most telling sentence with who said it and when."""
    text = content.text or ""
    named = [one for one in entities(text) if one.kind not in ("quantity", "ngram")]
    speaker = {term(word) for word in words(content.author or "")}
    names = [one.surface for one in named]
    phrases = [phrase.text for phrase in key_phrases([text], _PHRASES)]
    keywords = [one for one in (*names[:_PHRASES], *content.entities, *phrases) if not {term(word) for word in words(one)} <= speaker]
    tags = [*content.tags, *_tags(content, [one.key for one in named])]
    return Description.of(keywords, tags, _context(content, [*names, *phrases]))


def _tags(content: Content, names: Sequence[str]) -> list[str]:
    """Broad classes: what form the memory has, what kinds of things it names, whether it tells times."""
    text = content.text or ""
    reading = read(text, type=content.type, author=content.author, event_at=content.event_at)
    low = fold(text)
    tags = [content.type]
    tags += [form for form, cue in _FORMS.items() if cue.search(low)]
    if reading.flags & Flag.ASKS:
        tags.append("question")
    tags += [kind for name in names if (kind := class_of(name.split()))]
    if reading.moments:
        tags.append("dated")
    return tags


def _context(content: Content, telling: Sequence[str]) -> str:
    """The sentence that holds most of the telling words, after who said it and on which day; and the days that it speaks of."""
    text = content.text or ""
    spans = sentence_spans(text)
    wanted = [{term(word) for word in words(one)} for one in telling]
    held = [{term(word) for word in words(span.text)} for span in spans]
    weight = [sum(bool(one) and one <= terms for one in wanted) - 0.01 * at for at, terms in enumerate(held)]
    best = spans[max(range(len(spans)), key=weight.__getitem__)].text[:_LONGEST_SENTENCE] if spans else text[:_LONGEST_SENTENCE]
    day = from_micros(content.event_at).date().isoformat() if content.event_at is not None else ""
    head = ", ".join(part for part in (content.author or str(content.metadata.get("heading") or ""), day) if part)
    days = [from_micros(time.start).date().isoformat() for time in find_times(best, content.event_at) if time.start is not None][:_MOST_DAYS]
    return f"{head}: {best}" * bool(head) + best * (not head) + (f" ({', '.join(dict.fromkeys(days))})" if days else "")


# ---- with a language model ------------------------------------------------------------------------------------------


def described_by(chat: ChatModel, contents: Sequence[Content], report: Report) -> list[tuple[Description, str]]:
    """(description, who made it) of each memory: a model's, as far as the memory says so; where it gives none, that by rules."""
    asked = prompt("note")
    by = "{model} {prompt}".format(**made_by(chat, asked))
    answers = ask_all(chat, asked, [{"note": shown(content)} for content in contents], report=report)
    out = []
    for content, answer in zip(contents, answers, strict=True):
        plain = described(content)
        found = None if isinstance(answer, Refused) else _checked(content, answer, plain, report)
        out.append((plain, "rules") if found is None else (found, by))
    return out


def shown(content: Content) -> dict[str, Any]:
    """A memory as a model is shown it."""
    day = {"time": from_micros(content.event_at).isoformat(timespec="minutes")} if content.event_at is not None else {}
    return {**({"author": content.author} if content.author else {}), **day, "text": content.text or ""}


def cited(content: Content) -> Cited:
    return Cited(content.text or "", content.author, said_at=content.event_at)


def _checked(content: Content, answer: dict[str, Any], plain: Description, report: Report) -> Description | None:
    """What of a model's description may stand; None where its context says what the memory does not."""
    if not supported(answer["context"], [cited(content)]):
        report.reject()
        return None
    tags = held_tags(answer["tags"], [cited(content)])
    if len(tags) < len(answer["tags"]):
        report.reject()
    return Description.of(held_keywords(answer["keywords"], [content]) or plain.keywords, tags or plain.tags, answer["context"])


def held_keywords(keywords: Sequence[str], contents: Sequence[Content]) -> list[str]:
    """Those of some keywords all of whose words stand in the memories."""
    known = {term(word) for content in contents for word in words(content.text or "")}
    return [one for one in keywords if (told := {term(word) for word in words(one)}) and told <= known]


def held_tags(tags: Sequence[str], sources: Sequence[Cited | str]) -> list[str]:
    """Those of some tags without names, numbers or times that the sources do not tell. A tag is a class, so its other words may be its own."""
    return [tag for tag in tags if supported(tag, sources).fault not in ("name", "number", "time")]
