"""Check digits: whether a string of digits can be a number of its kind, or was mistyped or made up."""

from __future__ import annotations

from collections.abc import Sequence


def luhn(digits: str) -> bool:
    """Luhn's formula (ISO/IEC 7812-1, annex B): payment cards, and several national numbers."""
    total = sum(map(int, digits[-1::-2]))
    total += sum(int(digit) * 2 - (9 if digit > "4" else 0) for digit in digits[-2::-2])
    return total % 10 == 0


def mod97(iban: str) -> bool:
    """ISO 7064 MOD 97-10 as an IBAN uses it (ISO 13616): the first four characters go to the end, letters count from A = 10."""
    return int("".join(str(int(character, 36)) for character in iban[4:] + iban[:4])) % 97 == 1


def mod11_10(digits: str) -> bool:
    """ISO 7064 MOD 11,10: the German tax number."""
    product = 10
    for digit in digits[:-1]:
        product = ((int(digit) + product) % 10 or 10) * 2 % 11
    return (11 - product) % 10 == int(digits[-1])


def mod11_2(text: str) -> bool:
    """ISO 7064 MOD 11-2, "X" for ten: the Chinese resident's number."""
    total = 0
    for character in text:
        total = (total * 2 + (10 if character in "xX" else int(character))) % 11
    return total == 1


def weighted(digits: str, weights: Sequence[int], modulus: int) -> int:
    """The sum of digits times weights, modulo `modulus`; as many digits as there are weights."""
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=True)) % modulus


_TIMES = [[(i + j) % 5 for j in range(5)] + [(i + j) % 5 + 5 for j in range(5)] for i in range(5)]
_TIMES += [[(i - j) % 5 + 5 for j in range(5)] + [(i - j) % 5 for j in range(5)] for i in range(5)]
_TURN = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)


def verhoeff(digits: str) -> bool:
    """Verhoeff's check over the dihedral group of order ten (Error Detecting Decimal Codes, 1969): the Indian resident's number."""
    check = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit)
        for _ in range(place % 8):
            value = _TURN[value]
        check = _TIMES[check][value]
    return check == 0
