"""Pairs of statements of one speaker that may both hold."""

from __future__ import annotations

from mnemos.bench.fact_families.family import FRESH, HELD, MADE, UNSEEN, Contrast

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
        ("additions", UNSEEN, (
            ("My orthodontist is Dr. Amsel.", "My optician is Dr. Birk now."), ("I fence on Mondays.", "I row on Fridays now."),
            ("My kayak is moored at pier 4.", "My bicycle is parked at rack 9 now."), ("I brew cider.", "I brew ginger beer now."),
            ("Our cleaner comes on Tuesdays.", "Our gardener comes on Thursdays now."), ("I bake sourdough.", "I pickle onions these days."),
            ("I sponsor a donkey.", "My niece sponsors an otter now."), ("My greenhouse has 12 panes.", "My shed has two windows now."),
            ("My library card expires in June.", "My passport expires in March now."), ("I moderate a chess forum.", "I run a film club now."),
        )),
        ("both hold", UNSEEN, (
            ("I fence.", "I don't row."), ("My orthodontist is Dr. Amsel.", "My vet is Dr. Coley."), ("I brew cider.", "I drink tea."),
            ("I tune pianos.", "I repair clocks."), ("The attic needs 14 boards.", "The cellar needs 9 boards."),
        )),
        ("episodes", UNSEEN, (
            ("I rowed 6 km on Saturday.", "I rowed 4 km on Sunday."), ("We moored at pier 4 in May.", "We moored at pier 7 in June."),
            ("I paid 40 euros for the kayak trip.", "I paid 25 euros for the museum."),
        )),
        ("not yet, or no more", UNSEEN, (
            ("My orthodontist is Dr. Amsel.", "My orthodontist used to be Dr. Birk."), ("I fence at Redhill.", "I might fence at Lowmoor next year."),
            ("Our cleaner comes on Tuesdays.", "We want the cleaner to come on Fridays."),
        )),
    )
    for first, second in pairs
)  # fmt: skip
