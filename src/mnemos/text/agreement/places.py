"""Countries, states and continents: places that others lie in, so that to name a city once and its country once is no contradiction."""

from __future__ import annotations

from mnemos.text.agreement.words import word_set

WIDE = word_set(
    """
    afghanistan albania algeria argentina armenia australia austria azerbaijan bahrain bangladesh belarus belgium bolivia bosnia botswana
    brazil britain bulgaria cambodia cameroon canada chile china colombia croatia cuba cyprus czechia denmark ecuador egypt england estonia
    ethiopia fiji finland france germany ghana greece guatemala haiti honduras hungary iceland india indonesia iran iraq ireland israel italy
    jamaica japan jordan kazakhstan kenya korea kuwait laos latvia lebanon libya lithuania luxembourg malaysia malta mexico moldova mongolia
    montenegro morocco mozambique myanmar namibia nepal netherlands holland nicaragua nigeria norway oman pakistan panama paraguay peru
    philippines poland portugal qatar romania russia rwanda scotland senegal serbia singapore slovakia slovenia somalia spain sudan sweden
    switzerland syria taiwan tanzania thailand tunisia turkey uganda ukraine uruguay uzbekistan venezuela vietnam wales yemen zambia zimbabwe
    uk usa us u.s u.k america uae europe asia africa oceania scandinavia alabama alaska arizona arkansas california colorado connecticut
    delaware florida georgia hawaii idaho illinois indiana iowa kansas kentucky louisiana maine maryland massachusetts michigan minnesota
    mississippi missouri montana nebraska nevada ohio oklahoma oregon pennsylvania tennessee texas utah vermont virginia washington wisconsin
    wyoming bavaria saxony catalonia andalusia brittany normandy tuscany sicily ontario quebec alberta manitoba saskatchewan queensland
    """
)
_OF_SEVERAL_WORDS = frozenset(
    {
        frozenset(name.split())
        for name in (
            "new zealand",
            "south africa",
            "saudi arabia",
            "sri lanka",
            "costa rica",
            "el salvador",
            "united states",
            "united kingdom",
            "new jersey",
            "new mexico",
            "new hampshire",
            "north carolina",
            "south carolina",
            "north dakota",
            "south dakota",
            "west virginia",
            "rhode island",
            "puerto rico",
            "south korea",
            "north korea",
            "latin america",
            "south america",
            "north america",
            "british columbia",
            "nova scotia",
            "new south wales",
            "middle east",
            "bay area",
            "ivory coast",
            "hong kong",
        )
    }
)


def wide(words: frozenset[str]) -> bool:
    """Whether the words name a country, a state or a continent, and nothing smaller."""
    return bool(words) and (words <= WIDE or words in _OF_SEVERAL_WORDS)
