"""Attributes written when the rules were done; nothing was changed for their sake."""

from __future__ import annotations

from mnemos.bench.fact_families.family import DAYS, FRESH, NAMES, Family

FAMILIES: tuple[Family, ...] = (
    Family(
        "phone contract", "Which mobile network is {name} with?",
        ("I'm with {v} for my phone.", "My mobile network is {v}.", "My phone contract is with {v}."),
        ("I moved my phone contract to {v}.", "My mobile network is {v} now.", "My phone contract is with {v} now.", "I switched from {o} to {v}."),
        ("Vodafone", "Orange", "Telia", "Verizon", "O2"),
        part=FRESH,
    ),
    Family(
        "sleep", "How many hours does {name} sleep?",
        ("I sleep {v} hours a night.", "I get {v} hours of sleep a night.", "I usually sleep {v} hours."),
        ("I sleep {v} hours a night now.", "I get {v} hours of sleep these days.", "I'm down to {v} hours of sleep a night."),
        ("five", "six", "seven", "eight", "nine"),
        part=FRESH,
    ),
    Family(
        "hairdresser", "Who cuts {name}'s hair?",
        ("{v} cuts my hair.", "My hairdresser is {v}.", "I get my hair cut by {v}."),
        ("{v} cuts my hair now.", "My new hairdresser is {v}.", "My hairdresser is {v} these days.",
         "I changed hairdressers, and {v} cuts my hair now."),
        NAMES,
        part=FRESH,
    ),
    Family(
        "grade", "Which grade does {name} teach?",
        ("I teach {v} grade.", "I'm a {v} grade teacher.", "My class is {v} grade."),
        ("I teach {v} grade now.", "I was moved to {v} grade.", "I switched from {o} to {v} grade this year."),
        ("first", "second", "third", "fourth", "fifth"),
        part=FRESH,
    ),
    Family(
        "mother's care home", "Where does {name}'s mother live?",
        ("My mother lives at {v}.", "My mother is in a home called {v}.", "My mother has a room at {v}."),
        ("My mother moved to {v}.", "My mother lives at {v} now.", "We moved my mother from {o} to {v}."),
        ("Willow House", "Saint Joseph", "Hillside Manor", "Lakeview"),
        part=FRESH,
    ),
    Family(
        "garden", "Does {name} grow {v}?",
        ("I grow {v} in my garden.", "I grow {v}.", "I've got {v} in the garden."),
        ("I don't grow {v} anymore.", "I stopped growing {v}.", "I no longer have {v} in the garden.", "I gave up growing {v}."),
        ("tomatoes", "roses", "beans", "pumpkins", "lavender"),
        part=FRESH, kind="polarity",
    ),
    Family(
        "market stall", "On which day does {name} sell at the market?",
        ("I sell at the market on {v}s.", "My market day is {v}.", "I have a market stall on {v}s."),
        ("I sell at the market on {v}s now.", "My market day is {v} now.", "They moved my market day from {o} to {v}."),
        DAYS,
        part=FRESH,
    ),
    Family(
        "visa", "What kind of visa does {name} have?",
        ("I have a {v} visa.", "I'm here on a {v} visa.", "My visa is a {v} visa."),
        ("I have a {v} visa now.", "My visa was changed to a {v} visa.", "I switched from a {o} visa to a {v} visa."),
        ("student", "work", "tourist", "family"),
        part=FRESH,
    ),
    Family(
        "bank", "Which bank does {name} use?",
        ("I bank with {v}.", "My bank is {v}.", "My account is with {v}."),
        ("I bank with {v} now.", "My bank is {v} now.", "I moved my account from {o} to {v}.", "I closed my account at {o} and opened one at {v}."),
        ("Santander", "ING", "Barclays", "Chase", "Monzo"),
        part=FRESH,
    ),
    Family(
        "piano practice", "Does {name} take {v} lessons?",
        ("I take {v} lessons.", "I have {v} lessons every week.", "I'm taking {v} lessons."),
        ("I stopped taking {v} lessons.", "I don't take {v} lessons anymore.", "I quit my {v} lessons.", "I no longer have {v} lessons."),
        ("piano", "singing", "riding", "dance", "swimming"),
        part=FRESH, kind="polarity",
    ),
)  # fmt: skip
