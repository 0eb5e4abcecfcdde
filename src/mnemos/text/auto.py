"""The default strategy. Until others have earned it by measured gain, it is the foundation alone."""

from __future__ import annotations

from mnemos.text.plain import Plain


class Auto(Plain):
    """What a space uses where nothing else is said."""

    name = "auto"
    about = "what has been measured to find best; at present the foundation"
