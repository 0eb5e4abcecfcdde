"""The checks behind the detectors: check digits against published examples, dates, and the folding of texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemos.text.detectors.checksums import luhn, mod11_2, mod11_10, mod97, verhoeff, weighted
from mnemos.text.detectors.context import Nearby
from mnemos.text.detectors.dates import DATE, exists, has_year, plausible
from mnemos.text.detectors.folding import Folded
from mnemos.text.detectors.identities import FORMS
from mnemos.text.detectors.passwords import entropy, looks_random


def test_check_digits_of_published_examples() -> None:
    assert luhn("79927398713")  # ISO/IEC 7812-1's own
    assert not luhn("79927398710")
    assert mod97("GB82WEST12345698765432")
    assert not mod97("GB83WEST12345698765432")
    assert verhoeff("2363")
    assert not verhoeff("2364")
    assert mod11_10("86095742719")
    assert mod11_2("11010519491231002X")
    assert weighted("111222333", (9, 8, 7, 6, 5, 4, 3, 2, -1), 11) == 0


@given(st.integers(0, 10**15))
def test_one_wrong_digit_is_noticed(number: int) -> None:
    body = str(number)
    whole = next(body + str(digit) for digit in range(10) if luhn(body + str(digit)))
    at = number % len(whole)
    assert not luhn(whole[:at] + str((int(whole[at]) + 1 + number % 9) % 10) + whole[at + 1 :])


@pytest.mark.parametrize(
    ("country", "number", "good"),
    [
        ("United States, social security", "123-45-6789", True),
        ("United States, social security", "666-45-6789", False),
        ("United States, social security", "123-00-6789", False),
        ("United States, social security", "900-45-6789", False),
        ("United States, social security", "078-05-1120", False),
        ("United Kingdom", "AB123456C", True),
        ("United Kingdom", "BG123456C", False),
        ("Spain", "12345678Z", True),
        ("Spain", "X1234567L", True),
        ("Spain", "12345678A", False),
        ("Italy", "RSSMRA85T10A562S", True),
        ("Italy", "RSSMRA85T10A562T", False),
        ("Brazil", "111.444.777-35", True),
        ("Brazil", "111.444.777-34", False),
        ("Brazil", "111.111.111-11", False),
        ("Sweden", "811228-9874", True),
        ("Sweden", "811328-9874", False),
        ("Poland", "44051401359", True),
        ("Poland", "44051401358", False),
        ("China", "11010519491231002X", True),
        ("Switzerland", "756.9217.0769.85", True),
        ("Switzerland", "756.9217.0769.84", False),
        ("Germany", "86095742719", True),
        ("Netherlands", "111222333", True),
        ("India", "2363 6363 6363", False),
        ("France", "255081416802538", True),
        ("France", "255081416802539", False),
        ("Canada", "130-692-544", True),
    ],
)
def test_national_numbers(country: str, number: str, good: bool) -> None:
    forms = [form for form in FORMS if form.name == country and form.pattern.fullmatch(number)]
    assert forms, "no form of this country reads it"
    assert any(form.valid("".join(c for c in number if c.isalnum()).upper()) for form in forms) is good


@pytest.mark.parametrize(
    "written",
    ["1985-03-12", "12/03/1985", "3/12/85", "12.03.1985", "March 12, 1985", "12th of March 1985", "12. März 1985", "1985年3月12日"],
)
def test_dates_are_read(written: str) -> None:
    match = DATE.fullmatch(written)
    assert match
    assert plausible(match)
    assert has_year(written)


@pytest.mark.parametrize("written", ["1985-13-12", "45/45/1985", "March 77", "0/0/2000"])
def test_days_that_no_calendar_has(written: str) -> None:
    match = DATE.search(written)
    assert match is None or not plausible(match)


def test_leap_days() -> None:
    assert exists(2024, 2, 29)
    assert not exists(2023, 2, 29)


@given(st.text(alphabet=st.sampled_from("a1٣４\u200b\u00ad İß é-–\u2003＠Ⅷ\U0001d7d8"), max_size=30))
def test_folding_keeps_places(text: str) -> None:
    folded = Folded(text)
    assert len(folded.lower) == len(folded.text) <= len(text)
    for place in range(len(folded.text)):
        start, end = folded.span(place, place + 1)
        assert Folded(text[start:end]).text == folded.text[place]
    if folded.text:
        start, end = folded.span(0, len(folded.text))
        assert Folded(text[start:end]).text == folded.text


def test_digits_of_every_script_fold() -> None:
    assert Folded("١٢٣ ４５ ९०").text == "123 45 90"


def test_the_nearest_word_speaks() -> None:
    nearby = Nearby(r"\bphone\b", r"\border\b")
    assert nearby("phone 12", 6) is True
    assert nearby("phone, order 12", 13) is False
    assert nearby("order, phone 12", 13) is True
    assert nearby("order 7 came, 12", 14) is None
    assert nearby("phone\n12", 6) is None
    assert nearby("12", 0) is None


def test_random_strings_are_told_from_words() -> None:
    assert looks_random("9fceb02d0ae598e95dc970b74767f19372d61af8")
    assert looks_random("wJalrXUtnFEMI7K7MDENGbPxRfiCY")
    assert not looks_random("com/reset-password-2023-guide-10")
    assert not looks_random("internationalisation")
    assert not looks_random("2023-05-08-12-30-45-00")
    assert entropy("aaaa") == 0
    assert entropy("abcd") == 2
