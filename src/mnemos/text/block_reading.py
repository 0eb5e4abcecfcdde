"""Answers that stand by their quotes: read from sources by rules, or by a language model block by block, and refused where no quote supports them.

Block extraction after ConvoMem (arXiv 2511.10523, section 4): blocks are read side by side for what bears on the question, word for word; what
they quote is read once more for the answer. Every quote is looked up in its source, so that nothing is quoted that was never said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mnemos.base.clock import from_micros
from mnemos.base.errors import Invalid
from mnemos.base.protocols import ChatModel
from mnemos.text.advice import asks_advice
from mnemos.text.answering.candidates import Source
from mnemos.text.answering.reader import Quote, answer
from mnemos.text.asking import Refused, Report, ask, ask_all
from mnemos.text.prompts import Aliases, prompt
from mnemos.text.quoting import find_quote
from mnemos.text.refusal import RefusalGate
from mnemos.text.sentence_spans import sentence_spans
from mnemos.text.subject import Weight, coverage, evenly, subject_terms
from mnemos.text.support import evidence, likelihood
from mnemos.text.tokens import count_tokens

BLOCK_TOKENS = 8_000
"""Tokens of a block. Default: ten conversations of about 800 tokens; the paper's blocks are ten conversations."""
MOST_BY_RULES = 3
"""Sentences of a block that are quoted by rules, at most."""


@dataclass(frozen=True, slots=True)
class Grounded:
    """An answer with the quotes that it rests on, or none."""

    text: str
    """Empty where nothing is claimed."""
    quotes: tuple[Quote, ...]
    """What supports the answer; of a refused answer, what it was taken from."""
    reason: str
    """"supported", or why nothing is claimed."""
    confidence: float
    """0 to 1 as the rules see it; 1 for what a model says and its quotes support."""
    by: str
    """"rules", or the model's fingerprint."""

    def __bool__(self) -> bool:
        return bool(self.text)


def grounded(
    question: str,
    sources: Sequence[Source],
    *,
    chat: ChatModel | None = None,
    gate: RefusalGate | None = None,
    now: int | None = None,
    weight: Weight = evenly,
    block_tokens: int = BLOCK_TOKENS,
    count: Callable[[str], int] = count_tokens,
    report: Report | None = None,
) -> Grounded:
    """Answers `question` from `sources`, best first, or claims nothing.

    Without `chat` the answer is the span that most looks like it (`text.answering`). With one, blocks of at most `block_tokens` are read for
    quotes in one batched call, and the quotes for the answer; where the model is away or of no use, the rules take its place, and `report`
    tells. `gate` holds the thresholds of the refusal, `weight` says what the words of the question count in it. Raises `Invalid` for a
    question without words.
    """
    if isinstance(block_tokens, bool) or not isinstance(block_tokens, int) or block_tokens < 1:
        raise Invalid(f"block_tokens: a block holds 1 token or more, a whole number, not {block_tokens!r:.60}")
    judge = RefusalGate() if gate is None else gate
    if chat is None:
        return _by_rules(question, sources, sources, judge, now, weight)
    told = Report() if report is None else report
    ordered = sorted(sources, key=lambda source: (source.time is None, source.time or 0))
    quotes = [quote for block in quotes_of(question, blocks_of(ordered, block_tokens, count), chat, told) for quote in block]
    if not quotes:
        return Grounded("", (), "no quote", 0.0, chat.fingerprint)
    by_id = {source.id: source for source in ordered}
    names = Aliases([f"{number}" for number, _ in enumerate(quotes)], "q")
    shown = [_shown(names.alias(str(number)), quote.text, by_id[quote.id]) for number, quote in enumerate(quotes)]
    got = ask(chat, prompt("answer_from_quotes"), {"question": question, "quotes": shown}, report=told)
    if isinstance(got, Refused):
        said = [replace(by_id[quote.id], text=quote.text) for quote in quotes]
        return _by_rules(question, said, list(by_id.values()), judge, now, weight)
    text, rests_on = str(got["answer"]).strip(), [quotes[int(number)] for number in names.ids(got["rests_on"])[0]]
    if not got["known"] or not text:
        return Grounded("", tuple(rests_on), "not told", 0.0, chat.fingerprint)
    around = [by_id[quote.id].text for quote in rests_on]
    ruling = judge.check(question, text, [quote.text for quote in rests_on], around, weight, near=around)
    if not ruling:
        told.reject()
    return Grounded(text if ruling else "", tuple(rests_on), ruling.reason, float(ruling.supported), chat.fingerprint)


