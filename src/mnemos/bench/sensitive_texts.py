"""Texts with sensitive strings at known places, and texts with strings that look like them and are none: made from a seed.

Numbers get their check digits here, by formulas written for this file, so that a fault of a detector's own check shows.
"""

from __future__ import annotations

import base64
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TypeVar

import numpy as np
import orjson

Rng = np.random.Generator
T = TypeVar("T")
NAMES = (
    "Melanie Okafor", "José Álvarez", "Anne-Marie O'Brien", "Priya Raman", "Tobias Grünwald", "Zoë Lindqvist", "王小明", "Siobhán Byrne",
    "Ikaika Kealoha", "Wojciech Łuczak",
)  # fmt: skip
"""What the caller's list of names holds."""
_OTHERS = ("Melania", "Josefine", "Annemarie", "Priyanka", "Tobi", "Zoey", "王小红", "Byron", "Kealo", "Luca")
_DOMAINS = ("example.com", "mail.example.org", "uni-kiel.example", "firma.co.uk", "müller.example", "inbox.example.museum")
_LETTERS = string.ascii_letters + string.digits


@dataclass(frozen=True)
class Sample:
    """A text, the spans in it that are sensitive, and which list of templates it comes from: a kind, or "none" for what only looks so."""

    text: str
    spans: tuple[tuple[int, int, str], ...]
    source: str


def samples(rng: Rng, each: int) -> list[Sample]:
    """`each` texts with a span of every kind, and as many without any in all."""
    out = [_filled(rng, kind) for kind in SENSITIVE for _ in range(each)]
    out += [_harmless(rng) for _ in range(each * len(SENSITIVE))]
    return [out[i] for i in rng.permutation(len(out))]


def _filled(rng: Rng, kind: str) -> Sample:
    make, templates = SENSITIVE[kind]
    value, before = make(rng), ""
    template = _one(rng, templates)
    if rng.random() < 0.5:
        before = _one(rng, _CARRIERS) + _one(rng, (" ", "\n"))
    left, _, right = template.partition("{}")
    start = len(before) + len(left)
    after = _one(rng, _CARRIERS) if rng.random() < 0.5 else ""
    text = f"{before}{left}{value}{right}" + (f" {after}" if after else "")
    return Sample(text, ((start, start + len(value), kind),), kind)


def _harmless(rng: Rng) -> Sample:
    make, templates = HARMLESS[int(rng.integers(len(HARMLESS)))]
    text = _one(rng, templates).replace("{}", make(rng))
    return Sample(f"{_one(rng, _CARRIERS)} {text}" if rng.random() < 0.3 else text, (), "none")


def _one(rng: Rng, values: Sequence[T]) -> T:
    return values[int(rng.integers(len(values)))]


def _digits(rng: Rng, count: int) -> str:
    return "".join(str(d) for d in rng.integers(0, 10, count))


def _characters(rng: Rng, count: int, alphabet: str = _LETTERS) -> str:
    return "".join(alphabet[i] for i in rng.integers(0, len(alphabet), count))


def _shaped(rng: Rng, shape: str) -> str:
    """`shape` with each # as a digit, each N as a digit from 2 on, each X as a capital letter."""
    drawn = {"#": string.digits, "N": string.digits[2:], "X": string.ascii_uppercase}
    return "".join(_characters(rng, 1, drawn[c]) if c in drawn else c for c in shape)


# -- values that are sensitive --
def _email(rng: Rng) -> str:
    first = _one(rng, ("anna", "j.smith", "maria-lopez", "dev+lists", "K_Tanaka", "søren", "x", "very.long.name.of.somebody42"))
    address = f"{first}@{_one(rng, _DOMAINS)}"
    way = rng.random()
    if way < 0.08:
        return address.replace("@", " [at] ").replace(".", " [dot] ")
    if way < 0.12:
        return "".join(chr(ord(c) + 0xFEE0) if c.isascii() and c != "." else c for c in address)
    return address.upper() if way < 0.16 else address


