"""Postal addresses: house and street, in the orders and with the words of several languages, and the town behind them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mnemos.text.detectors.context import Nearby
from mnemos.text.detectors.folding import Folded
from mnemos.text.detectors.span import Label, Span

_CAPITAL = r"[A-ZÀ-ÖØ-ÞĀ-ŽΑ-ΩА-Я][\w'.-]{0,20}"
_NAME = rf"{_CAPITAL}(?:[ -]{_CAPITAL}){{0,3}}"
_HOUSE = r"(?<![\w.,/:$€£#-].)[0-9]{0,4}(?:[A-Za-z]|[/-][0-9]{1,4})?"  # behind its first digit

# -- the town, in what follows a street --
_STATE = (
    "(?:A[LKZR]|C[AOT]|D[CE]|FL|GA|HI|I[DLNA]|K[SY]|LA|M[EDAINSOTHP]|N[EVHJMYCDBLST]|O[HKRN]|P[AREQ]|RI|S[CDAK]|T[NX]|UT|V[TAI]|W[AVIY]|AB|BC|QC|YT|NU|NSW"
    "|VIC|QLD|TAS|ACT|GU|AS|FM|PW)"
)
_COUNTRY = (
    r"(?:USA?|U\.S\.(?:A\.)?|United States(?: of America)?|UK|U\.K\.|United Kingdom|England|Scotland|Wales|Ireland|Canada|Australia|New Zealand"
    r"|Germany|Deutschland|France|Spain|España|Italy|Italia|Netherlands|Nederland|Belgium|Switzerland|Austria|Österreich|Portugal|Sweden|Norway|Denmark|Poland|India)"
)
_BRITISH = r"[A-Z]{1,2}[0-9][A-Z0-9]? ?[0-9][ABD-HJLNP-UW-Z]{2}"
_CANADIAN = r"[A-Z][0-9][A-Z] ?[0-9][A-Z][0-9]"
_OTHER_CODE = r"[0-9]{5}-[0-9]{3}|[0-9]{4} ?[A-Z]{2},?|[0-9]{3} [0-9]{2}|[0-9]{2}-[0-9]{3}"
_CODE_FIRST = rf"(?:(?:[A-Z]{{1,2}}-)?[0-9]{{4,5}},?|{_OTHER_CODE}) {_NAME}"
_CODE_LAST = rf"(?:[0-9]{{5}}(?:-[0-9]{{3,4}})?|{_BRITISH}|{_CANADIAN})"
_TOWN_AND_CODE = rf"(?:{_NAME},? )(?:(?:{_STATE},? )(?:[0-9]{{4,5}}(?:-[0-9]{{4}})?|{_CANADIAN})|{_BRITISH}|{_CANADIAN}|[0-9]{{6}})"
_INDIAN = rf"{_NAME}[ -][0-9]{{6}}"
_UNIT = r"(?:,? ?(?:Apt|Apartment|Suite|Ste|Unit|Flat|Floor|Fl|Room|Rm|#)\.? ?#?[\w-]{1,6}\b)?"
_REST = re.compile(
    rf"{_UNIT}(?P<town>,?\s{{1,2}}(?:{_CODE_FIRST}|(?:{_NAME},?\s)?(?:{_STATE},? )?{_CODE_LAST}|{_TOWN_AND_CODE}|{_NAME}, {_STATE})\b"
    rf"|, (?!{_COUNTRY}){_NAME})?(?:,? {_COUNTRY}\b(?:,? {_CODE_LAST}\b)?)?"
)

# -- number and street --
_SURE = r"street|avenue|road|lane|boulevard|parkway|highway|turnpike|st|ave|av|rd|ln|blvd|pkwy|hwy"
_VAGUE = r"drive|dr|court|ct|way|place|pl|terrace|square|sq|circle|cir|plaza|row|close|crescent|gardens|grove|mews|park|trail|alley|loop|hill|walk"
_ENGLISH = re.compile(
    rf"[0-9]{_HOUSE},? (?:(?:[NSEW]|[NS][EW])\.? )?(?P<names>(?:(?:[^\W\d][\w'.-]{{0,20}}|[0-9]{{1,3}}(?:st|nd|rd|th)) ){{1,4}}?)"
    rf"(?:(?P<sure>{_SURE})|(?P<vague>{_VAGUE}))\b\.?(?: (?:NW|NE|SW|SE|[NSEW])\b)?",
    re.IGNORECASE,
)
_SMALL_WORDS = """
a an the of on in at to for from by with and or down up along off over out that this my your his her their our all more other same side mile miles km
kilometers kilometres metres meters feet minute minutes min mins hour hours day days week weeks month months year years block blocks times people
way ways things step steps percent points
"""
_NO_NAMES = frozenset(_SMALL_WORDS.split())
_LINE = re.compile(rf"[0-9]{_HOUSE},? {_NAME}{_UNIT},\s{{1,2}}(?:{_TOWN_AND_CODE}|{_INDIAN})\b")
_FRENCH = re.compile(
    rf"[0-9]{_HOUSE}(?: ?(?:bis|ter|quater))?,? (?:rue|avenue|av\.|boulevard|bd|place|allée|chemin|impasse|quai|cours|route|passage|square)"
    rf" (?:d[eu] |des |de la |de l'|d'|l'|la |le |les )*{_NAME}"
)

# -- street and number --
_STREET_FIRST = re.compile(
    r"(?:Calle|Callejón|Avenida|Avda\.?|Paseo|Pasaje|Plaza|Carrera|Carretera|Camino|Rambla|Ronda|Glorieta|Alameda|Cuesta|Travesía|Via|Viale"
    r"|Vicolo|Piazza|Corso|Largo|Borgo|Strada|Contrada|Canale|Rotonda|Urbanización|Rua|Travessa|Praça|Praia|Estrada|Rodovia"
    r"|[Uu]lica|[Pp]lac|[Aa]leja|[Oo]siedle|ul\.|al\.|pl\.|os\.)"
    rf" (?:d(?:e|el|i|ella|ei|egli|o|a|os|as) |d'|dell'|all')?(?:la |los |las )?{_NAME},? (?:n[.º°]{{1,2}} ?)?"
    r"[0-9]{1,4}(?:[A-Za-z]|/[0-9]{1,4})?\b"
)
_CODE = re.compile(
    rf",\s{{1,2}}(?:{_NAME}, )?(?:[0-9]{{5}},?|{_OTHER_CODE}) {_NAME}"
)
"""A code of the forms of which no year is one, and a town."""
_BEFORE_CODE = re.compile(
    rf"(?<!\w)(?:(?:rue|avenue|boulevard|place|chemin|impasse|allée|quai) (?:d[eu] |des |de la |d'|l'|la |le |les )*{_NAME}"
    rf"|{_NAME},? [0-9]{{1,4}}[A-Za-z]?)$"
)
_LONGEST_BEFORE = 90
_NO_STREETS = re.compile(
    r"(?:Chapter|Room|Page|Windows|Version|Figure|Table|Section|Part|Volume|Level|Day|Week|Group|Team|Top|Article|Number|No|Jan|Feb|Mar|Apr|May|Jun|Jul|Aug"
    r"|Sep|Oct|Nov|Dec)"
)
_ENDINGS = (
    "straße", "strasse", "str.", "allee", "gasse", "platz", "damm", "ufer", "chaussee", "weg", "ring", "straat", "gracht", "laan", "plein", "kade",
    "singel", "dijk", "baan", "gatan", "vägen", "gränd", "stigen", "gade", "vej",
)  # fmt: skip
_NUMBER = re.compile(r"\.? [0-9]{1,4}(?: ?[a-zA-Z])?(?![\w%€$]|[.:][0-9])")
_LONGEST_STREET = 40
_OPENING = re.compile(r"\b(?:Am|An der|Auf de[rm]|Im|In der|Zum|Zur|Unter den|Alte[rs]?|Neue[rs]?|Große[rs]?|Kleine[rs]?|Obere[rs]?|Untere[rs]?) $")
_BOX = re.compile(
    r"P(?<![A-Za-z0-9].)(?:\.? ?O\.? ?Box|\.? ?O\.? ?BOX|ost Office Box|ostfach|SC [0-9]{1,5},? Box) (?:No\.? )?[0-9](?:[0-9 ]{0,6}[0-9])?\b"
)
_POSTCODE = re.compile(r"[A-Z](?<![A-Za-z0-9-].)[A-Z]?[0-9][A-Z0-9]? ?[0-9][ABD-HJLNP-UW-Z]{2}(?![A-Za-z0-9])")
_HAN = r"\u3400-\u9fff"
_KANA = rf"\u3040-\u30ff{_HAN}"
_EAST_ASIAN = re.compile(
    rf"〒?\s?[0-9]{{3}}-[0-9]{{4}}\s?[{_HAN}][{_KANA}0-9-]{{3,40}}"
    rf"|[{_HAN}]{{2,20}}(?:路|街|大道|巷|弄|胡同)[0-9]{{1,5}}(?:号|號)(?:[{_HAN}0-9-]{{0,16}}[0-9]+(?:室|楼|樓|层))?"
    rf"|[{_HAN}]{{2,8}}(?:省|自治区|市)[{_HAN}]{{1,10}}[市县区州][{_HAN}]{{0,12}}(?:路|街|大道|巷)[A-Za-z0-9]{{0,5}}[号座室](?: [0-9]{{6}})?"
    rf"|[{_HAN}]{{2,3}}[都道府県][{_KANA}]{{2,16}}[市区町村][{_KANA}]{{0,14}}[0-9]{{1,3}}(?:-[0-9]{{1,3}}){{1,2}}"
    rf"|[{_HAN}]{{2,3}}[都道府県][{_KANA}]{{2,30}}[0-9]{{1,3}}丁目(?:[0-9]{{1,3}}番(?:地)?(?:[0-9]{{1,3}}号?)?)?"
)
_NEARBY = Nearby(
    r"\baddress|\blive[sd]?\b|\bliving\b|\blocated\b|\bdeliver|\bship|\bmail(?:ed|ing)? (?:it )?to\b|\bmov(?:ed|ing|e) (?:in)?to\b|\bresid|\bhome\b"
    r"|\bhouse\b|\boffice\b|\bat\b|\bstaying\b|\bwohn|\badresse|\bhabit|\bdirección|\bvivo\b|\bindirizzo|\bpost ?code|\bzip\b",
    r"\border\b|\bversion\b|\bmiles?\b|\bkm\b",
)


@dataclass(frozen=True)
class Address:
    """Postal addresses."""

    kind: str = "address"

    def find(self, text: Folded) -> Iterator[Span]:
        for match in _ENGLISH.finditer(text.text):
            yield from self._english(text, match)
        for match in _LINE.finditer(text.text):
            yield self._with_rest(text, match.start(), match.end(), 0.87, "number, street and town")
        for match in _FRENCH.finditer(text.text):
            yield self._with_rest(text, match.start(), match.end(), 0.85, "number and street")
        for match in _STREET_FIRST.finditer(text.text):
            if not text.text[max(0, match.start() - 1) : match.start()].isalnum():
                yield self._with_rest(text, match.start(), match.end(), 0.85, "street and number")
        for match in _CODE.finditer(text.text):
            street = _BEFORE_CODE.search(text.text, max(0, match.start() - _LONGEST_BEFORE), match.start())
            if street and not _NO_STREETS.match(street[0]):
                yield self._with_rest(text, street.start(), match.end(), 0.7, "street and code")
        for ending in _ENDINGS:
            for at in text.hits(ending):
                yield from self._compound(text, at, at + len(ending))
        for match in _BOX.finditer(text.text):
            yield self._with_rest(text, match.start(), match.end(), 0.87, "box")
        for match in _POSTCODE.finditer(text.text):
            confidence = 0.8 if _NEARBY(text.lower, match.start()) else 0.4
            yield Span(match.start(), match.end(), self.kind, confidence, Label.PERSONAL, "postcode")
        if not text.text.isascii():
            for match in _EAST_ASIAN.finditer(text.text):
                yield Span(match.start(), match.end(), self.kind, 0.9, Label.PERSONAL, "East Asian")

    def _english(self, text: Folded, match: re.Match[str]) -> Iterator[Span]:
        names = match["names"].split()
        if any(name.lower() in _NO_NAMES for name in names):
            return
        rest = _REST.match(text.text, match.end())
        town = bool(rest and rest["town"])
        written = match["sure"] or match["vague"]
        capitals = all(name[0].isupper() or name[0].isdigit() for name in [*names, written])
        year = re.match(r"(?:19|20)[0-9]{2} ", match[0]) is not None
        near = _NEARBY(text.lower, match.start()) is True
        if match["sure"]:
            confidence = 0.95 if town and capitals else 0.85 if capitals and not year else 0.7 if near and len(written) > 3 else 0.3
        else:
            confidence = 0.9 if town and capitals else 0.75 if near and capitals and not year else 0.35
        end = rest.end() if rest and capitals else match.end()
        yield Span(match.start(), end, self.kind, confidence, Label.PERSONAL, "number and street")

    def _compound(self, text: Folded, at: int, end: int) -> Iterator[Span]:
        """A street's name that ends in the word for street, as in German, Dutch or Swedish, and its number."""
        start = at
        while start > 0 and at - start < _LONGEST_STREET and (text.text[start - 1].isalpha() or text.text[start - 1] == "-"):
            start -= 1
        number = _NUMBER.match(text.text, end)
        if number and text.text[start].isupper() and at - start >= 2:
            opening = _OPENING.search(text.text, max(0, start - 12), start)
            yield self._with_rest(text, opening.start() if opening else start, number.end(), 0.85, "street and number")

    def _with_rest(self, text: Folded, start: int, end: int, confidence: float, name: str) -> Span:
        rest = _REST.match(text.text, end)
        town = bool(rest and rest["town"])
        return Span(start, rest.end() if rest else end, self.kind, confidence + (0.1 if town else 0), Label.PERSONAL, name)