def blocks_of(sources: Sequence[Source], block_tokens: int, count: Callable[[str], int] = count_tokens) -> list[list[Source]]:
    """The sources in their order, in blocks of at most `block_tokens`; a source that is larger alone makes a block of its own."""
    blocks: list[list[Source]] = []
    used = 0
    for source in sources:
        cost = count(source.text)
        if not blocks or used + cost > block_tokens:
            blocks.append([])
            used = 0
        blocks[-1].append(source)
        used += cost
    return blocks


def quotes_of(question: str, blocks: Sequence[Sequence[Source]], chat: ChatModel, report: Report) -> list[list[Quote]]:
    """What each block says that bears on the question, word for word: all blocks asked for in one batched call.

    A quote counts where the turn that it names says it; others are rejected. A block that the model does not answer is read by rules.
    """
    names = [Aliases([source.id for source in block]) for block in blocks]
    values = [{"question": question, "turns": [_shown(known.alias(source.id), source.text, source) for source in block]}
              for known, block in zip(names, blocks, strict=True)]  # fmt: skip
    out: list[list[Quote]] = []
    for known, block, got in zip(names, blocks, ask_all(chat, prompt("extract_quotes"), values, report=report), strict=True):
        if isinstance(got, Refused):
            out.append(quotes_by_rules(question, block))
            continue
        texts = {source.id: source.text for source in block}
        found: dict[Quote, None] = {}
        for claimed in got["quotes"]:
            named = known.id(claimed["id"])
            at = find_quote(claimed["text"], [texts[named]]) if named is not None else None
            if named is None or at is None:
                report.reject()
            else:
                found[Quote(named, at.text, at.start, at.end)] = None
        out.append(list(found))
    return out


def quotes_by_rules(question: str, block: Sequence[Source]) -> list[Quote]:
    """The sentences of a block that hold most of what the question is about, in order; none where none holds a word of it."""
    wanted = subject_terms(question)
    if not wanted:
        return []
    scored = [
        (coverage(wanted, [sentence.text]), number, Quote(source.id, source.text[sentence.start : sentence.end], sentence.start, sentence.end))
        for number, (source, sentence) in enumerate((source, sentence) for source in block for sentence in sentence_spans(source.text))
    ]
    best = sorted((one for one in scored if one[0] > 0), key=lambda one: (-one[0], one[1]))[:MOST_BY_RULES]
    return [quote for _, _, quote in sorted(best, key=lambda one: one[1])]


def _by_rules(
    question: str, told: Sequence[Source], around: Sequence[Source], gate: RefusalGate, now: int | None, weight: Weight
) -> Grounded:
    """The reader's best answer from `told`, which are whole sources or quotes of them; `around` are the whole sources, which are weighed."""
    found = answer(question, told, now=now, least=0.0)
    quotes = tuple(quote for quote in (found.quote, *found.further) if quote is not None)
    if not found.text:
        return Grounded("", quotes, "no quote", found.confidence, "rules")
    if asks_advice(question):
        return Grounded(found.text, quotes, "supported", found.confidence, "rules")
    likely = round(likelihood(evidence(question, found, around, weight)), 3)
    if likely < gate.likely:
        return Grounded("", quotes, "quotes speak of something else", likely, "rules")
    return Grounded(found.text, quotes, "supported", likely, "rules")


def _shown(alias: str, text: str, source: Source) -> dict[str, str]:
    """A turn or quote as a prompt shows it."""
    when = {} if source.time is None else {"time": f"{from_micros(source.time):%Y-%m-%d %H:%M}"}
    return {"id": alias, **({} if source.author is None else {"author": source.author}), **when, "text": text}