_PHONES = (
    "+1 (N{0}) N{1}-####", "(N{0}) N{1}-####", "N{0}-N{1}-####", "N{0}.N{1}.####", "1-N{0}-N{1}-####", "+44 20 7### ####", "+44 (0)77## ######",
    "020 7### ####", "077## ######", "+49 30 8#####", "+49 151 8#######", "030 / 8######", "0151-8#######", "+33 6 8# ## ## ##", "06 8# ## ## ##",
    "01.8#.##.##.##", "+34 68# ## ## ##", "+39 06 8### ####", "+91 98### #####", "+86 138 #### ####", "+81 3-8###-####", "+55 11 98###-####",
    "+31 6 8#######", "+41 44 8## ## ##", "0044 20 7### ####", "+46 8 8## ### ##", "+353 1 8## ####", "+61 2 8### ####",
)  # fmt: skip


def _phone(rng: Rng) -> str:
    area, exchange = (_one(rng, ("08", "29", "32", "46", "75")) for _ in range(2))
    return _shaped(rng, _one(rng, _PHONES).format(area, exchange))


def _loose_phone(rng: Rng) -> str:
    return _shaped(rng, _one(rng, ("N23N46####", "077########", "98### #####", "68# ## ## ##", "N23 8###", "138########", "8# ## ## ##")))


