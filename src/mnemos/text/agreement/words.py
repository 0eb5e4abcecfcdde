"""The English that statements about a person are made of: verbs and their forms, attributes, opposites. Closed lists, and no model."""

from __future__ import annotations

from typing import Literal

Form = Literal["base", "s", "past", "ing"]


def word_set(text: str) -> frozenset[str]:
    """The words of a list that is written as a text."""
    return frozenset(text.split())


_IRREGULAR = """
be is was being been|have has had having had|do does did doing done|go goes went going gone|get gets got getting gotten
buy buys bought buying bought|sell sells sold selling sold|leave leaves left leaving left|take takes took taking taken
drive drives drove driving driven|ride rides rode riding ridden|eat eats ate eating eaten|drink drinks drank drinking drunk
run runs ran running run|sleep sleeps slept sleeping slept|wake wakes woke waking woken|speak speaks spoke speaking spoken
teach teaches taught teaching taught|know knows knew knowing known|keep keeps kept keeping kept|pay pays paid paying paid
cost costs cost costing cost|quit quits quit quitting quit|give gives gave giving given|begin begins began beginning begun
become becomes became becoming become|meet meets met meeting met|see sees saw seeing seen|read reads read reading read
write writes wrote writing written|wear wears wore wearing worn|lead leads led leading led|lose loses lost losing lost|set sets set setting set
put puts put putting put|cut cuts cut cutting cut|hold holds held holding held|swim swims swam swimming swum|grow grows grew growing grown
fly flies flew flying flown|spend spends spent spending spent|make makes made making made|think thinks thought thinking thought
say says said saying said|tell tells told telling told|find finds found finding found|break breaks broke breaking broken
choose chooses chose choosing chosen|feel feels felt feeling felt|win wins won winning won|bring brings brought bringing brought
come comes came coming come|sit sits sat sitting sat|catch catches caught catching caught|build builds built building built
let lets let letting let|rise rises rose rising risen|fall falls fell falling fallen|hit hits hit hitting hit|swap swaps swapped swapping swapped
hear hears heard hearing heard|mean means meant meaning meant|shoot shoots shot shooting shot|draw draws drew drawing drawn
forget forgets forgot forgetting forgotten|understand understands understood understanding understood|sing sings sang singing sung
throw throws threw throwing thrown|show shows showed showing shown|send sends sent sending sent|stand stands stood standing stood
"""
_REGULAR = """
live reside stay move relocate settle work join start stop finish employ hire retire resign promote study major attend enroll enrol graduate transfer
commute walk bike cycle wake date marry divorce engage separate turn own adopt collect manage prefer like love enjoy hate dislike detest loathe adore
use switch change replace upgrade downgrade rename call name cancel postpone reschedule push schedule shift extend delay raise lower increase decrease
reduce drop bump donate return trade learn practice play train smoke exercise visit watch try want need plan hope wish consider decide
intend expect weigh earn charge save owe rent lease mortgage lend borrow book reserve subscribe sign host organize cook bake paint photograph listen
travel arrive depart land open close park carry complete follow believe doubt remember forget mention claim suggest recommend ask answer help
miss support avoid skip limit cap consume order switch supervise report mentor coach volunteer register vote invest bank shop root cheer belong
add attend receive reach hit move update correct confirm appoint elect assign base locate situate station head seat breed feed measure serve
"""

PREPOSITIONS = word_set(
    """
    in at on for with by to from as of near over than about since until till during after before into under per outside around through across
    beside above below behind between against without within onto toward towards via inside off up down out
    """
)


def _regular_forms(base: str) -> tuple[str, str, str, str]:
    """The forms of a regular verb: base, -s, past and -ing."""
    if base.endswith("e"):
        return base, base + "s", base + "d", base[:-1] + "ing"
    if base.endswith("y") and base[-2] not in "aeiou":
        return base, base[:-1] + "ies", base[:-1] + "ied", base + "ing"
    if base.endswith(("s", "x", "ch", "sh")):
        return base, base + "es", base + "ed", base + "ing"
    doubled = base + base[-1] if base in {"stop", "plan", "enrol", "transfer", "prefer", "skip", "cap", "shop", "drop", "commit"} else base
    return base, base + "s", doubled + "ed", doubled + "ing"


def _doubled_l(forms: tuple[str, ...]) -> tuple[str, ...]:
    """The British spelling of a verb in -el (`cancelled`)."""
    return tuple(form.replace("eled", "elled").replace("eling", "elling") for form in forms)


