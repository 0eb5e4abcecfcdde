"""The vocabulary of the generated conversations: what the slots of the grammar can hold. Fillers and evidence draw from the same lists."""

from __future__ import annotations

ROOMS = (
    "kitchen", "hall", "attic", "cellar", "porch", "study", "bathroom", "bedroom", "nursery", "pantry", "garage", "garden", "balcony", "lounge",
    "library", "workshop", "laundry", "terrace", "corridor", "studio", "sauna", "greenhouse", "cabin", "office", "loft", "veranda", "playroom",
    "courtyard", "barn", "boathouse",
)  # fmt: skip
NOUNS = {
    "lamp": "light", "sofa": "couch", "carpet": "rug", "clock": "timepiece", "shelf": "rack", "curtain": "drape", "cupboard": "cabinet",
    "armchair": "recliner", "picture": "painting", "basin": "sink", "bin": "wastebasket", "stool": "footrest", "fan": "ventilator",
    "heater": "radiator", "bench": "pew", "pot": "planter", "bucket": "pail", "trunk": "chest", "broom": "sweeper", "door": "gate",
    "window": "pane", "table": "desk", "bell": "chime", "ladder": "steps", "hose": "tube", "blanket": "throw", "pillow": "cushion",
    "tap": "faucet", "mirror": "glass", "oven": "stove", "fridge": "cooler", "candle": "taper", "vase": "urn", "kettle": "boiler",
    "sheet": "linen", "basket": "hamper", "radio": "wireless", "screen": "monitor", "lock": "bolt", "hook": "peg",
}  # fmt: skip
"""Things, each with another word for it, which paraphrases use."""
ATTRIBUTES = {
    "colour": ("red", "blue", "green", "yellow", "violet", "orange", "brown", "grey", "white", "black", "turquoise", "crimson", "ivory", "olive",
               "beige", "maroon", "scarlet", "indigo", "amber", "teal"),
    "brand": ("Norvell", "Haskins", "Tremona", "Bluepike", "Ostara", "Quillon", "Vandermay", "Kestrelle", "Ombrage", "Falkirk", "Solvane",
              "Dunmore", "Pellegra", "Arkwell", "Zenvia", "Corbin", "Lundqvist", "Marvane", "Thistle", "Yarrow"),
    "material": ("oak", "steel", "linen", "marble", "bamboo", "copper", "leather", "glass", "wool", "cork", "brass", "pine", "walnut", "velvet",
                 "granite", "rattan", "slate", "zinc", "felt", "birch"),
    "price": tuple(f"{n} dollars" for n in range(41, 441, 20)),
    "seller": ("Abbott and Sons", "Brightside Market", "Casa Lima", "Dockside Traders", "Elm Street Depot", "Foxglove Stores", "Grand Bazaar",
               "Hilltop Supply", "Island Goods", "Juniper House", "Kingfisher Mart", "Lantern Row", "Mill Lane Shop", "Northgate Outlet",
               "Old Harbour Hall", "Pepper Alley", "Quarry Road Store", "Riverbank Deals", "Stone Bridge Shop", "Tamarind Corner"),
    "length": tuple(f"{n} inches" for n in range(13, 113, 5)),
    "origin": ("Lisbon", "Oslo", "Kyoto", "Quito", "Nairobi", "Prague", "Hanoi", "Bergen", "Seville", "Tallinn", "Cusco", "Galway", "Tunis",
               "Riga", "Perth", "Malmö", "Zadar", "Lima", "Turin", "Bruges"),
}  # fmt: skip
KINDS = {
    "party": "celebration", "trip": "journey", "wedding": "marriage", "picnic": "outing", "concert": "recital", "fair": "market",
    "dinner": "banquet", "workshop": "seminar", "race": "run", "exhibition": "show", "reunion": "get-together", "play": "drama",
    "auction": "sale", "parade": "procession", "tournament": "contest", "retreat": "getaway", "jubilee": "anniversary", "camp": "bivouac",
    "cruise": "voyage", "ball": "dance",
}  # fmt: skip
"""What projects are, each with another word for it."""
MANNERS = (
    "spring", "summer", "autumn", "winter", "family", "village", "school", "charity", "harbour", "mountain", "island", "garden", "costume",
    "midnight", "birthday", "student", "cycling", "farewell", "jazz", "street", "harvest", "lakeside", "company", "alumni", "neighbourhood",
    "chess", "poetry", "sailing", "beach", "forest",
)  # fmt: skip
ITEMS = (
    "paper lanterns", "folding chairs", "string lights", "a tent", "wool blankets", "a first-aid kit", "name tags", "plastic cups", "sparklers",
    "a whistle", "sun hats", "rain capes", "a banner", "chalk", "tea towels", "a gas burner", "marshmallows", "apple juice", "a projector",
    "extension cords", "balloons", "a drum", "paper plates", "ribbons", "glue", "scissors", "a megaphone", "batteries", "torches", "ice packs",
    "a cool box", "napkins", "candlesticks", "flower seeds", "postcards", "stamps", "a guest book", "trophies", "medals", "a stopwatch",
    "a tarpaulin", "duct tape", "a hammock", "walking poles", "maps", "water bottles", "raisins", "cashews", "crackers", "olives", "lemonade",
    "a tablecloth", "cutlery", "wine glasses", "a corkscrew", "mustard", "pickles", "bread rolls", "cheese wheels", "grapes", "masks",
    "face paint", "a wig", "a tambourine", "sheet music", "a music stand", "microphones", "confetti", "streamers", "place cards", "incense",
    "mosquito nets", "sunscreen", "a kite", "frisbees", "dominoes", "playing cards", "a dartboard", "a skipping rope", "juggling balls",
)  # fmt: skip
NAMES = (
    "Ruth", "Tomas", "Priya", "Olga", "Kofi", "Mei", "Lars", "Ines", "Samir", "Greta", "Hugo", "Yuki", "Dora", "Pavel", "Nadia", "Felix",
    "Amara", "Ivo", "Lucia", "Bram",
)  # fmt: skip
DEEDS = (
    ("repaired the fence", "repair the fence", "mended the wooden railing"), ("painted the shed", "paint the shed", "put fresh colour on the hut"),
    ("visited the dentist", "visit the dentist", "had our teeth looked at"), ("cleaned the chimney", "clean the chimney", "swept the flue"),
    ("planted a cherry tree", "plant a cherry tree", "set a sapling into the soil"), ("watched the regatta", "watch the regatta", "saw boats race"),
    ("climbed the lighthouse", "climb the lighthouse", "went up the beacon"), ("baked the rye bread", "bake the rye bread", "got a dark loaf done"),
    ("signed the lease", "sign the lease", "put our names under the rental contract"), ("tuned the piano", "tune the piano", "had the keys in tune"),
    ("sold the caravan", "sell the caravan", "found a buyer for the camper"), ("toured the brewery", "tour the brewery", "saw how beer is made"),
    ("moved the wardrobe", "move the wardrobe", "heaved the closet across"), ("flew the drone", "fly the drone", "let the quadcopter up"),
    ("picked the plums", "pick the plums", "brought in the fruit"), ("washed the car", "wash the car", "got the vehicle gleaming"),
    ("rented the canoe", "rent the canoe", "took out a paddle boat"), ("joined the choir", "join the choir", "became singers"),
    ("renewed the passport", "renew the passport", "got new travel papers"), ("built the bookcase", "build the bookcase", "put shelving together"),
    ("met the architect", "meet the architect", "sat down with the house designer"), ("adopted the cat", "adopt the cat", "took the stray in"),
    ("trimmed the hedge", "trim the hedge", "cut back the bushes"), ("opened the bakery", "open the bakery", "welcomed the first customers"),
    ("fixed the printer", "fix the printer", "got ink on paper again"), ("finished the marathon", "finish the marathon", "ran all the way"),
    ("lost the umbrella", "lose the umbrella", "left the brolly somewhere"), ("framed the poster", "frame the poster", "put a border round it"),
    ("ordered the tiles", "order the tiles", "sent for the ceramic squares"), ("learned the tango", "learn the tango", "got the hang of that dance"),
)  # fmt: skip
"""What people do: in the past, as the question has it, and in other words."""
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")
RELATIVES = ("sister", "brother", "neighbour", "cousin", "colleague", "uncle", "aunt", "landlord", "teacher", "nephew")

