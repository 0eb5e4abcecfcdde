"""A small world of people who move and objects that are sent on, day by day, with an engine that knows its state on every day.

Questions ask for the state on a day on which nothing happened to what they ask about, so that the sentence that answers shares no date with the
question, and many sentences share its names.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mnemos.bench.scbench.draws import Draws

ARRIVES, HAS, GOES, SENDS = "arrives", "has", "goes", "sends"
PERSON_PLACE, OBJECT_HOLDER, OBJECT_PLACE, FORMER_PLACE = "person's place", "object's holder", "object's place", "former owner's object's place"
KINDS = (PERSON_PLACE, OBJECT_HOLDER, OBJECT_PLACE, FORMER_PLACE)
"""What is asked: of one, one, two and three supporting sentences."""


@dataclass(frozen=True, slots=True)
class Event:
    """What a sentence tells. `actor` arrives at or goes to `target` (a place), has `thing` at first, or sends `thing` to `target` (a person)."""

    kind: str
    day: int
    actor: str
    target: str = ""
    thing: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """What was the state on `day`? `about` is a person, an object, or who an object once belonged to."""

    kind: str
    about: str
    day: int
    answer: str
    support: tuple[int, ...]
    """Numbers of the events that answer it; -1 - i is the sentence about the former owner of object i."""
    rivals: tuple[str, ...]
    """Other values that the same was at other times, then other values of the world."""


@dataclass
class History:
    """The values of one thing over time."""

    days: list[int] = field(default_factory=list)
    values: list[str] = field(default_factory=list)
    events: list[int] = field(default_factory=list)

    def add(self, day: int, value: str, event: int) -> None:
        self.days.append(day)
        self.values.append(value)
        self.events.append(event)

    def at(self, day: int) -> int | None:
        """The entry that holds on `day`; None before the first one, and on a day on which it changes."""
        i = bisect_right(self.days, day) - 1
        return None if i < 0 or self.days[i] == day else i


class World:
    """Events in the order of their days, and the state that they make."""

    def __init__(self, people: Sequence[str], places: Sequence[str], objects: Sequence[str], former: Sequence[str]) -> None:
        self.people, self.places, self.objects = list(people), list(places), list(objects)
        self.former = dict(zip(objects, former, strict=False))
        """Object: who it once belonged to."""
        self.events: list[Event] = []
        self.place = {person: History() for person in people}
        self.holder = {thing: History() for thing in objects}

    def tell(self, event: Event) -> int:
        """Appends an event, and changes the state; gives its number."""
        number = len(self.events)
        self.events.append(event)
        if event.kind in (ARRIVES, GOES):
            self.place[event.actor].add(event.day, event.target, number)
        else:
            self.holder[event.thing].add(event.day, event.target if event.kind == SENDS else event.actor, number)
        return number

    def begin(self, draws: Draws, day: int) -> int:
        """Everybody arrives, every object has its first holder; gives the day after. Nothing happens twice on one day to one thing."""
        for person in self.people:
            self.tell(Event(ARRIVES, day, person, draws.choice(self.places)))
            day += 1
        for thing in self.objects:
            self.tell(Event(HAS, day, draws.choice(self.people), thing=thing))
            day += 1
        return day

    def step(self, draws: Draws, day: int) -> None:
        """One more event: somebody goes elsewhere, or an object is sent on."""
        if draws.chance(60):
            person = draws.choice(self.people)
            here = self.place[person].values[-1]
            self.tell(Event(GOES, day, person, draws.choice([place for place in self.places if place != here])))
        else:
            thing = draws.choice(self.objects)
            holder = self.holder[thing].values[-1]
            self.tell(Event(SENDS, day, holder, draws.choice([person for person in self.people if person != holder]), thing))

    def ask(self, kind: str, about: str, day: int) -> Question | None:
        """The question, answered; None where the state on that day is not told, or changes on it."""
        if kind == PERSON_PLACE:
            return self._asked(kind, about, day, self.place[about], (), self.places)
        support: tuple[int, ...] = ()
        thing = about
        if kind == FORMER_PLACE:
            thing = next((thing for thing, whose in self.former.items() if whose == about), "")
            if not thing:
                return None
            support = (-1 - self.objects.index(thing),)
        history = self.holder[thing]
        if kind == OBJECT_HOLDER:
            return self._asked(kind, about, day, history, support, self.people)
        entry = history.at(day)
        if entry is None:
            return None
        return self._asked(kind, about, day, self.place[history.values[entry]], (*support, history.events[entry]), self.places)

    @staticmethod
    def _asked(kind: str, about: str, day: int, history: History, support: tuple[int, ...], values: Sequence[str]) -> Question | None:
        entry = history.at(day)
        if entry is None:
            return None
        answer = history.values[entry]
        rivals = [value for value in dict.fromkeys([*history.values, *values]) if value != answer]
        return Question(kind, about, day, answer, (*support, history.events[entry]), tuple(rivals))


def questions(world: World, turns: int, draws: Draws, kinds: Sequence[str] = KINDS) -> list[Question] | None:
    """Different questions, their newest supporting event in different parts of the world's history, the parts in a random order; None where the
    history is too short for them."""
    last = world.events[-1].day
    first = len(world.people) + len(world.objects)
    out: list[Question] = []
    for turn, start in enumerate(draws.strata(max(1, len(world.events) - first), turns)):
        kind = kinds[turn % len(kinds)]
        found = _near(world, kind, first + start, last, draws, {(asked.about, asked.day) for asked in out})
        if found is None:
            return None
        out.append(found)
    return out


def _near(world: World, kind: str, start: int, last: int, draws: Draws, taken: set[tuple[str, int]]) -> Question | None:
    """A question of that kind whose day comes shortly after an event that decides it, of the events from number `start` on, then of those before."""
    fits: Callable[[Event], bool] = (lambda event: event.kind == GOES) if kind == PERSON_PLACE else lambda event: event.kind == SENDS
    order = [*range(start, len(world.events)), *range(start - 1, -1, -1)]
    for number in order[:400]:
        event = world.events[number]
        if not fits(event):
            continue
        about = event.actor if kind == PERSON_PLACE else world.former[event.thing] if kind == FORMER_PLACE else event.thing
        for day in draws.shuffled(range(event.day + 1, min(event.day + 6, last + 1))):
            found = world.ask(kind, about, day)
            if found is not None and number in found.support and (about, day) not in taken:
                return found
    return None
