"""Thoughts with a language model: extracted, forgotten and merged by its word, where the sources and the two-sided evidence bear it out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from mnemos.base.clock import iso
from mnemos.base.protocols import ChatModel
from mnemos.text.asking import Answer, Refused, Report, ask, made_by
from mnemos.text.entities import key_of
from mnemos.text.prompts import Aliases, prompt
from mnemos.text.quoting import Cited, Rules, find_quote, supported
from mnemos.text.strategy import Memory
from mnemos.text.thoughts.extracting import Turn, extract, inferred
from mnemos.text.thoughts.settling import End
from mnemos.text.thoughts.thought import INFERENCE, MOST_WORDS, STATEMENT, State, Thought

Count = Callable[[str, int], None]
"""Counts something for the report of a consolidation."""
_EVERY_WORD = Rules(words=1.0)


def extracted(chat: ChatModel, memories: Sequence[Memory], most: int, report: Report, count: Count) -> list[Thought] | None:
    """What a model finds to remember of some turns, of which every thought is supported by the turns it cites; None where it gave no answer, or
    none of those that it gave is."""
    names = Aliases([str(memory.id) for memory in memories])
    by_id = {str(memory.id): memory for memory in memories}
    turns = [{"id": names.alias(str(memory.id)), "author": memory.content.author or "", "text": memory.text} for memory in memories]

    def check(answer: Answer) -> str | None:
        unknown = [id for one in answer["thoughts"] for id in names.ids(one["sources"])[1]]
        return f"no turn is called {', '.join(unknown)}" if unknown else None

    answer = ask(chat, prompt("thoughts"), {"turns": turns, "most": most}, report=report, check=check)
    if isinstance(answer, Refused):
        count(f"degraded: {answer.reason}", 1)
        return None
    out = []
    for one in answer["thoughts"][:most]:
        sources = [by_id[id] for id in names.ids(one["sources"])[0]]
        sentence, cited = one["sentence"].strip(), _cited(sources, memories)
        if len(sentence.split()) > MOST_WORDS or not supported(sentence, cited):
            report.reject()
            count("rejected: not in its sources", 1)
            continue
        out.append(_thought(sentence, _triple(sentence, one, sources, cited, count), sources, chat))
    if answer["thoughts"] and not out:
        count("degraded: not in its sources", 1)
        return None
    return out


def _triple(sentence: str, said: Answer, sources: Sequence[Memory], cited: Sequence[Cited], count: Count) -> tuple[str, str, str]:
    """Head, relation and tail as a model gives them, where the sources hold every word; else as the rules read them off the sentence; what they
    cannot read either, and the sources do not hold, is left empty."""
    given = [said[name] if _held(said[name], cited) else "" for name in ("head", "relation", "tail")]
    if not all(given):
        count("rejected: words that are not in its sources", 1)
        authors = {source.content.author for source in sources}
        author = next(iter(authors)) if len(authors) == 1 else None
        for one in extract(Turn(replace(sources[0].content, text=sentence, author=author)), 1):
            return one.head, one.relation, one.tail
    head, relation, tail = given
    return key_of(head) or head.casefold(), relation.casefold(), key_of(tail) or tail.casefold()


def _held(phrase: str, cited: Sequence[Cited]) -> bool:
    """Whether every telling word of a phrase stands in the sources, or names who speaks there. Whether they deny it, the sentence tells."""
    if not any(map(str.isalnum, phrase)):
        return False
    if find_quote(phrase, [source.text for source in cited]) is not None:
        return True
    return supported(phrase, cited, _EVERY_WORD).fault in ("", "nothing", "negation", "contradiction")


def _cited(sources: Sequence[Memory], memories: Sequence[Memory]) -> list[Cited]:
    """The turns that a thought cites, each with whom it was said to."""
    authors = list(dict.fromkeys(memory.content.author for memory in memories if memory.content.author))
    out = []
    for source in sources:
        others = [author for author in authors if author != source.content.author]
        out.append(Cited(source.text, source.content.author, others[0] if len(others) == 1 else None, source.content.event_at))
    return out


def _thought(sentence: str, triple: tuple[str, str, str], sources: Sequence[Memory], chat: ChatModel) -> Thought:
    authors = {source.content.author for source in sources}
    inference = all(inferred(author) for author in authors)
    events = [source.content.event_at for source in sources if source.content.event_at is not None]
    return Thought(
        *triple, sentence, sentence, next(iter(authors)) if len(authors) == 1 else None,
        INFERENCE if inference else STATEMENT, 0.5 if inference else 0.8, max(events, default=None),
        sources=tuple(dict.fromkeys(source.id for source in sources)), by=str(made_by(chat, prompt("thoughts"))),
    )  # fmt: skip


def _time(thought: Thought) -> str:
    return iso(thought.event_at) or ""


def forgotten(chat: ChatModel, thoughts: Sequence[Thought], places: Sequence[int], report: Report, count: Count) -> dict[int, End]:
    """Which of the thoughts at `places`, all of one head, a model says are over, with those that show it. What lacks the other side is rejected:
    a thought ends by a later one of the list that is trusted as much."""
    names = Aliases([str(place) for place in places], "t")
    listed = [{"id": names.alias(str(at)), "time": _time(thoughts[at]), "text": thoughts[at].sentence} for at in places]
    answer = ask(chat, prompt("forget_thoughts"), {"thoughts": listed}, report=report)
    if isinstance(answer, Refused):
        count(f"degraded: {answer.reason}", 1)
        return {}
    out: dict[int, End] = {}
    for one in answer["forget"]:
        known, unknown = names.ids([one["id"], one["by"]])
        place, by = (int(known[0]), int(known[-1])) if known else (0, 0)
        if unknown or place == by or place in out or by in out:
            count("rejected: no other side", 1)
        elif thoughts[by].moment <= thoughts[place].moment or thoughts[by].trust < thoughts[place].trust:
            count("rejected: not later, or less trusted", 1)
        else:
            out[place] = End(State.FORGOTTEN if one["why"] == "contradicted" else State.SUPERSEDED, by)
    return out


def merged(chat: ChatModel, thoughts: Sequence[Thought], places: Sequence[int], report: Report, count: Count) -> list[tuple[Thought, list[int]]]:
    """Thoughts that a model says fuse some of those at `places`, all of one head, with the places of those; each is supported by what it fuses, and
    keeps every one of them."""
    names = Aliases([str(place) for place in places], "t")
    listed = [{"id": names.alias(str(at)), "text": thoughts[at].sentence} for at in places]
    answer = ask(chat, prompt("merge_thoughts"), {"thoughts": listed}, report=report)
    if isinstance(answer, Refused):
        count(f"degraded: {answer.reason}", 1)
        return []
    out: list[tuple[Thought, list[int]]] = []
    used: set[int] = set()
    for one in answer["merges"]:
        taken = [int(place) for place in names.ids(one["ids"])[0]]
        parts, sentence = [thoughts[place] for place in taken], one["sentence"].strip()
        told = [Cited(part.sentence, said_at=part.event_at) for part in parts]
        kept = len(taken) > 1 and not used & set(taken) and len(sentence.split()) <= MOST_WORDS and bool(supported(sentence, told))
        if not kept or not all(supported(part.sentence, [Cited(sentence, said_at=part.event_at)]) for part in parts):
            report.reject()
            count("rejected: merge that is not borne out", 1)
            continue
        used |= set(taken)
        first = parts[0]
        out.append((replace(
            first, sentence=sentence, quote=sentence, tail="; ".join(dict.fromkeys(part.tail for part in parts)), id=None,
            confidence=min(part.confidence for part in parts), origin=INFERENCE if any(part.origin == INFERENCE for part in parts) else STATEMENT,
            sources=tuple(dict.fromkeys(source for part in parts for source in part.sources)), count=None,
            merges=len(parts), by=str(made_by(chat, prompt("merge_thoughts"))),
        ), taken))  # fmt: skip
    return out