DOMAINS = {
    "restaurant": "place to eat", "hotel": "place to sleep", "gym": "place to train", "film": "evening in front of a screen", "novel": "read",
    "course": "class", "park": "patch of green", "museum": "collection to look at", "shop": "store", "bar": "spot for a drink",
    "holiday": "time away", "theatre": "stage to watch",
}  # fmt: skip
"""What can be recommended, each with other words for it."""
TRAITS = {
    "cheap": ("luxurious", "next to nothing on the bill"), "luxurious": ("cheap", "to be spoilt, whatever it takes"),
    "small": ("large", "it tiny"), "large": ("small", "it vast"),
    "modern": ("old-fashioned", "the latest of everything"), "old-fashioned": ("modern", "it as in my grandmother's days"),
    "slow": ("fast", "all the time in the world"), "fast": ("slow", "no waiting around"),
    "quiet": ("lively", "hardly a sound"), "lively": ("quiet", "noise and bustle"),
    "cheerful": ("serious", "to laugh"), "serious": ("cheerful", "no silliness"),
}  # fmt: skip
"""What one can want of it: the opposite, and how a paraphrase says it. Six pairs, so that up to six go together."""

OCCASIONS = {
    "What should I cook on Saturday?": (
        ("I come out in hives when I eat nuts.", "Nuts and I do not get along, I swell up at once.", "without nuts"),
        ("The oven has been dead since Tuesday.", "Nothing gets hot in that oven any more.", "without an oven"),
        ("I stopped touching meat in January.", "No animal has died for my plate since January.", "without meat"),
        ("Milk gives me cramps.", "One glass of milk and I am doubled over.", "without milk"),
        ("There will be nine of us around the table.", "We are going to need nine plates.", "for nine people"),
        ("I will not get home before eight in the evenings.", "It is always eight before I am through the door.", "ready in half an hour"),
    ),
    "Where could I go for the long weekend?": (
        ("I sold my car last month.", "Somebody else drives my old car since last month.", "reachable without a car"),
        ("I have been on crutches since the fall.", "My leg is in plaster.", "with little walking"),
        ("My passport has run out.", "No border guard would accept my papers now.", "within the country"),
        ("I burn within minutes in the sun.", "My skin turns to lobster at noon.", "with much shade"),
        ("The dog goes wherever I go.", "My poodle never leaves my side.", "with dogs welcome"),
        ("I get sick on anything that floats.", "Even a rowing boat turns my stomach.", "without boats"),
    ),
    "Which sport should I take up?": (
        ("My left knee must not be jolted.", "Every jolt goes straight through my knee.", "gentle to knees"),
        ("Pollen makes me wheeze.", "I cannot breathe when the birches bloom.", "indoors"),
        ("I cannot spend a penny on it this year.", "My purse is empty for the year.", "free of charge"),
        ("I work nights until March.", "My shifts end at dawn until March.", "in the afternoon"),
        ("I never learned to swim.", "I would sink like a stone.", "without swimming"),
        ("I cannot lift my arm above the shoulder.", "Reaching up is over for my shoulder.", "with arms kept low"),
    ),
    "What could we do on Friday evening?": (
        ("We cannot find a babysitter for the twins.", "The twins have to come along everywhere.", "with children welcome"),
        ("My ears have been ringing for weeks.", "I hear a whistle day and night.", "not loud"),
        ("I have not had a drop of alcohol since June.", "I am sober since June and mean to stay so.", "without alcohol"),
        ("The last bus home leaves at ten.", "After ten there is no way back for us.", "over before ten"),
        ("My partner cannot follow subtitles.", "Reading along goes too fast for my partner.", "without subtitles"),
        ("The rent took all we had.", "There is nothing left in our account.", "with free entrance"),
    ),
    "Which flat should I look at?": (
        ("Grandmother moves in with us and cannot climb stairs.", "Steps are too much for grandmother, who joins us.", "on the ground floor"),
        ("I practise the trombone every night.", "My trombone sounds nightly.", "with thick walls"),
        ("I do all my work from home.", "My employer has no desk for me.", "with a room for work"),
        ("Our two bicycles cost more than most cars.", "Thieves would love our bicycles.", "with a locked cellar"),
        ("Two cats own me.", "My cats decide everything.", "with cats allowed"),
        ("Last summer's heat nearly killed me.", "I fainted when it was thirty degrees.", "cool in summer"),
    ),
    "Which phone should I get?": (
        ("My thumbs are huge.", "I always hit two keys at once.", "with large keys"),
        ("I drop everything I hold.", "Nothing survives my clumsy hands.", "hard to break"),
        ("I can barely read small print.", "Letters blur before my eyes.", "with large letters"),
        ("I am out for days without a socket.", "On my hikes there is no electricity.", "with long battery life"),
        ("I photograph birds from far away.", "My herons sit on the other bank.", "with a strong zoom"),
        ("I refuse to pay more than a hundred.", "A hundred is my limit.", "under a hundred dollars"),
    ),
}  # fmt: skip
"""Questions whose answer is shaped by what they never mention: how it was said, how it was said otherwise, and what it asks of the answer."""

TALK = (
    "That is all there is to say about it.", "It took me a while to decide.", "I am rather pleased with how this turned out.",
    "Nobody in the house had expected that.", "We can come back to that later on.", "The weather was dreadful all the while.",
    "I only wanted you to know.", "You never know what comes next, of course.", "It has been a long week for everyone here.",
    "Please keep that in mind for another day.", "My tea has gone cold while I was writing.", "Some things simply take their time.",
    "I have been thinking about it since this morning.", "There is a lot going on at the moment.", "Well, so much for that.",
    "I might change my mind about other things.",
)  # fmt: skip
REPLIES = (
    "Thank you, that is good to know.", "I have made a note of it.", "That sounds like a sensible step.", "How did the others take it?",
    "Let me know if there is more.", "Understood, we can build on that.", "That must have been quite a day.", "I can help with the next step.",
)  # fmt: skip
