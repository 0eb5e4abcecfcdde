"""A synthetic world of tools whose tasks have hidden preconditions; a scripted agent keeps to its plan unless guidance names what is missing.

ReMe (arXiv 2512.10696) measures on BFCL and AppWorld with language models; here an agent of rules takes their place, weak on purpose: it heeds
guidance in seven attempts of ten, reads no more than its beginning, guesses after errors, and copies what it reads.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from mnemos.text.trajectories.trajectory import Trajectory, checked

DOMAINS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "crm": {
        "update_address": ("Change the address of customer {id} to {note}", "Customer {id} moved, the new address is {note}"),
        "merge": ("Merge customer {id} into the account of {name}", "{id} is a duplicate, it belongs to {name} in the customer base"),
        "export": ("Export the customers who joined after {date}", "A list of everyone who became a customer since {date}, please"),
        "discount": ("Give customer {id} a discount of {num} percent", "Set the discount for {id} to {num} percent"),
    },
    "bank": {
        "transfer": ("Transfer {num} dollars to account {id}", "Send {num} dollars over to {id}"),
        "statement": ("Get the bank statement of account {id} for {date}", "What does the statement of {id} say for {date}"),
        "standing_order": ("Set up a standing order of {num} dollars for {name}", "Every month {name} should get {num} dollars from the account"),
        "close": ("Close the savings account {id} with the note {note}", "The savings account {id} is not needed any more, reason {note}"),
    },
    "flight": {
        "book": ("Book a flight on {date} for {name}", "{name} needs to fly on {date}, get a ticket"),
        "rebook": ("Move the flight booking {id} to {date}", "Booking {id} has to fly on {date} instead"),
        "baggage": ("Add {num} kilos of baggage to booking {id}", "The passenger on {id} brings {num} kilos more baggage"),
        "refund": ("Ask for a refund of flight booking {id} because of {note}", "Flight {id} was not taken, claim the money back, reason {note}"),
    },
    "hotel": {
        "reserve": ("Reserve a hotel room for {name} from {date}", "A room for {name}, arriving {date}"),
        "extend": ("Extend the stay {id} by {num} nights", "Guest {id} stays {num} nights longer"),
        "review": ("Write a review for stay {id} saying {note}", "Post {note} as a review of the stay {id}"),
        "invoice": ("Send the hotel invoice {id} to {name}", "{name} wants the invoice of the stay {id}"),
    },
    "calendar": {
        "invite": ("Invite {name} to the meeting {id}", "Meeting {id} should have {name} in it"),
        "move": ("Move the meeting {id} to {date}", "Put the meeting {id} on {date}"),
        "free": ("Find a free slot for {name} on {date}", "When is {name} free on {date}"),
        "remind": ("Set a reminder on {date} that says {note}", "Remind me of {note} on {date}"),
    },
    "drive": {
        "share": ("Share the file {path} with {name}", "{name} should see {path}"),
        "rename": ("Rename {path} to {note}", "The file {path} should be called {note}"),
        "compress": ("Compress {path} to at most {num} megabytes", "Make {path} smaller than {num} megabytes"),
        "restore": ("Restore the version of {path} from {date}", "Bring back {path} as it was on {date}"),
    },
    "shop": {
        "order": ("Order {num} pieces of article {id}", "Buy article {id}, {num} of them"),
        "return": ("Return the order {id} because {note}", "The order {id} goes back, it is {note}"),
        "restock": ("Restock article {id} with {num} pieces", "We need {num} more of {id} in the warehouse"),
        "price": ("Set the price of article {id} to {num} dollars", "Article {id} costs {num} dollars from now on"),
    },
    "desk": {
        "open": ("Open a support ticket for {name} about {note}", "{name} has a problem, {note}, make a ticket"),
        "assign": ("Assign the support ticket {id} to {name}", "{name} should take over ticket {id}"),
        "escalate": ("Escalate ticket {id} with the comment {note}", "Ticket {id} is urgent, comment {note}"),
        "report": ("Count the tickets solved since {date}", "How many tickets were solved after {date}"),
    },
    "fleet": {
        "route": ("Plan the route of truck {id} for {date}", "Where does truck {id} drive on {date}"),
        "refuel": ("Refuel truck {id} with {num} gallons", "Truck {id} needs {num} gallons of fuel"),
        "driver": ("Make {name} the driver of truck {id}", "{name} drives truck {id} from now on"),
        "service": ("Schedule a service of truck {id} on {date}", "Truck {id} has to see the mechanic on {date}"),
    },
    "clinic": {
        "appointment": ("Make an appointment for {name} on {date}", "{name} wants to see the doctor on {date}"),
        "prescribe": ("Prescribe {num} milligrams to patient {id}", "Patient {id} gets {num} milligrams"),
        "record": ("Add the finding {note} to the file of patient {id}", "Patient {id}, new finding {note}"),
        "transfer": ("Transfer patient {id} to the ward of {name}", "{name} takes over patient {id} on the ward"),
    },
    "library": {
        "lend": ("Lend the book {id} to {name}", "{name} borrows the book {id}"),
        "renew": ("Renew the loan {id} until {date}", "The loan {id} may go on until {date}"),
        "fine": ("Charge a fine of {num} dollars to reader {id}", "Reader {id} owes {num} dollars, book it"),
        "catalog": ("Catalogue the manuscript {path} as {note}", "Enter {path} into the catalogue under {note}"),
    },
    "music": {
        "playlist": ("Make a playlist called {note} with {num} songs", "{num} songs in a list named {note}"),
        "gift": ("Gift a subscription to {name} from {date}", "{name} gets a subscription as a present, starting {date}"),
        "volume": ("Set the speaker {id} to volume {num}", "Speaker {id} at {num}, please"),
        "upload": ("Upload the recording {path} for {name}", "Put {path} into the collection of {name}"),
    },
}  # fmt: skip
"""12 domains × 4 families of tasks, each in two wordings."""

KINDS: Mapping[str, str] = {
    "authenticate": "session is not authenticated",
    "convert_units": "amount rejected, unit mismatch",
    "load_all_pages": "result set incomplete",
    "acquire_lock": "resource busy, code 423",
    "request_approval": "precondition failed, code 412",
    "resolve_timezone": "ambiguous local time",
    "select_workspace": "no context, code 400",
}
"""What may have to come first, and the error without it; half of the errors do not say what is missing."""
AFTERWARDS = "confirm_change"
"""What may have to follow: without it nothing fails, and nothing has happened."""
SHARED, TICKET = "submit", "issue_ticket"
"""The last call of half of the families; what it demands once its contract has changed."""
TICKET_ERROR = "submission refused, code 428"
HARMFUL = frozenset({"convert_units", AFTERWARDS})
"""Calls that spoil a task that does not need them: an amount that is converted twice, an order that is placed twice."""
OTHERS = ("search_help", "list_recent", TICKET)
EASY_SHARE = 0.25
_NAMES = ("Anna Berg", "Luis Ortega", "Mei Chen", "Omar Haddad", "Ivy Stone", "Jonas Falk", "Priya Nair", "Tom Reed")
_NOTES = (
    "too late", "flight to Oslo", "patient file", "second invoice", "box of books", "new warehouse", "meeting notes", "for the bank", "ticket closed",
)  # fmt: skip
_PATHS = ("/home/anna/plan.pdf", "notes/trip.txt", "/srv/data/books.csv", "report.docx", "/var/log/app.log", "music/demo.mp3")

Rng = np.random.Generator


@dataclass(frozen=True)
class Family:
    """A kind of task: its plan as the agent knows it, and what it hides."""

    domain: str
    verb: str
    wordings: tuple[str, ...]
    plan: tuple[str, ...]
    before: Mapping[str, tuple[str, str]]
    """Call → (what has to come before it, the error without)."""
    after: str | None
    """What has to follow the plan."""

    @property
    def tools(self) -> tuple[str, ...]:
        near = tuple(f"{self.domain}_{verb}" for verb in DOMAINS[self.domain] if verb != self.verb)[:2]
        return (*self.plan, *KINDS, AFTERWARDS, *OTHERS, *near)


@dataclass(frozen=True)
class Task:
    family: Family
    text: str
    values: Mapping[str, Any]


@dataclass
class World:
    """48 families with what they hide drawn from a seed; `changed` says whether the shared tool's contract has changed."""

    rng: Rng
    changed: bool = False
    families: list[Family] = field(default_factory=list)

    def __post_init__(self) -> None:
        for domain, verbs in DOMAINS.items():
            for verb, wordings in verbs.items():
                main = f"{domain}_{verb}"
                plan = (f"{domain}_find", main, *((SHARED,) if self.rng.random() < 0.5 else ()))
                before: dict[str, tuple[str, str]] = {}
                after = None
                if self.rng.random() >= EASY_SHARE:
                    kind = str(self.rng.choice([*KINDS, AFTERWARDS]))
                    if kind == AFTERWARDS:
                        after = kind
                    else:
                        before[main] = kind, KINDS[kind]
                self.families.append(Family(domain, verb, wordings, plan, before, after))

    def task(self, rng: Rng, family: Family | None = None) -> Task:
        family = family if family is not None else self.families[int(rng.integers(len(self.families)))]
        values: dict[str, Any] = {
            "id": f"{'ABCDEFGH'[int(rng.integers(8))]}{int(rng.integers(100, 999))}", "num": int(rng.integers(2, 90)),
            "name": str(rng.choice(_NAMES)), "date": f"2025-{int(rng.integers(1, 13)):02d}-{int(rng.integers(1, 29)):02d}",
            "note": str(rng.choice(_NOTES)), "path": str(rng.choice(_PATHS)),
        }  # fmt: skip
        wording = family.wordings[int(rng.integers(len(family.wordings)))]
        used = {name: value for name, value in values.items() if f"{{{name}}}" in wording}
        text = wording.format(**{**used, **({"note": f"'{used['note']}'"} if "note" in used else {})})
        return Task(family, text, used)