def _forms() -> dict[str, tuple[str, Form]]:
    """Each form of each verb that is known, with its base and what it is. Where two verbs share a form the first listed wins."""
    out: dict[str, tuple[str, Form]] = {}
    order: tuple[Form, ...] = ("base", "s", "past", "ing", "past")
    lines = [tuple(entry.split()) for entry in _IRREGULAR.replace("\n", "|").split("|") if entry.strip()]
    for forms in [*lines, *(_regular_forms(base) for base in _REGULAR.split())]:
        for form, kind in [*zip(forms, order, strict=False), *zip(_doubled_l(forms), order, strict=False)]:
            out.setdefault(form, (forms[0], kind))
    for form in ("am", "are"):
        out[form] = ("be", "s")
    out["were"] = ("be", "past")
    for form, spelled in (("practise", "practice"), ("practises", "practices"), ("practised", "practiced"), ("practising", "practicing")):
        out[form] = out[spelled]
    return out


FORMS = _forms()


def form_of(word: str) -> str:
    """Which form of a known verb a word is; empty where it is none."""
    known = FORMS.get(word)
    return known[1] if known else ""


SAME_PAST = word_set("set put cut quit hit read cost let become run come")
"""Verbs whose participle is their base form."""

BE = word_set("am is are was were be been being")
AUXILIARIES = BE | word_set("have has had do does did will would shall should can could may might must")
FINITE_AUXILIARIES = AUXILIARIES - word_set("be been being")
MODALS = word_set("would should could may might must shall can")
"""What is only possible, wished or owed is no statement of what is so."""
INTENTIONS = word_set("want need plan hope wish consider intend expect think dream try decide")
"""Verbs whose infinitive or gerund has not happened."""
NEGATIONS = word_set("not never no neither nor")
ADVERBS = word_set(
    """
    now currently still already just recently also really actually always usually often sometimes mostly mainly generally finally lately
    officially originally previously formerly once then basically definitely probably absolutely truly only even even ever almost nearly about
    typically normally regularly simply completely totally proudly happily temporarily permanently hardly rarely seldom both all today
    presently again soon primarily specifically instead eventually ultimately initially
    """
)
UNSURE = word_set("maybe perhaps possibly probably if unless whether wish hopefully supposedly imagine suppose")
NOW = word_set("now currently nowadays presently lately")
NOW_PHRASES = (
    "these days", "at the moment", "right now", "as of", "from now on", "any longer", "any more", "this year", "for now", "effective immediately",
    "going forward", "at present", "since then", "so far", "to date", "by now", "until now", "up to now", "in total",
)  # fmt: skip
PAST_ADVERBS = word_set("previously formerly originally once initially")
PAST_PHRASES = ("in the past", "back then", "at the time", "years ago", "back in", "when i was", "as a kid", "as a child", "growing up", "in college")
ENDERS = word_set("stop quit cancel retire resign")
"""Verbs that say of what they govern that it is no more."""
GIVERS = word_set("sell lose donate return trade")

LIKES = word_set("like love enjoy adore")
DISLIKES = word_set("hate dislike detest loathe")
OWNS = word_set("have own get buy adopt")
QUANTIFIED = word_set(
    """
    have own collect keep lead manage employ supervise complete finish read write watch try visit run walk drink eat sleep spend earn weigh pay
    save owe work exercise study practice practise cook do take play coach mentor teach own need swim cycle bike smoke reach
    """
)
"""Verbs whose object's number is a value that changes."""

