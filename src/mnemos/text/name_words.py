"""Words that names are recognised and classed by: first names with their usual gender, and the nouns that say what sort of thing a name is.

Closed lists, made by hand for English; what they lack is unknown, not wrong.
"""

from __future__ import annotations

from mnemos.index.terms import STOP_WORDS
from mnemos.text.agreement.words import ADVERBS, AUXILIARIES, FORMS, PREPOSITIONS, word_set

MEN = word_set(
    """
    aaron abdul abraham adam adrian ahmed alan albert alejandro alexander alfred ali allen alvin amir andre andrea andreas andrew andy anthony
    antonio arnold arthur barack barry ben benjamin bernard bill billy bob bobby boris brad bradley brandon brendan brett brian bruce bryan caleb
    calvin cameron carl carlos cedric chad charles charlie chester christian christopher chuck clarence claude clifford clint colin connor
    craig curtis dale damien dan daniel danny darren dave david dean dennis derek deshawn diego dmitri dominic don donald douglas duncan dustin
    dwayne earl eddie edgar edmund eduardo edward edwin eli elijah elliot eric erik ernest ethan eugene evan felix ferdinand fernando francis
    francisco frank franz fred frederick friedrich gabriel gareth gary gavin geoffrey george gerald gerard gilbert giovanni giuseppe glenn gordon
    graham greg gregory gustav guy hans harold harry harvey hassan hector heinrich henri henry herbert herman hiroshi howard hugh hugo ian ibrahim
    igor isaac ivan jack jacob jacques jake james jamal jason javier jean jeff jeffrey jeremy jerome jerry jesse jim jimmy joe joel johann john
    johnny jon jonathan jordan jorge jose joseph josh joshua juan julian julius justin karl keith ken kenneth kenji kevin kurt kyle lars larry
    laurence lawrence leo leon leonard leonardo leroy leslie lewis liam lloyd logan louis lucas ludwig luigi luis luke malcolm manuel marc marco
    marcus mario mark markus martin marvin mason mathew matt matthew maurice max maxwell michael michel miguel mike mikhail mohamed mohammed morris
    muhammad nathan nathaniel neil nelson nicholas nick nicolas nigel noah norman oliver omar oscar otto owen pablo patrick paul pedro pete peter
    phil philip phillip pierre pietro rafael raj rajesh ralph ramon randy raymond reginald ricardo richard rick rob robert roberto robin rodney
    roger roland ron ronald ross roy rudolf rupert russell ryan salvador sam samir samuel sanjay scott sean sebastian sergei sergio seth shane shaun
    sidney simon stanley stefan stephen steve steven stewart stuart takeshi ted terry theodore thomas tim timothy tobias todd tom tommy tony
    travis trevor tyler victor vijay vincent vladimir wade wallace walter warren wayne wei wilhelm will william winston wolfgang xavier yusuf
    zachary zack james nate calvin evan dave jolene
    """
) - {"jolene", "will"}
WOMEN = word_set(
    """
    abigail ada adele agnes aisha alexandra alexis alice alicia alison amanda amber amelia amy ana andrea angela angelina anita ann anna anne
    annette annie antonia april ashley astrid audrey barbara beatrice becky bella bernadette beth betty beverly bianca bonnie brenda bridget
    brittany camilla camille candice carla carmen carol carolina caroline carolyn catherine cecilia charlotte chelsea cheryl chloe christina
    christine cindy claire clara claudia colleen cynthia daisy dana daniela danielle deborah debra denise diana diane dolores donna doris dorothy
    edith eileen elaine eleanor elena elisabeth eliza elizabeth ella ellen elsa emily emma erica erin esther ethel eva evelyn faith fatima felicia
    fiona florence frances gabriela gail georgia geraldine gertrude gina giulia gladys gloria grace greta hannah harriet heather heidi helen
    helena hilary holly hope ida ines ingrid irene iris isabel isabella ivy jackie jacqueline jade jane janet janice jasmine jean jeanne jenna
    jennifer jenny jessica jill joan joanna jocelyn jolene josephine joy joyce juanita judith judy julia juliana julie june karen karin kate
    katherine kathleen kathryn kathy katie kayla kelly kim kimberly kirsten kristen kristin laura lauren leah leila lena leslie lillian lily linda
    lindsay lisa liz lois lorena loretta lori lorraine louise lucia lucy lydia lynn mabel madeleine madison maggie margaret margarita maria
    marian marie marilyn marina marjorie marlene martha mary matilda maureen maya megan melanie melinda melissa mercedes meredith mia michelle
    mildred miranda miriam molly monica nadia nancy naomi natalia natalie natasha nicole nina nora norma olga olivia paige pamela patricia paula
    pauline peggy penelope penny phoebe phyllis priya rachel rebecca regina renee rhonda rita roberta rosa rosalind rose rosemary ruby ruth
    sabrina sally samantha sandra sara sarah sasha shannon sharon sheila shirley silvia simone sofia sonia sophia sophie stacy stella stephanie sue
    susan suzanne sylvia tamara tammy tanya tara teresa tessa theresa tiffany tina tracy ursula valentina valerie vanessa vera veronica victoria
    violet virginia vivian wendy wilma yolanda yuki yvonne zoe
    """
)
FIRST_NAMES = MEN | WOMEN
HONORIFICS = {
    "mr": "m", "mrs": "f", "ms": "f", "miss": "f", "dr": "", "prof": "", "professor": "", "sir": "m", "lady": "f", "lord": "m", "dame": "f",
    "king": "m", "queen": "f", "prince": "m", "princess": "f", "duke": "m",
    "duchess": "f", "count": "m", "countess": "f", "baron": "m", "baroness": "f",
    "emperor": "m", "empress": "f", "president": "", "pope": "m", "saint": "", "st": "", "captain": "", "general": "", "colonel": "", "uncle": "m",
    "aunt": "f", "coach": "",
}  # fmt: skip
"""Titles before a name, with the gender that they tell."""
KIN = {
    **dict.fromkeys(word_set("father dad husband brother son grandfather grandpa uncle nephew boyfriend man boy guy gentleman actor"), "m"),
    **dict.fromkeys(word_set("mother mom mum wife sister daughter grandmother grandma aunt niece girlfriend woman girl lady actress"), "f"),
    **dict.fromkeys(word_set("friend partner cousin boss manager neighbor neighbour colleague coworker roommate teacher doctor child kid baby"), ""),
}
"""Nouns for a person, with the gender that they tell."""
CLASSES: dict[str, frozenset[str]] = {
    "organisation": word_set(
        """
        company firm corporation corp inc ltd llc organisation organization agency bank foundation institute association society union club team
        university college school academy council committee commission ministry department party league federation group airlines airways industries
        studios records press times network association startup charity hospital church army navy band orchestra museum library laboratories
        manufacturer publisher retailer brand label employer
        """
    ),
    "work": word_set(
        """
        film movie album song novel book series show episode play opera musical poem painting single magazine newspaper game sequel documentary
        story soundtrack comic sitcom journal
        """
    ),
    "place": word_set(
        """
        city town village country state province county district region island river lake mountain valley bay street road avenue park square airport
        station bridge building hotel restaurant cafe stadium castle palace beach forest desert neighborhood neighbourhood republic kingdom
        capital municipality suburb peak township borough venue
        """
    ),
    "event": word_set(
        "war battle festival cup final championship olympics tournament election conference concert race marathon season party wedding ceremony"
    ),
    "animal": word_set("dog cat puppy kitten horse parrot rabbit hamster pet bird fish snake turtle"),
}
"""What a name is a name of, by the nouns that say so; in a description (`the company`) and in a name (`Acme Corp`)."""
CLASS_OF = {word: kind for kind, words in CLASSES.items() for word in words}
CALENDAR = word_set(
    """
    monday tuesday wednesday thursday friday saturday sunday january february march april may june july august september october november december
    jan feb mar apr jun jul aug sep sept oct nov dec mondays tuesdays wednesdays thursdays fridays saturdays sundays
    """
)
COMMON = (
    STOP_WORDS | ADVERBS | AUXILIARIES | frozenset(FORMS) | PREPOSITIONS
) - {"grace", "mark", "bill", "rose", "will", "may", "hope", "faith"} | word_set(
    """
    hi hey hello wow woah whoa yeah yep yup yes no nope ok okay oh ah aw aww haha lol thanks thank congrats congratulations awesome cool great nice
    amazing sounds good sure absolutely exactly totally definitely right well glad happy sorry please welcome sweet fun lovely wonderful fantastic
    awww omg ugh phew hmm um uh yay woohoo cheers bye goodbye hopefully luckily unfortunately fortunately actually anyway maybe perhaps however
    although though therefore thus hence moreover furthermore additionally meanwhile nevertheless nonetheless despite unlike according because since
    while when where why what who how which whose unless until if then there here today tomorrow yesterday tonight lately many much some several both
    each every most few one two three four five six seven eight nine ten first second third last next later early another other others new old like
    such his her its my your our their this that these those let lets dear speaking note remember imagine consider overall finally lastly firstly
    secondly step tip tips example examples based given due along among within without upon via per plus minus not never always often sometimes
    usually everyone everything someone something anyone anything nothing nobody people things thing life love loved looking forward keep take
    make get got go come see look check try use using start feel free enjoy hope can't don't won't i'm i've i'd i'll it's that's there's he's she's
    we're they're you're what's let's growing being having doing going in at on by for with from to of the a an and or but so as also during after
    before following under over between through against about around across behind beyond both either neither whether once originally formerly
    currently previously recently eventually subsequently initially located born known named called set written directed produced released
    married died buried raised educated appointed elected best super pretty
    alright yea nah ouch oof mmm mm ooh yum gotcha gotta gonna wanna btw anytime anyways besides looks way appreciate nature man true dang darn
    agree hard easy crazy funny simple impressive lots tons little big small long short whenever wherever together talk moments memories pets
    music yoga animals games art books seems sound reminds hang trust rest balance lucky bummer rockin woo woo-hoo yo c'mon y'all thats im ive
    real-life whats theres tough proud same different only plenty part name especially particularly generally specifically chat gad god
    really truly ready need needs want wish believe think know guess bet
    """
)
"""Words that begin sentences without being names."""


def gender_of(words: list[str]) -> str:
    """`m`, `f`, or nothing where it cannot be told, of a person's folded name: by the title, else by the first name."""
    first = words[0] if words else ""
    if first in HONORIFICS:
        return HONORIFICS[first] or gender_of(words[1:])
    man, woman = first in MEN, first in WOMEN
    return "m" if man and not woman else "f" if woman and not man else ""


def class_of(words: list[str]) -> str:
    """What a folded name is a name of: `person`, a key of `CLASSES`, or nothing where it cannot be told."""
    if not words:
        return ""
    for word in (words[-1], words[0]):
        if word in CLASS_OF:
            return CLASS_OF[word]
    if words[0] in HONORIFICS or words[0] in FIRST_NAMES:
        return "person"
    return next((CLASS_OF[word] for word in words if word in CLASS_OF), "")
