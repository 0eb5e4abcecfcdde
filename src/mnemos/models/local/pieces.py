"""Tokens turned into text while they come: whole characters only, and nothing that a stop sequence could begin with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_BROKEN = "\N{REPLACEMENT CHARACTER}"


class Detokenizer:
    """Decodes a growing sequence of tokens. What it gives, joined, is what `decode` gives of all of them at once.

    Characters may be split over tokens, and a decoder may treat the first token of a text differently (a leading blank); so the newest tokens are
    decoded together with some before them, from a place where a character began. Only where bytes never become a character, and the decoder takes
    back whole characters next to them, which some with byte fallback do, the pieces keep what they have given.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._tokens: list[int] = []
        """Those that are decoded to see what is new."""
        self._new = 0
        """Where the ones begin that were not given as whole characters yet; those before it only stand before them."""
        self._given = 0
        """Characters given of what `_tokens` decode to."""

    def add(self, token: int) -> str:
        """What is certain now and was not before."""
        self._tokens.append(token)
        text = self._decode(self._tokens)
        certain = text.rstrip(_BROKEN)
        piece = certain[self._given :]
        self._given = max(self._given, len(certain))
        if certain == text and (last := self._decode(self._tokens[self._new :])):
            self._tokens = self._tokens[self._new :]
            self._new, self._given = len(self._tokens), len(last)
        return piece

    def finish(self) -> str:
        """The rest, broken characters as replacement characters."""
        text = self._decode(self._tokens)
        piece, self._given = text[self._given :], len(text)
        return piece


class StopText:
    """Holds text back while it could be the beginning of a stop sequence, and ends at the first that comes."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.stopped = False

    def add(self, text: str) -> str:
        """What may be shown now. After a stop sequence, `stopped`, nothing more."""
        if self.stopped:
            return ""
        self._held += text
        places = [place for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if places:
            self.stopped = True
            shown, self._held = self._held[: min(places)], ""
            return shown
        keep = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        shown, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return shown

    def finish(self) -> str:
        """What was held back, since no stop sequence came of it."""
        shown, self._held = self._held, ""
        return shown


def _overlap(text: str, stop: str) -> int:
    """The longest end of `text` that `stop` begins with, itself not the whole of `stop`."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if stop.startswith(text[-size:])), 0)
