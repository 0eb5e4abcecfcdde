"""The world as a chronicle in English or Chinese: sentences, questions, and the tasks En.QA, Zh.QA and En.MultiChoice."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from mnemos.bench.scbench import words
from mnemos.bench.scbench.draws import Draws
from mnemos.bench.scbench.page import Counter, Page, too_short
from mnemos.bench.scbench.records import Span, Turn
from mnemos.bench.scbench.world import ARRIVES, FORMER_PLACE, HAS, KINDS, OBJECT_HOLDER, OBJECT_PLACE, PERSON_PLACE, Event, Question, World, questions

FIRST_DAY = date(1871, 3, 1)
LETTERS = "ABCD"
WORLD_TOKENS = 300
"""Tokens of chronicle for each person, about: so many events that a name alone does not tell the sentence."""
ATTEMPTS = 20

Told = tuple[str, int | None]
"""A sentence, and the number of its event; below zero that of a former owner; None where it changes nothing."""


@dataclass(frozen=True)
class Language:
    """How a chronicle is told."""

    people: tuple[str, ...]
    places: tuple[str, ...]
    objects: tuple[str, ...]
    former: tuple[str, ...]
    filler: tuple[str, ...]
    head: str
    arrives: str
    has: str
    goes: str
    sends: str
    once: str
    considered: tuple[str, ...]
    """Sentences that change nothing, though they name a person, a place or an object and a day."""
    asks: dict[str, str]
    choose: str
    between: str
    """What stands between sentences."""
    english: bool = True

    def day(self, number: int) -> str:
        """The day as it is written."""
        when = FIRST_DAY + timedelta(days=number)
        return f"{when.day} {words.MONTHS[when.month - 1]} {when.year}" if self.english else f"{when.year}年{when.month}月{when.day}日"


ENGLISH = Language(
    words.PEOPLE, words.PLACES, words.OBJECTS, words.FORMER, words.FILLER,
    "The following is a chronicle. Answer the questions about it; people stay where they went last, and keep what was sent to them.\n\n",
    "On {day}, {a} came to the {b}.", "The {c} was with {a} on {day}.", "On {day}, {a} went to the {b}.", "On {day}, {a} sent the {c} to {b}.",
    "The {c} had once belonged to {former}.",
    ("On {day}, {a} thought of going to the {b}, but stayed.", "{a} asked for the {c} on {day}, and was refused.",
     "On {day}, {a} wrote a poem about the {b}."),
    {PERSON_PLACE: "Where was {about} on {day}?", OBJECT_HOLDER: "Who had the {about} on {day}?", OBJECT_PLACE: "Where was the {about} on {day}?",
     FORMER_PLACE: "Where, on {day}, was the object that had once belonged to {about}?"},
    "{question} Answer with one letter.\n{options}", " ",
)  # fmt: skip
CHINESE = Language(
    words.PEOPLE_ZH, words.PLACES_ZH, words.OBJECTS_ZH, words.FORMER_ZH, words.FILLER_ZH,
    "以下是一部编年史。请回答有关的问题：人去了哪里就留在哪里，东西送到谁手里就归谁保管。\n\n",
    "{day}，{a}来到{b}。", "{day}，{c}在{a}手里。", "{day}，{a}去了{b}。", "{day}，{a}把{c}送给了{b}。", "{c}从前属于{former}。",
    ("{day}，{a}本想去{b}，但没有动身。", "{day}，{a}想借{c}，没有借到。", "{day}，{a}写了一首关于{b}的诗。"),
    {PERSON_PLACE: "{day}，{about}在哪里？", OBJECT_HOLDER: "{day}，{about}在谁手里？", OBJECT_PLACE: "{day}，{about}在什么地方？",
     FORMER_PLACE: "{day}，从前属于{about}的东西在哪里？"},
    "{question}\n{options}", "", english=False,
)  # fmt: skip


def qa(length: int, turns: int, draws: Draws, count: Counter, language: Language = ENGLISH) -> tuple[str, tuple[Turn, ...]]:
    """Questions about a chronicle whose answers are a place or a person, with one to three supporting sentences."""
    context, asked, spans = chronicle("qa", length, turns, draws, count, language)
    return context, tuple(Turn(_ask(one, language), one.answer, evidence=where) for one, where in zip(asked, spans, strict=True))


def choice(length: int, turns: int, draws: Draws, count: Counter) -> tuple[str, tuple[Turn, ...]]:
    """As `qa`, with four options: the others are values that the same had at other times, where it had as many. Right letters are stratified."""
    context, asked, spans = chronicle("choice", length, turns, draws, count, ENGLISH)
    letters = [letter for _ in range(0, turns, len(LETTERS)) for letter in draws.shuffled(LETTERS)]
    made = []
    for one, where, letter in zip(asked, spans, letters, strict=False):
        options = draws.shuffled(one.rivals[: len(LETTERS) - 1])
        options.insert(LETTERS.index(letter), one.answer)
        listed = "\n".join(f"({name}) {option}" for name, option in zip(LETTERS, options, strict=True))
        made.append(Turn(ENGLISH.choose.format(question=_ask(one, ENGLISH), options=listed), letter, tuple(options), evidence=where))
    return context, tuple(made)


def chronicle(
    task: str, length: int, turns: int, draws: Draws, count: Counter, language: Language
) -> tuple[str, list[Question], list[tuple[Span, ...]]]:
    """A chronicle of `length` tokens, questions about it, and where the sentences are that answer them."""
    size = max(4, min(length // WORLD_TOKENS, len(language.people), 40))
    for _ in range(ATTEMPTS):
        page, world, places = _told(task, length, draws, count, language, size)
        asked = questions(world, turns, draws, KINDS)
        if asked is not None:
            return page.text, asked, [tuple(places[number] for number in sorted(one.support, key=lambda n: places[n])) for one in asked]
    raise too_short(task, length, f"no chronicle was found whose history allows {turns} different questions")


def _told(task: str, length: int, draws: Draws, count: Counter, language: Language, size: int) -> tuple[Page, World, dict[int, Span]]:
    """The page, its world, and where each event (and, below zero, each former owner) is told."""
    objects = draws.sample(language.objects, min(size, len(language.objects)))
    people, places = draws.sample(language.people, size), draws.sample(language.places, min(size + 2, len(language.places)))
    world = World(people, places, objects, draws.sample(language.former, len(objects)))
    day = world.begin(draws, 0)
    page, spans = Page(), {}
    page.add(language.head)
    sentences = [_sentence(event, language) for event in world.events]
    once = [language.once.format(c=thing, former=former) for thing, former in world.former.items()]
    left = length - count(language.head) - sum(count(one) for one in (*sentences, *once))
    if left < 0:
        raise too_short(task, length, f"a world of {size} people needs {length - left} tokens to begin")
    for number, sentence in enumerate(sentences):
        spans[number] = page.add(sentence)
        page.add(language.between)
    body: list[Told] = []
    while True:
        told: int | None = None
        if draws.chance(65):
            world.step(draws, day)
            told = len(world.events) - 1
            sentence = _sentence(world.events[-1], language)
            day += 1 + draws.chance(50)
        else:
            sentence = _aside(world, draws, day, language)
        left -= count(sentence)
        if left < 0:
            if told is not None:
                _untell(world)
            break
        body.append((sentence, told))
    if not body:
        raise too_short(task, length, f"a world of {size} people leaves no room for events")
    slots = draws.strata(len(body), len(once))
    for sentence, told in _woven(body, [(slot, (text, -1 - i)) for i, (slot, text) in enumerate(zip(slots, once, strict=True))]):
        where = page.add(sentence)
        page.add(language.between)
        if told is not None:
            spans[told] = where
    return page, world, spans


def _woven(body: list[Told], more: list[tuple[int, Told]]) -> list[Told]:
    """The body with what is `more`, each before the sentence of its slot."""
    at: dict[int, list[Told]] = {}
    for slot, told in more:
        at.setdefault(slot, []).append(told)
    return [told for slot, sentence in enumerate(body) for told in (*at.get(slot, ()), sentence)]


def _untell(world: World) -> None:
    """Takes the last event back: there was no room for its sentence."""
    event = world.events.pop()
    history = world.holder[event.thing] if event.thing else world.place[event.actor]
    for column in (history.days, history.values, history.events):
        column.pop()


def _sentence(event: Event, language: Language) -> str:
    form = {ARRIVES: language.arrives, HAS: language.has}.get(event.kind) or (language.sends if event.thing else language.goes)
    return form.format(day=language.day(event.day), a=event.actor, b=event.target, c=event.thing)


def _aside(world: World, draws: Draws, day: int, language: Language) -> str:
    if draws.chance(50):
        return draws.choice(language.filler)
    form = draws.choice(language.considered)
    return form.format(day=language.day(day), a=draws.choice(world.people), b=draws.choice(world.places), c=draws.choice(world.objects))


def _ask(question: Question, language: Language) -> str:
    return language.asks[question.kind].format(about=question.about, day=language.day(question.day))