class Episode:
    """One attempt as the tools see it. Unneeded harmful calls, calls with another task's values, and more calls than `most` spoil it."""

    def __init__(self, task: Task, changed: bool) -> None:
        self.task, self.changed = task, changed
        self.done: list[str] = []
        self.spoilt = False
        self.messages: list[dict[str, Any]] = [{"role": "user", "content": task.text}]
        self.most = len(task.family.plan) + 6

    def call(self, tool: str, arguments: Mapping[str, Any]) -> bool:
        """Make a call; gives whether it worked."""
        result, worked = self._result(tool, arguments)
        id = f"c{len(self.messages)}"
        function = {"name": tool, "arguments": orjson.dumps(dict(arguments)).decode()}
        self.messages.append({"role": "assistant", "content": "", "tool_calls": [{"id": id, "type": "function", "function": function}]})
        self.messages.append({"role": "tool", "tool_call_id": id, "content": result})
        if worked:
            self.done.append(tool)
        return worked

    def _result(self, tool: str, arguments: Mapping[str, Any]) -> tuple[str, bool]:
        family = self.task.family
        if sum(message["role"] == "tool" for message in self.messages) >= self.most:
            return "Error: out of calls", False
        if any(value not in self.task.values.values() for value in arguments.values()):
            return "Error: no such record", False
        needed = [need for need in (family.before.get(tool), (TICKET, TICKET_ERROR) if self.changed and tool == SHARED else None) if need]
        for what, error in needed:
            if what not in self.done:
                return f"Error: {error}", False
        if tool in HARMFUL and tool != family.after and tool not in {what for what, _ in family.before.values()}:
            self.spoilt = True
        return f"{tool} ok. Fields: state=open, owner=team, updated today, see the manual for what may follow.", True

    @property
    def reward(self) -> float:
        family = self.task.family
        plan = [tool for tool in self.done if tool in family.plan]
        in_order = list(dict.fromkeys(plan)) == list(family.plan)
        last = max((place for place, tool in enumerate(self.done) if tool == family.plan[-1]), default=-1)
        confirmed = family.after is None or family.after in self.done[last + 1 :]
        return float(in_order and confirmed and not self.spoilt)

    def trajectory(self) -> Trajectory:
        return checked(self.task.text, self.messages, self.reward, None, self.task.family.tools)