COMMUTES = word_set("take ride drive bike walk cycle commute run go")
WORKPLACES = word_set("work office job school campus")
DIETS = word_set("vegan vegetarian pescatarian omnivore flexitarian keto paleo carnivore meat-eater")
RELATIONSHIPS = word_set("married single divorced engaged widowed separated dating")
UNATTACHED = word_set("single divorced widowed separated dating")
"""Of these several may be said of one person at a time."""
OCCUPATIONS = word_set(
    """
    accountant actor actress analyst architect artist assistant attorney author baker banker barber barista bartender biologist bookkeeper
    broker butcher captain carpenter cashier chef chemist clerk coach coder conductor consultant contractor cook counselor curator dancer
    dentist designer detective developer dietitian director doctor driver economist editor electrician engineer entrepreneur farmer firefighter
    fisherman florist freelancer gardener geologist guide hairdresser historian illustrator instructor intern interpreter inspector janitor
    journalist judge lawyer lecturer librarian lifeguard linguist locksmith machinist magician maid mailman manager marketer masseuse
    mathematician mechanic midwife miner model musician nanny nurse nutritionist officer operator optician paralegal paramedic pharmacist
    photographer physician physicist pilot plumber poet policeman politician principal producer professor programmer psychiatrist psychologist
    publisher realtor receptionist recruiter reporter researcher roofer sailor salesman salesperson scientist sculptor secretary singer soldier
    statistician strategist student supervisor surgeon surveyor tailor teacher technician therapist trainer translator tutor veterinarian vet
    vp waiter waitress welder writer zoologist administrator owner founder ceo cto cfo president executive specialist coordinator lead
    """
)
PEOPLE = word_set(
    """
    mother father mom mum dad parent sister brother sibling wife husband partner girlfriend boyfriend fiance fiancee son daughter child kid
    baby grandmother grandfather grandma grandpa aunt uncle cousin niece nephew friend roommate flatmate housemate colleague coworker neighbor
    neighbour boss manager supervisor mentor coach teacher tutor doctor dentist therapist physician lawyer accountant landlord landlady tenant
    dog cat puppy kitten parrot rabbit hamster pet horse bird fish buddy ex in-law mother-in-law father-in-law sister-in-law brother-in-law
    stepmother stepfather stepsister stepbrother godmother godfather user client customer guy man woman person
    """
)
ROLES = word_set(
    """
    boss manager supervisor mentor coach doctor dentist therapist physician lawyer accountant landlord landlady roommate flatmate housemate
    wife husband partner girlfriend boyfriend fiance fiancee trainer gp pediatrician professor advisor adviser president ceo captain leader
    """
)
"""Whom one person at a time is to another."""
ATTRIBUTES = word_set(
    """
    name nickname surname username handle number phone mobile email mail address password passcode pin code id plan budget salary wage income
    rent price cost fee rate deadline date time birthday anniversary schedule age height weight size color colour title position role job
    occupation profession major hometown nationality citizenship religion language brand model status goal target theme topic flavor flavour
    destination version capacity speed temperature distance duration limit grade score rank rating level location venue route gate seat room
    floor dosage dose medication commute diet allergy ringtone wallpaper mascot motto currency capital postcode zipcode zip extension license
    bedtime curfew thermostat setting record streak ratio wifi insurance carrier provider employer company school university
    """
)
"""Nouns that name a property with one value at a time."""
THINGS = word_set(
    """
    car bike phone laptop computer browser bank gym company school university hotel flight team drink breakfast lunch dinner snack restaurant
    band album song movie film show book author artist season game cuisine dish food pizza dessert hobby sport desk office apartment house cat
    dog watch camera tablet keyboard mattress doctor dentist shampoo coffee tea supplement running-shoes shoes bag headphones truck motorcycle
    """
)
"""Nouns of which one usually has one at a time: the value counts where it is a name."""
PICKED = word_set("favorite favourite current default main primary preferred usual go-to present next upcoming emergency")
"""Words before a noun that make it an attribute."""
LASTING = word_set("birthday birthplace hometown nationality birth-date blood native born anniversary")
"""Attributes that no event changes: two values contradict each other, and neither outdates the other."""
DWELLINGS = word_set(
    """
    apartment flat house condo studio dorm loft townhouse cottage cabin trailer mansion basement duplex houseboat farm
    """
)
PLACE_WORDS = word_set(
    """
    city town village suburb suburbs countryside country state downtown island coast north south east west neighborhood neighbourhood district
    capital abroad overseas house apartment flat condo studio place home parents
    """
)
"""What one moves to without a name: without one of these, or a name, `moved to` says nothing of a home (`moved to the night shift`)."""
EMPLOYERS = word_set(
    """
    company firm startup start-up agency bank hospital council studio lab laboratory bakery office university school army navy police newspaper
    store shop restaurant hotel factory clinic airline library museum ministry bureau institute practice consultancy law-firm
    """
)
"""What one joins to work there; a club, a platform or a tournament is joined for other ends."""
FLEETING = word_set(
    """
    time idea fun chance luck problem plan plans clue doubt energy interest reason issue trouble opportunity feeling feelings thought thoughts
    question questions issues problems reasons ideas chances troubles doubts concerns concern fear fears experience money way moment choice
    control access patience mood lot lots bit anything something nothing everything one ones
    """
)
"""What one has, and has not, from day to day."""
SCHOOLS = word_set(
    """
    university college school academy institute kindergarten polytechnic conservatory seminary law-school grad-school
    """
)
VEHICLES = word_set(
    """
    car truck van suv motorcycle scooter bike bus jeep convertible hybrid sedan pickup minivan coupe wagon hatchback moped
    """
)
STREETS = word_set("street st road rd avenue ave lane drive court boulevard blvd way square place terrace alley crescent close")
CATEGORIES = word_set(
    """
    shift plan department team branch tier floor membership size major level seat seats track league division subscription package
    """
)
"""Nouns whose modifier is the value, whichever verb stands before: `the night shift`, `the Pro plan`."""
COLOURS = word_set(
    """
    red blue green yellow orange purple pink black white grey gray brown teal turquoise navy maroon beige gold silver violet lavender magenta
    cyan indigo burgundy olive cream crimson emerald
    """
)
HAPPENINGS = word_set(
    """
    meeting appointment flight class lesson interview deadline exam test party wedding concert trip train bus call session game match rehearsal
    conference workshop event surgery checkup launch release presentation demo lecture seminar webinar dinner lunch brunch reunion ceremony
    reservation booking delivery shift practice training course movie show performance tournament race marathon hearing review sprint standup
    ride departure move-in checkout check-in visit vacation holiday
    """
)
OPPOSITES: tuple[tuple[str, str], ...] = (
    ("open", "closed"), ("full-time", "part-time"), ("remote", "onsite"), ("remotely", "office"), ("remote", "office"), ("home", "office"),
    ("early", "late"), ("early", "night"), ("morning", "evening"), ("morning", "night"), ("window", "aisle"), ("sweet", "savory"),
    ("indoor", "outdoor"), ("indoors", "outdoors"), ("introvert", "extrovert"), ("left-handed", "right-handed"), ("single", "married"),
    ("employed", "unemployed"), ("available", "unavailable"), ("happy", "unhappy"), ("satisfied", "dissatisfied"), ("hot", "cold"), ("hot", "iced"),
    ("tall", "short"), ("big", "small"), ("large", "small"), ("cheap", "expensive"), ("rich", "poor"), ("alive", "dead"), ("healthy", "sick"),
    ("active", "inactive"), ("enabled", "disabled"), ("on", "off"), ("public", "private"), ("paper", "digital"), ("weekly", "monthly"),
    ("weekly", "daily"), ("daily", "monthly"), ("black", "white"), ("android", "iphone"), ("tea", "coffee"), ("quiet", "loud"), ("urban", "rural"),
    ("city", "countryside"), ("first", "last"), ("optimistic", "pessimistic"), ("safe", "dangerous"), ("easy", "difficult"), ("easy", "hard"),
    ("pregnant", "barren"), ("vegetarian", "meat"), ("vegan", "meat"), ("light", "dark"), ("mild", "spicy"), ("decaf", "regular"),
)  # fmt: skip
EXCLUSIVE: tuple[frozenset[str], ...] = (
    DIETS, COLOURS, frozenset({"weekly", "daily", "monthly", "yearly", "biweekly", "quarterly", "hourly", "annually"}),
    frozenset({"small", "medium", "large", "xl", "xxl", "xs"}),
)  # fmt: skip
"""Sets of words of which one at a time is true of a thing."""
OCCASIONS: tuple[frozenset[str], ...] = tuple(
    frozenset(group.split())
    for group in (
        "breakfast lunch dinner dessert", "morning mornings afternoon afternoons evening evenings night nights", "summer winter spring autumn fall",
        "weekday weekdays weekend weekends", "work home school office", "flights trains buses", "hot cold", "inside outside",
    )
)  # fmt: skip
"""Of two statements that name different members of one of these groups, both may hold."""
EMPTY = word_set(
    """
    a an the this that these those my our your his her their its some any very really quite so too just about around roughly approximately
    nearly almost exactly actually now currently still already recently again also only even well more new old own same other another there
    here it he she they them him i we you me us and or but be been being is am are was were do does did have has had will would can could ever
    lately basically currently anymore longer finally officially which who whom what where that's then today instead together already please
    thanks of in at on to for with by from as into near up down out over off kind sort bit lot lots much many few by way probably definitely
    everyone everybody guys lol haha yeah yes ok okay oh hey hi hello nowadays days moment right one's both since such not
    """
)
"""Words that say nothing of a value."""
HARMLESS = word_set("a an the very really quite so too just also well yes yeah oh ok okay hey please now currently actually basically indeed by way")
"""Words without which a text says the same; word order and all others count."""
