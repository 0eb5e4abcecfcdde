"""Articles made of key facts and padding, their summaries, and sentences planted among them (tasks En.Sum and Mix.Sum+NIAH)."""

from __future__ import annotations

from dataclasses import dataclass

from mnemos.bench.scbench import words
from mnemos.bench.scbench.draws import Draws
from mnemos.bench.scbench.page import Counter, Page, apart, filling, too_short
from mnemos.bench.scbench.records import Span, Turn

ARTICLE_HEAD = "Below are reports of a newspaper. You are asked to summarise some of them.\n\n"
ASK = "Summarise the report from {town} in at most 80 words: what is built, who leads it, what it costs, when it began, and why."
NEEDLE = "The codes of the {} gate, the {} gate, the {} gate and the {} gate are {}, {}, {} and {}, in this order."
ASK_NEEDLE = "What is the code of the {} gate? Answer with the code only."
GATES = 4


@dataclass(frozen=True, slots=True)
class Report:
    """The key facts of an article."""

    town: str
    project: str
    leader: str
    millions: int
    workers: int
    began: str
    reason: str

    def sentences(self) -> list[str]:
        """As the article tells them."""
        return [
            f"The council of {self.town} has decided on {self.project}, after years of talk.",
            f"It put {self.leader} in charge, who has worked abroad until now.",
            f"The treasurer reckons with {self.millions} million crowns, half of it borrowed.",
            f"On the site, {self.workers} men and women have been hired for two summers.",
            f"Digging began on {self.began}, with a band playing.",
            f"The reason that was given was that {self.reason}.",
        ]

    def summary(self) -> str:
        """The reference: one line for each fact."""
        return "\n".join((
            f"{self.town} builds {self.project}.", f"{self.leader} leads the work.", f"It costs {self.millions} million crowns.",
            f"{self.workers} people work on it.", f"It began on {self.began}.", f"It is built because {self.reason}.",
        ))  # fmt: skip

    def facts(self) -> tuple[tuple[str, ...], ...]:
        """Strings that a summary should hold, fact by fact."""
        return (
            (self.town, self.project), (self.leader,), (f"{self.millions} million",), (str(self.workers),), (self.began,), (self.reason,),
        )  # fmt: skip


def summary(length: int, turns: int, draws: Draws, count: Counter) -> tuple[str, tuple[Turn, ...]]:
    """Reports on towns; each turn asks for the summary of one."""
    page, made, _ = newspaper("summary", length, turns, draws, count, ())
    return page.text, made


def summary_needles(length: int, turns: int, draws: Draws, count: Counter) -> tuple[str, tuple[Turn, ...]]:
    """Summaries and planted sentences in turn; each planted sentence tells four codes, so that its words alone do not tell which is asked for."""
    needles = turns // 2
    gates = draws.sample(words.GATES, min(len(words.GATES), GATES * max(1, needles)))
    if needles * GATES > len(gates):
        raise too_short("summary_needles", length, f"there are names for {len(words.GATES) // GATES} planted sentences, not for {needles}")
    codes = [str(code) for code in draws.sample(range(1000, 10_000), len(gates))]
    groups = [(gates[i : i + GATES], codes[i : i + GATES]) for i in range(0, needles * GATES, GATES)]
    sentences = tuple(NEEDLE.format(*names, *values) for names, values in groups)
    page, summaries, spans = newspaper("summary_needles", length, turns - needles, draws, count, sentences)
    asked = []
    for (names, values), span in zip(groups, spans, strict=True):
        i = draws.below(GATES)
        asked.append(Turn(ASK_NEEDLE.format(names[i]), values[i], task="needle", evidence=(span,)))
    made = [turn for pair in zip(summaries, asked, strict=False) for turn in pair] + list(summaries[len(asked) :])
    return page.text, tuple(made)


def newspaper(
    task: str, length: int, turns: int, draws: Draws, count: Counter, needles: tuple[str, ...]
) -> tuple[Page, tuple[Turn, ...], list[Span]]:
    """Reports padded to the length, turns that ask for summaries, and where the planted sentences came to lie."""
    most = min(len(words.TOWNS), len(words.PROJECTS))
    n = max(turns, min(8, length // 600), 2)
    if n > most:
        raise too_short(task, length, f"there are names for {most} reports, not for {n}")
    reports = [_drawn(town, project, draws) for town, project in zip(draws.sample(words.TOWNS, n), draws.sample(words.PROJECTS, n), strict=True)]
    fixed = count(ARTICLE_HEAD) + sum(count(_title(i, each)) + sum(map(count, each.sentences())) for i, each in enumerate(reports))
    budget = length - fixed - sum(map(count, needles))
    if budget < 0:
        raise too_short(task, length, f"{n} reports and {len(needles)} planted sentences need {length - budget} tokens")
    padding = [filling(lambda: draws.choice(words.PADDING), budget // n, count) for _ in reports]
    slots = sum(map(len, padding)) + 6 * n
    where = dict(zip(apart(draws.strata(slots, len(needles)), slots), range(len(needles)), strict=True)) if needles else {}
    page = Page()
    page.add(ARTICLE_HEAD)
    told: list[tuple[Span, ...]] = []
    planted: dict[int, Span] = {}
    slot = 0
    for i, (report, pad) in enumerate(zip(reports, padding, strict=True)):
        title = page.add(_title(i, report))
        spans = [title]
        for sentence, key in _mixed(report.sentences(), pad, draws):
            if slot in where:
                planted[where[slot]] = page.add(needles[where[slot]])
                page.add(" ")
            slot += 1
            span = page.add(sentence)
            page.add(" ")
            if key:
                spans.append(span)
        page.add("\n\n")
        told.append(tuple(spans))
    asked = draws.strata(n, turns)
    chosen = apart(asked, n)
    made = (Turn(ASK.format(town=reports[i].town), reports[i].summary(), facts=reports[i].facts(), evidence=told[i]) for i in chosen)
    return page, tuple(made), [planted[i] for i in range(len(needles))]


def _drawn(town: str, project: str, draws: Draws) -> Report:
    leader = f"{draws.choice(words.PEOPLE)} {draws.choice(words.SURNAMES)}"
    began = f"{draws.between(1, 28)} {draws.choice(words.MONTHS)} {draws.between(1880, 1930)}"
    return Report(town, project, leader, draws.between(2, 98), draws.between(30, 980), began, draws.choice(words.REASONS))


def _title(number: int, report: Report) -> str:
    return f"Report {number + 1}. From {report.town}.\n"


def _mixed(keys: list[str], padding: list[str], draws: Draws) -> list[tuple[str, bool]]:
    """Key sentences in their order at random places among the padding."""
    total = len(keys) + len(padding)
    places = set(draws.sample(range(total), len(keys)))
    first, second = iter(keys), iter(padding)
    return [(next(first), True) if i in places else (next(second), False) for i in range(total)]
