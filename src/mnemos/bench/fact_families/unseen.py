"""Attributes written when frames were done (`text.agreement.frames`, `replacing`), and measured once; nothing was changed for their sake."""

from __future__ import annotations

from mnemos.bench.fact_families.family import DAYS, UNSEEN, Family

FAMILIES: tuple[Family, ...] = (
    Family(
        "orthodontist", "Who is {name}'s orthodontist?",
        ("My orthodontist is Dr. {v}.", "Dr. {v} does my braces.", "I see Dr. {v} about my braces."),
        ("Dr. {v} does my braces now.", "My new orthodontist is Dr. {v}.", "I switched from Dr. {o} to Dr. {v} for my braces."),
        ("Amsel", "Birk", "Coley", "Dorn", "Eckert"),
        part=UNSEEN,
    ),
    Family(
        "fencing club", "Where does {name} fence?",
        ("I fence at {v}.", "My fencing club is {v}.", "I'm a fencer at {v}."),
        ("I fence at {v} now.", "I left {o}; I fence at {v} these days.", "My fencing club is {v} now."),
        ("Redhill", "Lowmoor", "Castleford", "Brackley"),
        part=UNSEEN,
    ),
    Family(
        "mooring", "At which pier is {name}'s kayak moored?",
        ("My kayak is moored at pier {v}.", "I keep my kayak at pier {v}.", "I moor my kayak at pier {v}."),
        ("My kayak is moored at pier {v} now.", "I moved my kayak to pier {v}.", "I keep my kayak at pier {v} these days."),
        ("4", "7", "11", "15"),
        part=UNSEEN,
    ),
    Family(
        "cleaner", "When does {name}'s cleaner come?",
        ("Our cleaner comes on {v}s.", "The cleaner comes every {v}.", "We have a cleaner on {v}s."),
        ("Our cleaner comes on {v}s now.", "The cleaner moved from {o}s to {v}s.", "The cleaner comes every {v} instead of {o} now."),
        DAYS,
        part=UNSEEN,
    ),
    Family(
        "gallery pass", "How much does {name} pay for the gallery pass?",
        ("The gallery pass costs me {v} a month.", "I pay {v} a month for the gallery pass.", "My gallery pass is {v} a month."),
        ("The gallery pass costs me {v} a month now.", "My gallery pass went up to {v} a month.", "I pay {v} a month for the gallery pass now."),
        ("$9", "$12", "$15", "$19"),
        part=UNSEEN,
    ),
    Family(
        "tram stop", "What is {name}'s tram stop?",
        ("My tram stop is {v}.", "I get on the tram at {v}.", "The nearest tram stop to me is {v}."),
        ("My tram stop is {v} now.", "I get on the tram at {v} these days.", "They closed {o}, so my tram stop is {v} now."),
        ("Kiln Street", "Abbey Square", "Mint Gate", "Tanner's Row"),
        part=UNSEEN,
    ),
    Family(
        "knitting", "What is {name} knitting?",
        ("I'm knitting {v}.", "My knitting project is {v}.", "On my needles there's {v}."),
        ("I finished {o} and I'm knitting {v} now.", "I'm knitting {v} now.", "My knitting project is {v} now."),
        ("a scarf", "a cardigan", "a pair of mittens", "a baby blanket"),
        part=UNSEEN, choices=("scarf", "cardigan", "mittens", "blanket"),
    ),
    Family(
        "book club", "Who hosts {name}'s book club?",
        ("{v} hosts our book club.", "Our book club meets at {v}'s place.", "Our book club is at {v}'s."),
        ("{v} hosts our book club now.", "Our book club moved to {v}'s place.", "Our book club meets at {v}'s place these days."),
        ("Nadia", "Sven", "Tomas", "Wilma"),
        part=UNSEEN,
    ),
    Family(
        "firewood", "Who delivers {name}'s firewood?",
        ("I order my firewood from {v}.", "{v} delivers my firewood.", "My firewood comes from {v}."),
        ("I order my firewood from {v} now.", "{v} delivers my firewood these days.", "I switched from {o} to {v} for firewood."),
        ("Harker's", "Loggia", "Pinewell", "Greybark"),
        part=UNSEEN,
    ),
    Family(
        "scales", "How long does {name} practise scales?",
        ("I practise scales for {v} a day.", "I do {v} of scales every day.", "My daily scales take {v}."),
        ("I practise scales for {v} a day now.", "I've cut my scales from {o} to {v} a day.", "My daily scales take {v} now."),
        ("10 minutes", "20 minutes", "40 minutes", "50 minutes"),
        part=UNSEEN,
    ),
    Family(
        "curry", "How hot does {name} order curry?",
        ("I order my curry {v}.", "I like my curry {v}.", "My curry has to be {v}."),
        ("I order my curry {v} now.", "These days I order my curry {v}.", "I went from {o} to {v} curry."),
        ("mild", "medium", "hot"),
        part=UNSEEN,
    ),
    Family(
        "allotment", "Which plot does {name} have at the allotments?",
        ("My allotment is plot {v}.", "I have plot {v} at the allotments.", "I garden on plot {v}."),
        ("My allotment is plot {v} now.", "I swapped plot {o} for plot {v}.", "I garden on plot {v} now."),
        ("6", "14", "23", "31"),
        part=UNSEEN,
    ),
    Family(
        "membership", "Is {name} a member of the {v}?",
        ("I'm a member of the {v}.", "I belong to the {v}.", "I'm in the {v}."),
        ("I left the {v}.", "I'm no longer a member of the {v}.", "I don't belong to the {v} anymore."),
        ("rowing club", "local history society", "bell ringers", "debating union"),
        part=UNSEEN, kind="polarity",
    ),
    Family(
        "coffee beans", "Which beans does {name} buy?",
        ("I buy {v} beans.", "My coffee beans are {v}.", "The beans that I buy are {v}."),
        ("I buy {v} beans now.", "I switched from {o} to {v} beans.", "My coffee beans are {v} now."),
        ("Ethiopian", "Colombian", "Sumatran", "Kenyan"),
        part=UNSEEN,
    ),
)  # fmt: skip
