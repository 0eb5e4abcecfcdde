"""Attributes that were at hand while `mnemos.text.agreement` was made."""

from __future__ import annotations

from mnemos.bench.fact_families.family import CITIES, COMPANIES, DAYS, JOBS, NAMES, Family

FAMILIES: tuple[Family, ...] = (
    Family(
        "home", "Where does {name} live?",
        ("I live in {v}.", "I'm living in {v} with my two dogs.", "My home is in {v}.", "I've been living in {v} for a few years.",
         "We live in {v}."),
        ("I moved to {v} last month.", "I live in {v} now.", "Big news: we relocated from {o} to {v}!", "I'm based in {v} these days.",
         "I just moved into a flat in {v}.", "I live in {v}."),
        CITIES,
    ),
    Family(
        "employer", "Where does {name} work?",
        ("I work at {v}.", "I work for {v}.", "I'm employed at {v}.", "I've been working at {v} since college.", "My employer is {v}."),
        ("I started a new job at {v}.", "I work at {v} now.", "I left {o} and joined {v}.", "I now work for {v}.", "I got hired by {v} in spring."),
        COMPANIES,
    ),
    Family(
        "job", "What is {name}'s job?",
        ("I'm a {v}.", "I work as a {v}.", "My job is {v}.", "I am a {v} by profession."),
        ("I switched careers and I'm a {v} now.", "I work as a {v} these days.", "I became a {v}.", "I now work as a {v}."),
        JOBS,
    ),
    Family(
        "favourite colour", "What is {name}'s favorite color?",
        ("My favorite color is {v}.", "{V} is my favorite color.", "My favourite colour is {v}, by the way."),
        ("My favorite color is {v} now.", "My favorite color changed from {o} to {v}.", "These days my favorite color is {v}.",
         "{V} is my new favorite color."),
        ("blue", "green", "purple", "orange", "teal", "red", "yellow", "pink"),
    ),
    Family(
        "phone number", "What is {name}'s phone number?",
        ("My phone number is {v}.", "You can reach me at my phone number, {v}.", "Phone number: {v}", "My mobile number is {v}."),
        ("I changed my phone number to {v}.", "My new phone number is {v}.", "My phone number is now {v}.", "My phone number changed to {v}."),
        ("555-0134", "555-0178", "555-0199", "555-0122", "555-0145", "555-0160", "555-0187"),
    ),
    Family(
        "commute", "How does {name} get to work?",
        ("I take the {v} to work.", "I usually commute by {v}.", "I go to work by {v}.", "My commute is by {v}."),
        ("I take the {v} to work now.", "I commute by {v} these days.", "I switched from the {o} to the {v} for my commute.",
         "Nowadays I go to work by {v}."),
        ("bus", "train", "tram", "ferry", "bike", "subway", "scooter"),
    ),
    Family(
        "waking time", "When does {name} wake up?",
        ("I wake up at {v}.", "I usually get up at {v}.", "I always wake up at {v} on workdays.", "My alarm is set to {v}."),
        ("I wake up at {v} now.", "I've started waking up at {v}.", "Nowadays I get up at {v}.", "I changed my alarm from {o} to {v}."),
        ("5:30 am", "6 am", "6:45 am", "7 am", "7:30 am", "8 am", "9 am"),
    ),
    Family(
        "manager", "Who is {name}'s manager?",
        ("My manager is {v}.", "{v} is my manager.", "My manager's name is {v}.", "My manager at work is called {v}."),
        ("My new manager is {v}.", "{v} is my manager now.", "My manager is now {v}.", "My manager changed: it's {v} now."),
        NAMES,
    ),
    Family(
        "rent", "How much rent does {name} pay?",
        ("My rent is {v} a month.", "I pay {v} in rent.", "The rent for my apartment is {v}.", "Our rent is {v} per month."),
        ("My rent went up to {v}.", "My rent is now {v} a month.", "The landlord raised my rent to {v}.", "I pay {v} in rent now."),
        ("$900", "$1,050", "$1,200", "$1,350", "$1,480", "$1,600", "$2,100"),
    ),
    Family(
        "team size", "How many people are in the team that {name} leads?",
        ("I lead a team of {v} people.", "I manage a team of {v} people.", "My team has {v} people."),
        ("I now lead a team of {v} people.", "I manage a team of {v} people now.", "My team has grown to {v} people.", "My team has {v} people now."),
        ("three", "four", "five", "six", "eight", "nine", "twelve", "15"),
    ),
    Family(
        "collection", "How many vinyl records does {name} have?",
        ("I have {v} vinyl records in my collection.", "I own {v} vinyl records.", "My collection has {v} vinyl records so far."),
        ("I have {v} vinyl records in my collection now.", "I now own {v} vinyl records.", "My collection is up to {v} vinyl records."),
        ("12", "18", "25", "31", "40", "57", "64"),
    ),
    Family(
        "diet", "What is {name}'s diet?",
        ("I'm {v}.", "I follow a {v} diet.", "I've been {v} for years.", "My diet is {v}."),
        ("I'm {v} now.", "I became {v} in January.", "I went {v}.", "I switched from a {o} diet to a {v} one."),
        ("vegan", "vegetarian", "pescatarian", "keto", "paleo"),
    ),
    Family(
        "relationship", "What is {name}'s relationship status?",
        ("I'm {v}.", "I am currently {v}."),
        ("I'm {v} now.", "As of last week I'm {v}.", "I am {v} these days."),
        ("single", "engaged", "married"),
    ),
    Family(
        "likes", "Does {name} like {v}?",
        ("I like {v}.", "I love {v}.", "I really enjoy {v}.", "I'm a big fan of {v}."),
        ("I don't like {v} anymore.", "I can't stand {v} these days.", "I hate {v} now.", "I no longer enjoy {v}.", "I stopped liking {v}."),
        ("sushi", "horror movies", "jazz", "camping", "yoga", "karaoke", "olives"),
        kind="polarity",
    ),
    Family(
        "smoking", "Does {name} smoke?",
        ("I smoke {v}.", "I'm smoking {v}."),
        ("I quit smoking.", "I don't smoke anymore.", "I stopped smoking in May.", "I no longer smoke {v}.", "I gave up {v}."),
        ("cigarettes", "cigars"),
        choices=("smok", "cigar"), kind="polarity",
    ),
    Family(
        "allergy", "Is {name} allergic to {v}?",
        ("I'm allergic to {v}.", "I have an allergy to {v}.", "I am badly allergic to {v}."),
        ("I'm not allergic to {v} anymore.", "It turns out I'm not allergic to {v}.", "I no longer have an allergy to {v}."),
        ("peanuts", "cats", "pollen", "shellfish", "penicillin"),
        kind="polarity",
    ),
    Family(
        "class day", "On which day is {name}'s pottery class?",
        ("My pottery class is on {v}s.", "I have a pottery class on {v}s.", "My pottery class takes place every {v}."),
        ("My pottery class moved to {v}s.", "My pottery class is on {v}s now.", "They moved my pottery class from {o}s to {v}s.",
         "I have my pottery class on {v}s now."),
        DAYS,
    ),
    Family(
        "meeting time", "When is {name}'s meeting with the bank?",
        ("My meeting with the bank is on {v}.", "I have a meeting with the bank on {v}.", "The meeting with the bank is scheduled for {v}."),
        ("The meeting with the bank was moved to {v}.", "My meeting with the bank is on {v} instead.", "The bank rescheduled our meeting to {v}.",
         "My meeting with the bank got pushed to {v}."),
        DAYS,
        soon=True,
    ),
    Family(
        "browser", "Which browser does {name} use?",
        ("I use {v} as my browser.", "My browser is {v}.", "I use {v} for browsing."),
        ("I switched from {o} to {v}.", "I use {v} as my browser now.", "My browser is {v} now."),
        ("Chrome", "Firefox", "Safari", "Brave", "Vivaldi", "Edge"),
    ),
    Family(
        "car", "What car does {name} drive?",
        ("I drive a {v}.", "My car is a {v}.", "I own a {v}."),
        ("I sold my {o} and bought a {v}.", "I drive a {v} now.", "My car is a {v} now.", "I traded my {o} for a {v}."),
        ("Toyota Corolla", "Ford Focus", "Tesla", "Volvo", "Fiat Panda", "Mazda", "Jeep"),
    ),
    Family(
        "drink preference", "Does {name} prefer tea or coffee?",
        ("I prefer {v} over {o}.", "I prefer {v} to {o}.", "I'd say that I like {v} more than {o}."),
        ("I prefer {v} to {o} now.", "These days I prefer {v} over {o}.", "I now prefer {v}."),
        ("tea", "coffee"),
    ),
    Family(
        "seat", "Which seats does {name} prefer on planes?",
        ("I prefer {v} seats on planes.", "I always book {v} seats.", "On flights I prefer {v} seats."),
        ("I prefer {v} seats on planes now.", "Nowadays I prefer {v} seats on flights.", "I switched to {v} seats."),
        ("window", "aisle"),
    ),
)  # fmt: skip