def _with_luhn(body: str) -> str:
    total = 0
    for place, digit in enumerate(reversed(body)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value // 10 + value % 10
    return body + str(-total % 10)


_CARDS = (("4", 16), ("4", 16), ("53", 16), ("2310", 16), ("37", 15), ("34", 15), ("6011", 16), ("3540", 16), ("36", 14), ("622", 16))


def _card(rng: Rng) -> str:
    beginning, length = _one(rng, _CARDS)
    number = _with_luhn(beginning + _digits(rng, length - len(beginning) - 1))
    separator = _one(rng, ("", " ", "-"))
    if not separator:
        return number
    cuts = (4, 10) if length < 16 else (4, 8, 12)
    return separator.join(number[a:b] for a, b in zip((0, *cuts), (*cuts, length), strict=True))


_BBANS = {
    "DE": "#" * 18, "GB": "XXXX" + "#" * 14, "FR": "#" * 23, "ES": "#" * 20, "IT": "X" + "#" * 22, "NL": "XXXX" + "#" * 10, "BE": "#" * 12,
    "CH": "#" * 17, "AT": "#" * 16, "PL": "#" * 24, "NO": "#" * 11, "SE": "#" * 20, "PT": "#" * 21, "IE": "XXXX" + "#" * 14, "DK": "#" * 14,
}  # fmt: skip


def _iban(rng: Rng) -> str:
    country = _one(rng, tuple(_BBANS))
    account = _shaped(rng, _BBANS[country])
    number = int("".join(str(int(c, 36)) for c in account + country + "00"))
    iban = f"{country}{98 - number % 97:02d}{account}"
    way = rng.random()
    return " ".join(iban[i : i + 4] for i in range(0, len(iban), 4)) if way < 0.5 else iban.lower() if way < 0.6 else iban


def _key(rng: Rng) -> str:
    way = int(rng.integers(10))
    if way == 0:
        lines = "\n".join(_characters(rng, 64, _LETTERS + "+/") for _ in range(6))
        name = _one(rng, ("", "RSA ", "EC ", "OPENSSH "))
        return f"-----BEGIN {name}PRIVATE KEY-----\n{lines}\n-----END {name}PRIVATE KEY-----"
    if way == 1:
        parts = [orjson.dumps({"alg": "HS256", "typ": "JWT"}), orjson.dumps({"sub": _digits(rng, 8), "exp": 1900000000}), rng.bytes(32)]
        return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
    return (
        f"AKIA{_characters(rng, 16, string.ascii_uppercase + '234567')}",
        f"ghp_{_characters(rng, 36)}",
        f"github_pat_{_characters(rng, 40)}",
        f"xoxb-{_digits(rng, 12)}-{_characters(rng, 24)}",
        f"sk_live_{_characters(rng, 24)}",
        f"AIza{_characters(rng, 35)}",
        f"sk-proj-{_characters(rng, 48)}",
        f"glpat-{_characters(rng, 20)}",
    )[way - 2]


def _password(rng: Rng) -> str:
    word = _one(rng, ("sunflower", "Tiger", "correcthorse", "Winter", "letmein", "qwerty"))
    drawn = _characters(rng, 12, _LETTERS + "!#%&")
    return _one(rng, (f"{word}{_digits(rng, 2)}", f"{word}!{_digits(rng, 1)}", drawn, f"{_characters(rng, 4)}_{word}7"))


def _token(rng: Rng) -> str:
    return _one(rng, (_characters(rng, 40, "0123456789abcdef"), _characters(rng, 32), _characters(rng, 43, _LETTERS + "-_"), _characters(rng, 24)))


def _day(rng: Rng) -> date:
    return date(1940, 1, 1) + timedelta(days=int(rng.integers(0, 25000)))


def _national(rng: Rng) -> str:
    way = int(rng.integers(6))
    if way == 0:  # United States
        return f"{rng.integers(1, 666):03d}-{rng.integers(1, 100):02d}-{rng.integers(1, 10000):04d}"
    if way == 1:  # United Kingdom
        return _shaped(rng, _one(rng, ("AB ## ## ## C", "JG######D")))
    if way == 2:  # Spain
        number = int(rng.integers(10**7, 10**8))
        return f"{number}{'TRWAGMYFPDXBNJZSQVHLCKE'[number % 23]}"
    if way == 3:  # Brazil
        body = [int(digit) for digit in _digits(rng, 9)]
        for _ in range(2):
            rest = sum(d * w for d, w in zip(body, range(len(body) + 1, 1, -1), strict=True)) % 11
            body.append(0 if rest < 2 else 11 - rest)
        d = "".join(map(str, body))
        return f"{d[:3]}.{d[3:6]}.{d[6:9]}-{d[9:]}"
    if way == 4:  # France
        number_text = f"{rng.integers(1, 3)}{rng.integers(0, 100):02d}{rng.integers(1, 13):02d}{rng.integers(1, 96):02d}{_digits(rng, 6)}"
        return f"{number_text}{97 - int(number_text) % 97:02d}"
    number_text = f"110105{_day(rng):%Y%m%d}{_digits(rng, 3)}"  # China
    return number_text + "10X98765432"[sum(int(d) * pow(2, 17 - i, 11) for i, d in enumerate(number_text)) % 11]


def _birth(rng: Rng) -> str:
    day = _day(rng)
    ways = ("{0:%Y-%m-%d}", "{0:%d/%m/%Y}", "{0:%d.%m.%Y}", "{0:%B} {0.day}, {0.year}", "{0.day} {0:%B} {0.year}", "{0.day}th of {0:%B}",
            "{0:%b} {0.day} {0.year}")  # fmt: skip
    return _one(rng, ways).format(day)


_ADDRESSES = (
    "{n} {street} Street", "{n} {street} Ave, Apt {m}, Springfield, IL 62704", "{n} {street} Rd, Austin, TX 78701",
    "{n}B {street} Road, London NW1 6XE", "{n} {street} Drive, Boulder, CO 80302", "Lindenstraße {n}, 10969 Berlin", "Am Goetheplatz {n}",
    "{n} rue de la République, 69002 Lyon", "{n} avenue Victor Hugo", "Calle de Atocha {n}, Madrid", "Via Garibaldi {n}, Torino",
    "Prinsengracht {n}, 1015 DX Amsterdam", "P.O. Box {n}00", "上海市浦东新区世纪大道{n}号", "東京都渋谷区神南1-{m}-2",
    "Storgatan {n}, 111 22 Stockholm", "Rua Augusta {n}, Lisboa",
)  # fmt: skip


def _address(rng: Rng) -> str:
    street = _one(rng, ("Maple", "Old Mill", "Lincoln", "St. James's", "3rd", "Martin Luther King", "Harbour View"))
    return _one(rng, _ADDRESSES).format(n=rng.integers(1, 990), m=rng.integers(1, 40), street=street)


def _ip(rng: Rng) -> str:
    if rng.random() < 0.7:
        return f"{rng.integers(11, 127)}.{rng.integers(0, 256)}.{rng.integers(0, 256)}.{rng.integers(1, 255)}"
    groups = [f"{rng.integers(0x1000, 0xFFFF):x}" for _ in range(8)]
    return ":".join(["2001", *groups[1:]]) if rng.random() < 0.5 else f"2001:{groups[0]}::{groups[1]}"


def _name(rng: Rng) -> str:
    name = _one(rng, NAMES)
    return _one(rng, (name, name, name.upper(), name.lower(), name.replace(" ", "  ")))


_CARRIERS = (
    "Thanks for the talk yesterday.", "The meeting moved to 14:30 on 2024-03-05.", "We sold 1,250 tickets in 3 days.", "See you on Monday!",
    "Das Paket ist da.", "It cost $1,299.00 and weighs 12.5 kg.", "On y va ?", "Version 2.10.3 is out.", "明天见。", "I read 40 pages of chapter 7.",
    'He said: "not before 2019".', "Row 12, seat 4.",
)  # fmt: skip
_PASSWORD_TEMPLATES = (
    "password: {}", "my password is {}", "PASSWORD={}", "The wifi password is {}.", "pwd = '{}'", '"password": "{}"', "login: bob / pass: {}",
    "Passwort: {}", "mot de passe : {}", "contraseña: {}",
)  # fmt: skip
_TOKEN_TEMPLATES = (
    "token: {}", "API_TOKEN={}", "the api key is {}", "secret = '{}'", "Authorization: Bearer {}", "client_secret: {}", "our access token {} works",
)  # fmt: skip
_BIRTH_TEMPLATES = (
    "I was born on {}.", "DOB: {}", "date of birth {}", "her birthday is {}!", "geboren am {}", "née le {}", "Birthdate - {}", "{} is my birthday",
)  # fmt: skip

Make = Callable[[Rng], str]
SENSITIVE: dict[str, tuple[Make, tuple[str, ...]]] = {
    "email": (_email, ("Write to {}.", "my address is {}", "<{}>", "cc: {}, please", "Contact ({}) today", "{} wrote:", "邮箱：{}", "mailto:{}?x=1")),
    "phone": (_phone, ("Call me at {}.", "{}", "Tel.: {}", "You can reach her on {} after six.", "My new number is {}, save it!", "WhatsApp {}")),
    "loose phone": (_loose_phone, ("Call me at {}.", "my number is {}", "phone: {}", "Text me on {} tonight", "Mobile {}", "手机 {}", "tel. {}")),
    "card": (_card, ("My card is {}.", "{}", "Please charge {} exp 04/27", "Visa {}, CVV 123", "card number: {}", "paid with {} yesterday")),
    "iban": (_iban, ("IBAN {}", "Transfer it to {} by Friday.", "{}", "Konto: {}.", "account {}, thanks")),
    "key": (_key, ("export KEY={}", "use {} for now", "{}", "the key is {}.", '{"key": "{}"}', "curl -H 'X-Key: {}'")),
    "password": (_password, _PASSWORD_TEMPLATES),
    "token": (_token, _TOKEN_TEMPLATES),
    "national_id": (_national, ("SSN or ID: {}", "her social security / national id is {}", "identity number {}", "tax file number {}")),
    "birth_date": (_birth, _BIRTH_TEMPLATES),
    "address": (_address, ("I live at {}.", "Ship it to {}", "{}", "Address: {}", "We moved to {} last year.", "Meet us at {}, second floor")),
    "ip": (_ip, ("from {} port 22", "{}", "ping {}", "Client [{}] connected", "host={}")),
    "name": (_name, ("{} called.", "I met {} yesterday", "Ask {}'s brother", "—{}", "{}: hello", "({})")),
}
"""What a kind's spans are made by, and the sentences that they stand in."""

KIND = {"loose phone": "phone", "token": "password"}
"""The detectors' kinds of those that have another name here."""


# -- values that only look so --
def _among(*values: str) -> Make:
    return lambda rng: _one(rng, values)


def _date_or_years(rng: Rng) -> str:
    month, day = rng.integers(1, 10), rng.integers(10, 20)
    year = rng.integers(2010, 2030)
    return _one(rng, (f"{year}-0{month}-{day}", f"{day}.0{month}.{year}", f"0{month}/{day}/{year} {day}:30", "between 1995 and 2003 and 2011"))


def _amount(rng: Rng) -> str:
    a, b, c = rng.integers(1, 90), _digits(rng, 3), _digits(rng, 3)
    return _one(rng, (f"{a},{b},{c}", f"{a} {b} {c}", f"{a}.{b}{c}, -1{a}.{c}{b}", f"3.14159{_digits(rng, 12)}"))


_THING = ("N239-8N-####", "N829######", "N23-456-####", "9### #### #### ###1")
HARMLESS: tuple[tuple[Make, tuple[str, ...]], ...] = (
    (
        lambda rng: _shaped(rng, _one(rng, _THING)),
        ("Order no. {} has shipped.", "invoice number {}", "Your tracking number: {}", "ticket #{}", "Ref. {}", "part no. {}", "Booking {} is on"),
    ),
    (_date_or_years, ("The meeting is on {}.", "call on {}", "due {}", "It happened {} in Oslo", "{}: release day", "Founded {}.")),
    (lambda rng: ".".join(map(str, rng.integers(0, 30, 4))), ("version {}", "v{}", "Upgrade to release {}", "firmware {}")),
    (lambda rng: _characters(rng, 40, "0123456789abcdef"), ("commit {}", "sha1: {}", "Digest {}", "git checkout {}", 'etag "{}"')),
    (lambda rng: "-".join(_characters(rng, n, "0123456789abcdef") for n in (8, 4, 4, 4, 12)), ("id {}", "request {} failed", "uuid={}")),
    (
        _among("@bob", "image@2x.png", "react@18.2.0", "git@github.com:org/repo.git", "a @ b", "user@localhost", "5 @ 3.50"),
        ("see {}", "{} is here", "install {}", "clone {}"),
    ),
    (
        _among("wrong", "expired", "required", "too short", "the same as before", "not stored here", "at least 8 characters long", "safe with me"),
        ("My password is {}.", "The token is {}", "password: {}", "the secret is {}", "Your access token was {}.", "passwords are {}"),
    ),
    (
        _among("5 miles down the road", "2 streets away", "a 10 minute walk", "12 people on the way", "3 Michelin star places", "20 Main points",
               "the 3rd Street corner", "100 ways to drive"),
        ("It is {}.", "I live {}", "We found {}", "{}!"),
    ),
    (_among("in 1990", "last year", "yesterday", "in Oslo", "with 2 teeth", "at 3.2 kg"), ("She was born {}.", "The company was born {}", "born {}")),
    (
        lambda rng: f"978-{_digits(rng, 1)}-{_digits(rng, 2)}-{_digits(rng, 6)}-{_digits(rng, 1)}",
        ("ISBN {}", "the book {}", "ISBN-13: {}"),
    ),
    (_amount, ("It cost {} in all", "position {}", "{} inhabitants", "the value {}")),
    (lambda rng: f"17{_digits(rng, 8)}", ("timestamp {}", "epoch {}", "at t={}", "id={}")),
    (lambda rng: f"35{_digits(rng, 13)}", ("IMEI {}", "device serial {}", "barcode {}")),
    (
        _among("std::vector<int>", "12:30:45", "00:1A:2B:3C:4D:5E", "Foo::bar()", "10:9 and 3:16", "a::b::c", "255.255.0.0", "::1"),
        ("in {}", "{} again", "see {}"),
    ),
    (_among(*_OTHERS), ("{} called.", "I met {} yesterday", "Ask {}'s brother", "({})")),
    (
        _among("scored 100 200 300", "lost 3-2 6-4 7-5", "rolled 4 8 15 16 23 42", "ran 5 km in 25:30", "read pages 120-155, 160-171"),
        ("She {}.", "They {} last week", "He {}, then left"),
    ),
    (
        lambda rng: f"{_characters(rng, 3, string.ascii_uppercase)} {_digits(rng, 3)} {_characters(rng, 3)}",
        ("flight {}", "plate {}", "course {}", "model {}"),
    ),
)  # fmt: skip
"""What only looks sensitive, and the sentences that it stands in."""
