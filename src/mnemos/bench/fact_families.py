"""Facts about people that change: for each attribute the ways to state it, the ways to say that it changed, values, and a question.

`{v}` is the value (`{V}` with a capital), `{o}` the value before. The parts say how far they can be trusted as a test of `mnemos.text.agreement`:
"made" was at hand while it was made; "held" was written apart, measured once, and then used for some rules more; "fresh" was written at the end, and
nothing was changed for its sake, so that it tells what happens with attributes that nobody thought of.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MADE, HELD, FRESH = "made", "held", "fresh"
PARTS = (MADE, HELD, FRESH)
_CITIES = ("Lisbon", "Berlin", "Austin", "Kyoto", "Toronto", "Oslo", "Denver", "Prague", "Lyon", "Cape Town", "Seattle", "Dublin", "Porto", "Osaka")
_COMPANIES = ("Siemens", "Google", "Nestle", "a small bakery", "Airbus", "Ikea", "Deloitte", "Spotify", "the city council", "Bosch", "Pfizer", "Zara")
_JOBS = (
    "nurse", "software engineer", "teacher", "pastry chef", "accountant", "tour guide", "journalist", "data analyst", "carpenter", "paramedic",
    "project manager", "librarian",
)  # fmt: skip
_NAMES = ("Marta", "Kevin", "Yusuf", "Ingrid", "Paolo", "Deepa", "Carlos", "Helen", "Takumi", "Fiona", "Omar", "Greta")
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")


@dataclass(frozen=True, slots=True)
class Family:
    """One attribute."""

    name: str
    question: str
    """Of `{name}`, in the third person."""
    state: tuple[str, ...]
    """First-person statements of the value."""
    change: tuple[str, ...]
    """Later statements: plain ones, and ones that say that it changed."""
    values: tuple[str, ...]
    part: str = MADE
    soon: bool = False
    """Whether the change comes within days, as it does with appointments."""
    choices: tuple[str, ...] = ()
    """How answers name the values, where they do not name them in full."""
    kind: str = "value"
    """`value`: one value after another. `polarity`: `state` affirms of a value what `change` denies; the answer is the newer statement."""


FAMILIES: tuple[Family, ...] = (
    Family(
        "home", "Where does {name} live?",
        ("I live in {v}.", "I'm living in {v} with my two dogs.", "My home is in {v}.", "I've been living in {v} for a few years.",
         "We live in {v}."),
        ("I moved to {v} last month.", "I live in {v} now.", "Big news: we relocated from {o} to {v}!", "I'm based in {v} these days.",
         "I just moved into a flat in {v}.", "I live in {v}."),
        _CITIES,
    ),
    Family(
        "employer", "Where does {name} work?",
        ("I work at {v}.", "I work for {v}.", "I'm employed at {v}.", "I've been working at {v} since college.", "My employer is {v}."),
        ("I started a new job at {v}.", "I work at {v} now.", "I left {o} and joined {v}.", "I now work for {v}.", "I got hired by {v} in spring."),
        _COMPANIES,
    ),
    Family(
        "job", "What is {name}'s job?",
        ("I'm a {v}.", "I work as a {v}.", "My job is {v}.", "I am a {v} by profession."),
        ("I switched careers and I'm a {v} now.", "I work as a {v} these days.", "I became a {v}.", "I now work as a {v}."),
        _JOBS,
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
        _NAMES,
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
        _DAYS,
    ),
    Family(
        "meeting time", "When is {name}'s meeting with the bank?",
        ("My meeting with the bank is on {v}.", "I have a meeting with the bank on {v}.", "The meeting with the bank is scheduled for {v}."),
        ("The meeting with the bank was moved to {v}.", "My meeting with the bank is on {v} instead.", "The bank rescheduled our meeting to {v}.",
         "My meeting with the bank got pushed to {v}."),
        _DAYS,
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
    # ---- held back ----
    Family(
        "wifi password", "What is the wifi password at {name}'s place?",
        ("The wifi password at my place is {v}.", "Our wifi password is {v}.", "My wifi password: {v}"),
        ("We changed the wifi password to {v}.", "Our wifi password is {v} now.", "The new wifi password at my place is {v}.",
         "The wifi password was changed to {v}."),
        ("sunflower42", "blue-kettle", "Rosinante7", "tiger1989", "oak-and-ash", "moonbase3"),
        part=HELD,
    ),
    Family(
        "pet name", "What is the name of {name}'s dog?",
        ("My dog's name is {v}.", "My dog is called {v}.", "I have a dog named {v}."),
        ("We renamed our dog to {v}.", "My dog's name is {v} now.", "My dog is now called {v}."),
        ("Biscuit", "Rex", "Luna", "Pepper", "Olive", "Bruno", "Ziggy"),
        part=HELD,
    ),
    Family(
        "dentist", "Who is {name}'s dentist?",
        ("My dentist is Dr. {v}.", "Dr. {v} is my dentist.", "I see Dr. {v} for my teeth; she is my dentist."),
        ("My new dentist is Dr. {v}.", "I switched dentists; my dentist is Dr. {v} now.", "Dr. {v} is my dentist now."),
        ("Alvarez", "Brandt", "Chen", "Duarte", "Eriksen", "Fontaine"),
        part=HELD,
    ),
    Family(
        "gym", "Which gym does {name} go to?",
        ("I go to the gym {v}.", "My gym is {v}.", "I'm a member of {v}, a gym near my office."),
        ("I changed gyms: my gym is {v} now.", "I switched from {o} to {v}.", "My new gym is {v}.", "I left {o} and joined {v}."),
        ("FitZone", "IronHouse", "Basecamp", "PureGym", "Kinetic", "BodyLab"),
        part=HELD,
    ),
    Family(
        "age", "How old is {name}?",
        ("I'm {v} years old.", "I am {v}.", "My age is {v}."),
        ("I just turned {v}.", "I'm {v} years old now.", "I am now {v}."),
        ("29", "30", "31", "34", "42", "57"),
        part=HELD,
    ),
    Family(
        "reading", "On which page of Middlemarch is {name}?",
        ("I'm on page {v} of Middlemarch.", "I have read {v} pages of Middlemarch.", "I'm currently on page {v} of Middlemarch."),
        ("I'm now on page {v} of Middlemarch.", "I have read {v} pages of Middlemarch so far.", "I've got to page {v} of Middlemarch."),
        ("45", "80", "120", "210", "300", "415"),
        part=HELD,
    ),
    Family(
        "running", "How far does {name} run every morning?",
        ("I run {v} every morning.", "Every morning I run {v}.", "My morning run is {v}."),
        ("I run {v} every morning now.", "I've increased my morning run to {v}.", "I'm up to {v} every morning on my runs."),
        ("3 km", "4 km", "5 km", "6 km", "8 km", "10 km"),
        part=HELD,
    ),
    Family(
        "subject", "What does {name} study?",
        ("I study {v}.", "I'm majoring in {v}.", "My major is {v}.", "I'm a {v} student."),
        ("I changed my major to {v}.", "I switched from {o} to {v}.", "I'm majoring in {v} now.", "My major is {v} now."),
        ("biology", "economics", "history", "physics", "philosophy", "architecture", "law"),
        part=HELD,
    ),
    Family(
        "address", "What is {name}'s address?",
        ("My address is {v}.", "I live at {v}.", "Address: {v}"),
        ("My new address is {v}.", "My address changed to {v}.", "We moved to {v}.", "I live at {v} now."),
        ("14 Elm Street", "220 Harbor Road", "9 Mill Lane", "71 Station Road", "350 Park Avenue", "6 Rose Court"),
        part=HELD,
    ),
    Family(
        "email", "What is {name}'s email address?",
        ("My email is {v}.", "My email address is {v}.", "You can write to me: my email is {v}."),
        ("My new email address is {v}.", "I changed my email to {v}.", "Please use my new email, {v}.", "My email is {v} now."),
        ("ana@example.org", "m.k@example.com", "hello@example.net", "work@example.org", "post@example.com"),
        part=HELD,
    ),
    Family(
        "favourite food", "What is {name}'s favorite food?",
        ("My favorite food is {v}.", "{V} is my favorite food.", "Nothing beats {v}, it's my favorite food."),
        ("My favorite food is {v} now.", "My new favorite food is {v}.", "My favorite food changed from {o} to {v}.",
         "Lately {v} is my favorite food."),
        ("ramen", "pizza", "tacos", "lasagna", "falafel", "dumplings", "paella"),
        part=HELD,
    ),
    Family(
        "flight", "When does {name}'s flight to Rome leave?",
        ("My flight to Rome leaves at {v}.", "My flight to Rome is at {v}.", "I have a flight to Rome at {v}."),
        ("My flight to Rome was delayed to {v}.", "My flight to Rome now leaves at {v}.", "The airline moved my flight to Rome from {o} to {v}.",
         "My flight to Rome leaves at {v} instead."),
        ("6:15 am", "8:40 am", "11:05 am", "1:30 pm", "4:20 pm", "9:50 pm"),
        part=HELD, soon=True,
    ),
    Family(
        "deadline", "When is the deadline of {name}'s thesis?",
        ("The deadline for my thesis is {v}.", "My thesis is due on {v}.", "My thesis deadline is {v}."),
        ("The deadline for my thesis was extended to {v}.", "My thesis deadline is now {v}.", "My thesis is now due on {v}.",
         "They moved my thesis deadline to {v}."),
        ("March 3", "April 15", "May 20", "June 1", "June 30", "September 12"),
        part=HELD, soon=True,
    ),
    Family(
        "screen time", "How many hours a day does {name} practice the violin?",
        ("I practice the violin {v} a day.", "I practise the violin for {v} every day.", "I spend {v} a day on the violin."),
        ("I practice the violin {v} a day now.", "I've cut down to {v} a day of violin practice.", "I now spend {v} a day on the violin."),
        ("30 minutes", "one hour", "two hours", "three hours", "90 minutes"),
        part=HELD,
    ),
    Family(
        "car ownership", "Does {name} own a {v}?",
        ("I have a {v}.", "I own a {v}.", "I've got a {v} at home."),
        ("I sold my {v}.", "I don't have a {v} anymore.", "I gave away my {v}.", "I no longer own a {v}."),
        ("motorcycle", "piano", "canoe", "telescope", "drone", "sewing machine"),
        part=HELD, kind="polarity",
    ),
    Family(
        "hobby", "Does {name} play {v}?",
        ("I play {v}.", "I play {v} every weekend.", "I'm playing {v} in a club."),
        ("I stopped playing {v}.", "I don't play {v} anymore.", "I gave up {v}.", "I quit {v}.", "I no longer play {v}."),
        ("tennis", "chess", "the guitar", "golf", "volleyball", "squash"),
        part=HELD, kind="polarity",
    ),
    Family(
        "coffee", "How many cups of coffee does {name} drink a day?",
        ("I drink {v} cups of coffee a day.", "I have {v} cups of coffee every day."),
        ("I cut back to {v} cups of coffee a day.", "I drink {v} cups of coffee a day now.", "I'm down to {v} cups of coffee a day."),
        ("two", "three", "four", "five", "six"),
        part=HELD,
    ),
    Family(
        "bedtime", "When does {name} go to bed?",
        ("I go to bed at {v}.", "My bedtime is {v}.", "I usually go to sleep around {v}."),
        ("I go to bed at {v} now.", "I've started going to bed at {v}.", "My bedtime is {v} these days."),
        ("9 pm", "9:30 pm", "10 pm", "11 pm", "midnight", "1 am"),
        part=HELD,
    ),
    Family(
        "sister's home", "Where does {name}'s sister live?",
        ("My sister lives in {v}.", "My sister's home is in {v}.", "My sister is living in {v}."),
        ("My sister moved to {v}.", "My sister lives in {v} now.", "My sister relocated from {o} to {v}."),
        _CITIES,
        part=HELD,
    ),
    Family(
        "language", "Which language is {name} learning?",
        ("I'm learning {v}.", "I'm currently learning {v}.", "I take {v} lessons."),
        ("I stopped learning {o} and started learning {v}.", "I switched from {o} to {v}.", "I'm learning {v} now instead of {o}."),
        ("Spanish", "Korean", "Italian", "Arabic", "Finnish", "Polish"),
        part=HELD,
    ),
    Family(
        "shift", "Which shift does {name} work?",
        ("I work the {v} shift.", "I'm on the {v} shift.", "My shift is the {v} shift."),
        ("I work the {v} shift now.", "I was moved to the {v} shift.", "I switched from the {o} shift to the {v} shift.",
         "I'm on the {v} shift now."),
        ("morning", "night", "afternoon", "weekend"),
        part=HELD,
    ),
    Family(
        "shoe size", "What is {name}'s shoe size?",
        ("My shoe size is {v}.", "I wear size {v} shoes.", "I take a size {v} in shoes."),
        ("My shoe size is {v} now.", "I wear size {v} shoes now.", "My feet grew, so my shoe size is {v} these days."),
        ("37", "38", "40", "42", "44", "45"),
        part=HELD,
    ),
    Family(
        "insurance", "Who is {name}'s health insurance provider?",
        ("My health insurance is with {v}.", "I'm insured with {v}.", "My insurance provider is {v}."),
        ("I switched my health insurance to {v}.", "My insurance provider is {v} now.", "I left {o} and I'm insured with {v} now.",
         "My health insurance is now with {v}."),
        ("Aetna", "Cigna", "Allianz", "Barmer", "Kaiser", "Humana"),
        part=HELD,
    ),
    Family(
        "nickname", "What do friends call {name}?",
        ("My friends call me {v}.", "My nickname is {v}.", "Everybody calls me {v}."),
        ("My friends call me {v} now.", "I go by {v} these days.", "My nickname changed from {o} to {v}.", "My new nickname is {v}."),
        ("Bear", "Sunny", "Doc", "Pixie", "Ace", "Moose"),
        part=HELD,
    ),
    Family(
        "hair", "What color is {name}'s hair?",
        ("My hair is {v}.", "I have {v} hair.", "I've got {v} hair."),
        ("I dyed my hair {v}.", "My hair is {v} now.", "I have {v} hair now.", "I changed my hair from {o} to {v}."),
        ("blond", "brown", "red", "black", "pink", "purple"),
        part=HELD,
    ),
    Family(
        "current book", "Which book is {name} reading?",
        ("I'm reading {v}.", "I'm currently reading {v}.", "The book that I'm reading is {v}."),
        ("I finished {o} and now I'm reading {v}.", "I'm reading {v} now.", "I gave up on {o} and started {v}."),
        ("Dune", "Emma", "Beloved", "Ulysses", "Persuasion", "Siddhartha"),
        part=HELD,
    ),
    Family(
        "dosage", "What dose of his blood pressure pill does {name} take?",
        ("I take {v} of lisinopril a day.", "My dose of lisinopril is {v}.", "The doctor put me on {v} of lisinopril."),
        ("My doctor raised my dose of lisinopril to {v}.", "I take {v} of lisinopril a day now.", "My dose of lisinopril is now {v}.",
         "My lisinopril was changed from {o} to {v}."),
        ("5 mg", "10 mg", "20 mg", "30 mg", "40 mg"),
        part=HELD,
    ),
    Family(
        "steps", "What is {name}'s daily step goal?",
        ("My daily step goal is {v}.", "I aim for {v} steps a day.", "I try to walk {v} steps every day."),
        ("I raised my daily step goal to {v}.", "My daily step goal is {v} now.", "I now aim for {v} steps a day."),
        ("6,000", "7,500", "8,000", "10,000", "12,000"),
        part=HELD,
    ),
    Family(
        "laptop", "What laptop does {name} use?",
        ("I use a {v} for work.", "My laptop is a {v}.", "I work on a {v}."),
        ("I replaced my {o} with a {v}.", "My laptop is a {v} now.", "I upgraded from my {o} to a {v}.", "My new laptop is a {v}."),
        ("ThinkPad", "MacBook", "Dell XPS", "Framework", "Chromebook", "Surface"),
        part=HELD,
    ),
    Family(
        "therapy", "When does {name} see the therapist?",
        ("I see my therapist on {v}s.", "My therapy session is on {v}s.", "I have therapy every {v}."),
        ("I see my therapist on {v}s now.", "My therapy session moved from {o}s to {v}s.", "I have therapy on {v}s now instead of {o}s."),
        _DAYS,
        part=HELD,
    ),
    Family(
        "volunteering", "Where does {name} volunteer?",
        ("I volunteer at {v}.", "I do volunteer work at {v}.", "I've been volunteering at {v}."),
        ("I volunteer at {v} now.", "I stopped volunteering at {o} and started at {v}.", "I moved from {o} to {v} for my volunteering."),
        ("the food bank", "the animal shelter", "the library", "the hospice", "the Red Cross"),
        part=HELD,
    ),
    Family(
        "son's school", "Which school does {name}'s son go to?",
        ("My son goes to {v}.", "My son attends {v}.", "My son is a student at {v}."),
        ("My son goes to {v} now.", "My son changed schools; he goes to {v} now.", "My son transferred from {o} to {v}."),
        ("Oak Hill Elementary", "Riverside Academy", "Saint Anne School", "Lincoln Primary", "Maple Grove School"),
        part=HELD,
    ),
    Family(
        "vegetable box", "Does {name} still get a {v}?",
        ("I subscribe to a {v}.", "I get a {v} every week.", "I have a subscription to a {v}."),
        ("I cancelled my {v}.", "I no longer get a {v}.", "I don't subscribe to a {v} anymore.", "I stopped my {v} subscription."),
        ("vegetable box", "meal kit", "coffee club", "film magazine", "snack box"),
        part=HELD, kind="polarity",
    ),
    Family(
        "boss's trip", "When does {name}'s interview with the museum take place?",
        ("My interview with the museum is at {v}.", "I have an interview with the museum at {v}.", "The museum interview starts at {v}."),
        ("My interview with the museum was pushed back to {v}.", "The museum moved my interview to {v}.",
         "My interview with the museum is at {v} instead."),
        ("9 am", "10:30 am", "noon", "2 pm", "3:15 pm", "5 pm"),
        part=HELD, soon=True,
    ),
    Family(
        "savings", "How much has {name} saved for the trip?",
        ("I have saved {v} for the trip.", "My travel fund is at {v}.", "I've put aside {v} for the trip."),
        ("I have saved {v} for the trip so far.", "My travel fund has grown to {v}.", "My travel fund is at {v} now."),
        ("$300", "$450", "$700", "$1,100", "$1,800", "$2,400"),
        part=HELD,
    ),
    Family(
        "plant", "Does {name} eat {v}?",
        ("I eat {v}.", "I eat {v} every week.", "I cook with {v} a lot."),
        ("I don't eat {v} anymore.", "I stopped eating {v}.", "I've given up {v}.", "I no longer eat {v}."),
        ("red meat", "cheese", "tofu", "shrimp", "white bread"),
        part=HELD, kind="polarity",
    ),
    Family(
        "football team", "Which football team does {name} support?",
        ("I support {v}.", "I'm a fan of {v}.", "My favorite football team is {v}.", "I've supported {v} since I was ten."),
        ("I support {v} now.", "I switched from {o} to {v}.", "My favorite football team is {v} now.", "I no longer support {o}, I'm for {v} now."),
        ("Arsenal", "Celtic", "Ajax", "Valencia", "Everton", "Benfica"),
        part=HELD,
    ),
    Family(
        "floor", "On which floor is {name}'s apartment?",
        ("My apartment is on the {v} floor.", "I live on the {v} floor.", "Our flat is on the {v} floor."),
        ("My apartment is on the {v} floor now.", "I moved to the {v} floor.", "I live on the {v} floor now.",
         "We moved from the {o} to the {v} floor."),
        ("second", "third", "fourth", "fifth", "ninth"),
        part=HELD,
    ),
    Family(
        "water", "How much water does {name} drink a day?",
        ("I drink {v} glasses of water a day.", "I have {v} glasses of water every day.", "I aim for {v} glasses of water a day."),
        ("I drink {v} glasses of water a day now.", "I'm up to {v} glasses of water a day.", "I now have {v} glasses of water every day."),
        ("three", "four", "five", "six", "eight", "ten"),
        part=HELD,
    ),
    Family(
        "parking spot", "What is {name}'s parking spot?",
        ("My parking spot is {v}.", "I park in spot {v}.", "My parking spot number is {v}."),
        ("My parking spot is {v} now.", "I was given a new parking spot, {v}.", "My new parking spot is {v}.",
         "My parking spot changed from {o} to {v}."),
        ("B12", "C7", "A31", "D4", "E19"),
        part=HELD,
    ),
    Family(
        "landlord", "Who is {name}'s landlord?",
        ("My landlord is {v}.", "My landlord's name is {v}.", "{v} is my landlord.", "I rent from {v}."),
        ("My landlord is {v} now.", "My new landlord is {v}.", "{v} is my landlord now.", "The house was sold, so {v} is my landlord now."),
        ("Mr. Novak", "Mrs. Silva", "Mr. Haddad", "Mrs. Keller", "Mr. Ito"),
        part=HELD,
    ),
    Family(
        "lunch break", "When is {name}'s lunch break?",
        ("My lunch break is at {v}.", "I have my lunch break at {v}.", "I take my lunch break at {v}."),
        ("My lunch break is at {v} now.", "My lunch break was moved to {v}.", "I take my lunch break at {v} these days."),
        ("11:30 am", "noon", "12:30 pm", "1 pm", "2 pm"),
        part=HELD,
    ),
    Family(
        "dog's weight", "How much does {name}'s dog weigh?",
        ("My dog weighs {v}.", "My dog's weight is {v}.", "My dog is at {v}."),
        ("My dog weighs {v} now.", "My dog's weight is {v} now.", "My dog is down to {v}."),
        ("12 kg", "15 kg", "18 kg", "21 kg", "24 kg"),
        part=HELD,
    ),
    Family(
        "trip destination", "Where is {name} going on holiday?",
        ("We're going to {v} for our holiday.", "Our holiday destination is {v}.", "We booked a holiday in {v}."),
        ("We changed our holiday destination to {v}.", "We're going to {v} instead of {o} for our holiday.", "Our holiday destination is {v} now."),
        ("Crete", "Iceland", "Morocco", "Sardinia", "Madeira"),
        part=HELD,
    ),
    Family(
        "driving", "Does {name} drive?",
        ("I drive to {v}.", "I always drive to {v}.", "I drive myself to {v}."),
        ("I don't drive to {v} anymore.", "I stopped driving to {v}.", "I no longer drive to {v}."),
        ("church", "the market", "the lake", "practice"),
        part=HELD, kind="polarity",
    ),
    Family(
        "glasses", "Does {name} wear {v}?",
        ("I wear {v}.", "I have to wear {v}.", "I wear {v} every day."),
        ("I don't wear {v} anymore.", "I stopped wearing {v}.", "I no longer wear {v}.", "I no longer need {v}."),
        ("glasses", "contact lenses", "a hearing aid", "braces"),
        part=HELD, kind="polarity",
    ),
    Family(
        "project", "What project is {name} working on?",
        ("I'm working on {v}.", "My current project is {v}.", "At work I'm on {v}."),
        ("I'm working on {v} now.", "I was moved from {o} to {v}.", "My current project is {v} now.", "I switched from {o} to {v}."),
        ("the billing system", "the mobile app", "the Atlas rollout", "the new website"),
        part=HELD,
    ),
    Family(
        "church choir", "On which evening does {name} sing in the choir?",
        ("Choir rehearsal is on {v}s.", "My choir rehearsal is on {v}s.", "I sing in the choir on {v}s."),
        ("Choir rehearsal moved to {v}s.", "My choir rehearsal is on {v}s now.", "I sing in the choir on {v}s now."),
        _DAYS,
        part=HELD,
    ),
    # ---- fresh ----
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
        _NAMES,
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
        _DAYS,
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


@dataclass(frozen=True, slots=True)
class Contrast:
    """Two statements of one speaker that may both hold."""

    kind: str
    first: str
    second: str
    part: str = MADE


CONTRASTS: tuple[Contrast, ...] = tuple(
    Contrast(kind, first, second, part)
    for kind, part, pairs in (
        ("other subject", MADE, (
            ("I live in Lisbon.", "My brother lives in Berlin."), ("My sister works at Ikea.", "My cousin works at Bosch."),
            ("My car is red.", "My bike is blue."), ("My mother's birthday is May 3.", "My father's birthday is June 9."),
            ("Marta lives in Oslo.", "Kevin lives in Dublin."), ("My dog's name is Rex.", "My cat's name is Luna."),
            ("My boss is 50 years old.", "My wife is 42 years old."), ("Paolo drives a Volvo.", "Helen drives a Mazda."),
            ("I'm allergic to peanuts.", "My son is allergic to cats."), ("My manager is Ingrid.", "My dentist is Paolo."),
        )),
        ("other attribute", MADE, (
            ("My favorite color is blue.", "My favorite food is ramen."), ("I live in Lisbon.", "I work in Porto."),
            ("My phone number is 555-0134.", "My office number is 555-0178."), ("My rent is $900.", "My salary is $3,000."),
            ("I was born in Kyoto.", "I live in Toronto."), ("I have two cats.", "I have three vinyl records."),
            ("I wake up at 6 am.", "I go to bed at 10 pm."), ("My work email is a@example.org.", "My private email is b@example.com."),
        )),
        ("both hold", MADE, (
            ("I like tea.", "I like coffee."), ("I love hiking and swimming.", "I love painting."), ("I have a dog.", "I have a cat."),
            ("I play the piano.", "I play chess."), ("I speak French.", "I speak Polish."), ("I enjoy jazz.", "I enjoy horror movies."),
            ("I use Python at work.", "I use Excel at work."), ("I don't like olives.", "I don't like mushrooms."),
            ("I don't like cold coffee.", "I like coffee."), ("I want to visit Japan.", "I want to visit Peru."),
            ("I'm a teacher.", "I'm a mother of two."), ("I'm tall.", "I'm shy."), ("I read thrillers.", "I read poetry."),
        )),
        ("episodes", MADE, (
            ("I went to the gym on Monday.", "I went to the gym on Tuesday."), ("I had pizza for dinner.", "I had ramen for dinner."),
            ("I watched two movies yesterday.", "I watched three movies this weekend."), ("I visited Rome in May.", "I visited Paris in June."),
            ("I ran 5 km this morning.", "I ran 8 km today."), ("I met Kevin at a concert.", "I met Fiona at a wedding."),
            ("We flew to Oslo last week.", "We flew to Lyon last month."), ("I bought a lamp at Ikea.", "I bought a desk at Ikea."),
            ("I caught 7 fish on the first trip.", "I caught 9 fish on the second trip."), ("I spent $40 on books.", "I spent $25 on books."),
        )),
        ("finer", MADE, (
            ("I live in Lisbon.", "I live in Lisbon, Portugal."), ("I'm an engineer.", "I'm a software engineer."),
            ("I live in Portugal.", "I live in Lisbon."), ("I work at a hospital.", "I work at Saint Mary's."),
            ("I have a dog.", "I have a small brown dog."),
            ("My meeting is on Monday.", "My meeting is on Monday at 3 pm."), ("I drive a Toyota.", "I drive a Toyota Corolla."),
            ("My birthday is in May.", "My birthday is May 3."),
        )),
        ("not yet, or no more", MADE, (
            ("I live in Lisbon.", "I might move to Berlin."), ("I live in Lisbon.", "I used to live in Porto."),
            ("I work at Bosch.", "I'd love to work at Google."),
            ("I live in Oslo.", "I'm thinking of moving to Lyon."), ("I drive a Volvo.", "I want to buy a Tesla."),
            ("I'm single.", "I hope to get married one day."),
            ("I live in Dublin.", "I lived in Denver as a kid."), ("I live in Austin.", "If I lived in Prague, I would walk more."),
            ("My rent is $900.", "My rent used to be $800."), ("I work as a nurse.", "I worked as a waiter in college."),
        )),
        ("occasions", MADE, (
            ("I drink tea in the morning.", "I drink wine in the evening."),
            ("I have a pottery class on Mondays.", "I have a yoga class on Thursdays."),
            ("I prefer tea for breakfast.", "I prefer coffee after lunch."), ("I like rain in summer.", "I don't like rain in winter."),
        )),
        ("additions", MADE, (
            ("I like tea.", "I like coffee now."), ("I have a dog.", "I have a cat now."), ("I play the piano.", "I play chess now."),
            ("I live in Lisbon.", "My sister lives in Berlin now."), ("I work at Bosch.", "My husband works at Siemens now."),
            ("I go to bed at 9 pm.", "I wake up at 7:30 am now."), ("I love sushi.", "I no longer like ramen."),
            ("I speak French.", "I speak Polish now."),
            ("My phone number is 555-0134.", "My office number is 555-0178 now."), ("I enjoy jazz.", "I'm into techno these days."),
            ("I collect stamps.", "I started collecting coins."), ("My dog weighs 12 kg.", "My cat weighs 5 kg now."),
            ("I have two cats.", "I have three vinyl records now."), ("I drink coffee in the morning.", "I drink tea in the evening now."),
            ("My favorite color is blue.", "My favorite food is ramen now."), ("I want to visit Japan.", "I want to visit Peru now."),
            ("I take piano lessons on Mondays.", "I take dance lessons on Fridays now."),
            ("I'm allergic to cats.", "I'm allergic to pollen now, too."),
        )),
        ("additions", HELD, (
            ("I read thrillers.", "I read poetry these days."), ("I have a brother in Oslo.", "I have a sister in Lyon now."),
            ("I own a canoe.", "I own a drone now."), ("My son plays golf.", "My daughter plays tennis now."),
            ("I'm good at maths.", "I'm good at cooking now."),
            ("My work email is a@example.org.", "My private email is b@example.com now."), ("I swim on Mondays.", "I lift weights on Thursdays now."),
            ("I use Python at work.", "I use Excel at work now."), ("I don't eat shrimp.", "I don't eat cheese anymore."),
            ("I follow the news.", "I follow a cooking show now."),
        )),
        ("other subject", HELD, (
            ("My sister lives in Kyoto.", "My brother lives in Austin."), ("My aunt is a nurse.", "My uncle is a carpenter."),
            ("The wifi password at work is oak7.", "The wifi password at my place is elm9."), ("Yusuf is vegan.", "Greta is a vegetarian."),
            ("Deepa's email is d@example.org.", "Omar's email is o@example.com."), ("My daughter plays tennis.", "My son plays golf."),
        )),
        ("both hold", HELD, (
            ("I'm learning Korean.", "I'm learning Italian."), ("I own a piano.", "I own a canoe."),
            ("I follow the Lakers.", "I follow the Yankees."),
            ("My hobbies are chess and golf.", "I paint a lot."), ("I can cook lasagna.", "I can cook paella."),
            ("I collect stamps.", "I collect coins."),
            ("I subscribe to Netflix.", "I subscribe to Spotify."), ("I'm good at maths.", "I'm bad at singing."),
        )),
        ("episodes", HELD, (
            ("I had a meeting with Paolo on Friday.", "I had a meeting with Paolo on Wednesday."),
            ("I got a flat tire on Monday.", "I got a parking ticket on Monday."),
            ("I cooked dumplings yesterday.", "I cooked tacos today."), ("I stayed at a hotel in Lyon.", "I stayed at a hostel in Prague."),
            ("I lost my keys in June.", "I lost my wallet in July."), ("I finished reading Middlemarch.", "I finished reading Emma."),
        )),
        ("finer", HELD, (
            ("My flight is in the morning.", "My flight is at 8:40 am."), ("I study biology.", "I study marine biology."),
            ("I'm in my thirties.", "I'm 34 years old."),
            ("I play a racket sport.", "I play tennis."), ("My dentist is Dr. Chen.", "My dentist is Dr. Wei Chen."),
        )),
        ("not yet, or no more", HELD, (
            ("I study law.", "I'm considering switching to history."), ("My gym is Basecamp.", "My old gym was Kinetic."),
            ("I play squash.", "I plan to quit squash."),
            ("My flight leaves at 8:40 am.", "My flight could be delayed to 1:30 pm."), ("I learn Finnish.", "I learned Arabic at school."),
        )),
        ("other subject", HELD, (
            ("My shoe size is 42.", "My son's shoe size is 31."), ("My laptop is a ThinkPad.", "My wife's laptop is a MacBook."),
            ("My neighbor's dog is named Bruno.", "My dog is named Pepper."), ("Greta subscribes to a meal kit.", "Omar no longer gets a meal kit."),
        )),
        ("both hold", HELD, (
            ("I volunteer at the library.", "I donate to the hospice."), ("I eat cheese.", "I don't eat tofu."),
            ("I'm reading Dune.", "I've read Emma."),
            ("I take vitamin D.", "I take 10 mg of lisinopril."), ("I have brown eyes.", "I have red hair."),
            ("My aunt taught me to sew.", "My aunt taught me to bake."),
            ("I use a ThinkPad for work.", "I use a tablet at home."), ("I'm patient with children.", "I'm impatient with machines."),
        )),
        ("episodes", HELD, (
            ("I took the bus to work today.", "I took a taxi to work yesterday."),
            ("I slept eight hours last night.", "I slept five hours on Sunday."),
            ("My interview with the museum was at noon.", "My interview with the zoo was at 3 pm."), ("I saw Emma in March.", "I saw Omar in April."),
            ("We spent $80 at the market.", "We spent $35 at the bakery."),
        )),
        ("finer", HELD, (
            ("My laptop is a Dell.", "My laptop is a Dell XPS."), ("I see my therapist on Mondays.", "I see my therapist on Mondays at 4 pm."),
            ("My son goes to Lincoln Primary.", "My son goes to Lincoln Primary in Denver."), ("I have red hair.", "I have long red hair."),
        )),
        ("not yet, or no more", HELD, (
            ("My insurance provider is Aetna.", "I'm comparing Cigna and Allianz."), ("My hair is brown.", "I want to dye my hair pink."),
            ("My hair is brown.", "My hair used to be blond."), ("I'm reading Dune.", "I plan to read Ulysses next."),
            ("I eat shrimp.", "I couldn't eat shrimp as a child."),
        )),
        ("additions", HELD, (
            ("I support Celtic.", "I support a local charity now."), ("I wear glasses.", "I wear a watch now."),
            ("I drive to church.", "I drive to the lake now."),
            ("I live on the third floor.", "My office is on the fifth floor now."), ("My dog weighs 21 kg.", "I weigh 70 kg now."),
            ("My lunch break is at noon.", "My first meeting is at 9 am now."),
            ("I drink six glasses of water a day.", "I drink a glass of wine on Fridays now."),
            ("I'm working on the billing system.", "I'm helping with the website now."), ("My landlord is Mr. Novak.", "My neighbor is Mr. Ito now."),
            ("I sing in the choir on Mondays.", "I play cards on Thursdays now."),
        )),
        ("other subject", HELD, (
            ("My landlord is Mr. Novak.", "My tenant is Mrs. Silva."), ("My dog weighs 12 kg.", "My cat weighs 5 kg."),
            ("My parking spot is B12.", "My wife's parking spot is C7."),
            ("Our office is on the third floor.", "Our apartment is on the fifth floor."),
        )),
        ("both hold", HELD, (
            ("I support Celtic.", "I play for a local team."), ("I drink six glasses of water a day.", "I drink two cups of tea a day."),
            ("I wear glasses.", "I don't wear hats."), ("I drive to church.", "I walk to the market."),
            ("We're going to Crete in May.", "We're going to Iceland in August."),
            ("I sing in the choir on Mondays.", "I play cards on Thursdays."), ("I know Mr. Ito.", "I know Mrs. Keller."),
            ("I have a blue bag.", "I have a red bag."),
        )),
        ("episodes", HELD, (
            ("We had lunch at noon today.", "We had lunch at 2 pm yesterday."),
            ("I parked in spot B12 this morning.", "I parked in spot C7 yesterday."),
            ("I met Fiona on the second floor.", "I met Omar on the fourth floor."), ("My dog ate my shoe in June.", "My dog ate my hat in July."),
        )),
        ("finer", HELD, (
            ("My landlord is Mr. Novak.", "My landlord is Mr. Jan Novak."), ("My lunch break is at noon.", "My lunch break is at noon on weekdays."),
            ("I support Ajax.", "I support Ajax Amsterdam."), ("I'm working on the website.", "I'm working on the new website."),
        )),
        ("not yet, or no more", HELD, (
            ("I support Everton.", "My father used to support Benfica."), ("We're going to Crete.", "We thought about going to Madeira."),
            ("I live on the third floor.", "I'd like to live on the ninth floor."),
            ("My landlord is Mrs. Keller.", "My old landlord was Mr. Haddad."),
        )),
        ("additions", FRESH, (
            ("I grow tomatoes.", "I grow roses now."), ("I take piano lessons.", "I take singing lessons now."),
            ("I bank with ING.", "My husband banks with Chase now."),
            ("I sleep eight hours a night.", "My son sleeps nine hours a night now."), ("My hairdresser is Marta.", "My tailor is Paolo now."),
            ("I have a student visa.", "I have a driving licence now."),
            ("I sell at the market on Mondays.", "I help at the shelter on Fridays now."),
            ("My mother lives at Willow House.", "My aunt lives at Lakeview now."), ("I teach third grade.", "I coach the chess club now."),
        )),
        ("both hold", FRESH, (
            ("I grow beans.", "I don't grow pumpkins."), ("My bank is Monzo.", "My phone is a Pixel."),
            ("I cut hair for a living.", "Marta cuts my hair."),
            ("I have dance lessons.", "I have a dance partner."), ("My mother is 81.", "My mother plays bridge."), ("I sleep badly.", "I eat well."),
        )),
        ("episodes", FRESH, (
            ("I slept six hours on Monday.", "I slept nine hours on Sunday."), ("I sold twelve jars at the market.", "I sold nine jars at the fair."),
            ("I planted roses in spring.", "I planted beans in summer."), ("We took the train to Lyon.", "We took the bus to Prague."),
        )),
        ("not yet, or no more", FRESH, (
            ("My bank is ING.", "I'm thinking of switching to Monzo."), ("I teach first grade.", "I taught fourth grade ten years ago."),
            ("I have a student visa.", "I applied for a work visa."), ("My hairdresser is Greta.", "My hairdresser used to be Helen."),
        )),
    )
    for first, second in pairs
)  # fmt: skip


def stated(family: Family, rng: np.random.Generator) -> tuple[str, str, str]:
    """An older and a newer statement of a family, and the newer value."""
    before, value = (family.values[i] for i in rng.choice(len(family.values), 2, replace=False))
    if family.kind == "polarity":
        before = value
    state, change = family.state[rng.integers(len(family.state))], family.change[rng.integers(len(family.change))]
    return filled(state, before, value), filled(change, value, before), value


def filled(template: str, value: str, other: str) -> str:
    """A statement of `value`; `other` is the value before."""
    return template.replace("{v}", value).replace("{V}", value[:1].upper() + value[1:]).replace("{o}", other)
