"""What stands before a number says what it is: the nearest of some words, among those that speak for a reading and those that speak against."""

from __future__ import annotations

import re

THINGS = (
    r"(?:\b(?:order|invoice|ticket|isbn|issn|ref(?:erence)?|tracking|serial|part|sku|model|version|release|build|confirmation|booking|reservation"
    r"|policy|item|product|article|imei|upc|ean|gtin|receipt|transaction|batch|lot|flight|licen[sc]e|plate|vin|asin|doi|pmid|job|request|issue"
    r"|bug|commit|parcel|shipment|timestamp|epoch|uuid|bestellung|rechnung|commande|facture|pedido|factura|ordine)s?"
    r"[ -]?(?:number|num|no|nr|nummer|id|code)?\b\.?|#|№)"
)
"""Words for numbers that things have, not people."""
OTHER_NUMBERS = rf"{THINGS}|\b(?:case|claim|customer|client|member|id)s?[ -]?(?:number|num|no|nr|nummer|id|code)?\b\.?"
"""Words for numbers that are no telephone's and no card's."""


_DIGIT = re.compile("[0-9]")


class Nearby:
    """Words that speak `for_` and `against` a reading, as alternatives of a regular expression, in lower case. The nearest one before counts;
    one that speaks against has spoken where another number came between."""

    def __init__(self, for_: str, against: str = OTHER_NUMBERS, width: int = 40) -> None:
        self._pattern = re.compile(rf"(?P<against>{against})|(?P<for>{for_})")
        self._for = re.compile(for_)
        self._width = width

    def spoken_for(self, lower: str) -> bool:
        """Whether any word of the text speaks for the reading of some number."""
        return self._for.search(lower) is not None

    def __call__(self, lower: str, start: int) -> bool | None:
        """True, False, or None where none of the words stands within `width` characters before `start`, in the same line."""
        begin = max(0, start - self._width)
        begin = lower.rfind("\n", begin, start) + 1 or begin
        nearest = None
        for match in self._pattern.finditer(lower, begin, start):
            nearest = match
        if nearest is None:
            return None
        return True if nearest["for"] else None if _DIGIT.search(lower, nearest.end(), start) else False

    def weigh(self, lower: str, start: int, alone: float, *, spoken_for: float, spoken_against: float) -> float:
        """The confidence of a reading: `alone` where nothing near speaks for or against it."""
        verdict = self(lower, start)
        return alone if verdict is None else spoken_for if verdict else spoken_against