@dataclass(frozen=True)
class Agent:
    """The scripted agent."""

    heeds: float = 0.7
    """Share of the attempts in which it follows guidance at all."""
    reads: int = 2000
    """Characters of guidance that it reads."""
    repairs: int = 2
    """Times in an attempt that it tries another tool after an error, and then the call again."""
    wanders: float = 0.2
    """Share of the attempts in which it makes one call that nobody asked for."""
    copies: float = 0.5
    """Share of the values in guidance that it copies as they are instead of taking its own."""

    def attempt(self, world: World, task: Task, guidance: str, rng: Rng) -> Trajectory:
        plan: list[tuple[str, Mapping[str, Any]]] = [(tool, task.values) for tool in task.family.plan]
        if guidance and rng.random() < self.heeds:
            plan = self._followed(plan, guidance[: self.reads], task, rng)
        if rng.random() < self.wanders:
            named = {tool for tool, _ in plan}
            extra = [tool for tool in task.family.tools if tool not in named]
            plan.insert(int(rng.integers(len(plan) + 1)), (str(rng.choice(extra)), {}))
        episode = Episode(task, world.changed)
        repairs = 0
        for tool, arguments in plan:
            while not episode.call(tool, arguments):
                if repairs == self.repairs or rng.random() < 0.3:
                    return episode.trajectory()
                repairs += 1
                tried = {name for name, _ in plan}
                episode.call(str(rng.choice([other for other in task.family.tools if other not in tried])), {})
                arguments = task.values if tool in task.family.plan else {}
        return episode.trajectory()

    def _followed(
        self, plan: list[tuple[str, Mapping[str, Any]]], guidance: str, task: Task, rng: Rng
    ) -> list[tuple[str, Mapping[str, Any]]]:
        """The plan with the calls that guidance names and it lacks: each before the planned call that the guidance names next, or at the end.
        What speaks of none of its own calls (beside those that all families share) it does not take for its own."""
        out = list(plan)
        known = re.compile(r"\b(" + "|".join(sorted(map(re.escape, task.family.tools), key=len, reverse=True)) + r")\b(?:\(([^)]*)\))?")
        own = set(task.family.plan) - {SHARED} if SHARED in task.family.plan else set(task.family.plan)
        for block in re.split(r"(?m)^Experience \d+$", guidance):
            advice = block.split("What to do:", 1)[-1]
            said = [(match[1], match[2] or "") for match in known.finditer(advice)]
            if not own & {tool for tool, _ in said} and not (SHARED in task.family.plan and any(tool == SHARED for tool, _ in said)):
                continue
            for place, (tool, inside) in enumerate(said):
                if any(tool == name for name, _ in out):
                    continue
                anchor = next((later for later, _ in said[place + 1 :] if any(later == name for name, _ in plan)), None)
                at = len(out) if anchor is None else next(i for i, (name, _) in enumerate(out) if name == anchor)
                out.insert(at, (tool, self._copied(inside, task, rng)))
        return out

    def _copied(self, inside: str, task: Task, rng: Rng) -> Mapping[str, Any]:
        """The arguments of a call that was read: now and then the values that stand there."""
        values = re.findall(r'[=:]\s*"?([^",}]+)"?', inside)
        foreign = [value for value in values if not value.startswith("<") and value not in map(str, task.values.values())]
        return {"value": foreign[0]} if foreign and rng.random() < self.copies else {}


Attempt = Callable[[str], Trajectory]


def sampled(world: World, agent: Agent, tasks: Sequence[Task], runs: int, rng: Rng) -> list[list[Trajectory]]:
    """`runs` attempts at each task without guidance: what the paper trains on."""
    return [[agent.attempt(world, task, "", rng) for _ in range(runs)] for task in tasks]
