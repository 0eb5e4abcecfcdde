"""Passwords, and tokens that only the words beside them give away."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from mnemos.text.detectors.folding import Folded
from mnemos.text.detectors.span import Label, Span

_STEMS = (
    "pass", "pwd", "secret", "token", "api", "access", "private", "auth", "signing", "encryption", "credential", "login", "pin", "contraseña",
    "mot de passe", "kennwort", "senha", "пароль", "密码", "密碼", "パスワード", "암호",
)  # fmt: skip
_WORD = re.compile(
    r"(?P<password>pass(?:word|wd|wort|phrase|code|key)s?|pwd|contraseña|mot de passe|kennwort|senha|пароль|密码|密碼|パスワード|암호"
    r"|login[ _-]code|pass(?=\s?[:=]))"
    r"|(?P<pin>pin(?: ?code| number)?)"
    r"|(?P<token>secrets?|tokens?|credentials?|api[ _-]?keys?|access[ _-]?keys?|(?:private|auth|signing|encryption)[ _-]?keys?)"
)
_SUFFIX = re.compile(r"(?:[ _-](?:key|id|value|access|token|code|string)){0,2}(?![a-z])")
_SIGN = re.compile(r"""["'`\])]{0,2}[ \t]{0,4}(?P<sign>[:=]{1,2}>?|-{1,2}>|为|は)(?P<blank>\s{0,4})(?P<open>["'`]?)""")
_SAID = re.compile(r"""["']?(?: (?!is |was )\w{1,12}){0,3}? (?:is|was|ist|lautet|est|es|é|è|это)(?: now| still)?[ :]{1,3}(?P<open>["'`]?)""")
_QUOTED = {quote: re.compile(rf"[^{quote}\n]{{3,200}}+(?={quote})") for quote in "\"'`"}
_BARE = re.compile(r"""[^\s"'`]{4,200}+""")
_NEXT_FIELD = re.compile(r"[,;&](?=\w+=)")
_CALL = re.compile(r"[A-Za-z_][\w.]*[(\[]")
_PLACEHOLDER = re.compile(
    r"(?:[*xX.•_-]{3,}|<.*|\[.*|\$\{.*|\$\(.*|\$[A-Z_]+|%\w+%|\{.*|your.*|my[_-]?(?:pass|token|secret|key|api).*|none|null|nil|true|false|undefined"
    r"|required|optional|redacted|example|changeme|string|str|integer|boolean|todo|tbd|n/a|empty|missing|invalid|expired|unknown|default|wrong"
    r"|incorrect|correct|failed|forgotten|reset|changed|same|yes|no|hidden|(?:os|process|env|self|config|settings)\..*|https?:.*|&.*;)$",
    re.IGNORECASE,
)
_RUN = re.compile(r"(?<![A-Za-z0-9+/_=-])[A-Za-z0-9+/_-]{16,512}={0,2}(?![A-Za-z0-9+/_-])")
_REACH = 60
_URL = re.compile(r"://(?P<user>[^\s/:@\"'<>]{1,64}):(?P<password>[^\s/@\"'<>]{1,128})@")
_HEADER = re.compile(r"(?:bearer|basic) (?P<value>[a-z0-9._~+/-]{16,4000}={0,2})", re.IGNORECASE)

Found = tuple[int, int, float] | None
"""(start, end, confidence)."""


@dataclass(frozen=True)
class Password:
    """What stands after a word such as password, PIN, secret or token, where it looks like one; and what addresses and headers carry."""

    kind: str = "password"

    def find(self, text: Folded) -> Iterator[Span]:
        end = 0
        for at in sorted(text.hits(*_STEMS)):
            word = _WORD.match(text.lower, at) if at >= end else None
            suffix = _SUFFIX.match(text.lower, word.end()) if word else None
            if word is None or suffix is None or (word["pin"] and text.lower[max(0, at - 1) : at].isalpha()):
                continue
            end, role = suffix.end(), word.lastgroup or ""
            found = _assigned(text.text, end, role) or _said(text.text, end, role) or (_beside(text.text, at, end) if role == "token" else None)
            if found:
                start, stop, confidence = found
                yield Span(start, stop, self.kind, confidence, Label.SECRET, role)
                end = max(end, stop)
        for at in text.hits("://"):
            url = _URL.match(text.text, at)
            if url and not _PLACEHOLDER.match(url["password"]):
                yield Span(url.start("user"), url.end("password"), self.kind, 0.99, Label.SECRET, "in an address")
        for at in text.hits("bearer ", "basic "):
            header = _HEADER.match(text.text, at)
            if header and entropy(header["value"]) >= 3:
                yield Span(header.start("value"), header.end("value"), self.kind, 0.9, Label.SECRET, "in a header")


def entropy(text: str) -> float:
    """Shannon's entropy of the characters, in bits for each."""
    return -sum(count / len(text) * math.log2(count / len(text)) for count in Counter(text).values())


def looks_random(text: str) -> bool:
    """Whether a machine may have drawn the letters and digits: they change between kinds more often than words and dates do."""
    return len(text) >= 16 and any(map(str.isdigit, text)) and any(map(str.isalpha, text)) and entropy(text) >= 3 and _changes(text) >= 0.25


def _changes(text: str) -> float:
    """How often, among letters and digits, the kind changes from one to the next: 0 to 1."""
    kinds = ["digit" if c.isdigit() else "upper" if c.isupper() else "lower" for c in text if c.isalnum()]
    return sum(a != b for a, b in itertools.pairwise(kinds)) / max(len(kinds) - 1, 1)


def _value(text: str, at: int, quote: str) -> tuple[int, int] | None:
    """Where the value that begins at `at` stands: up to the closing quote, or a word without the punctuation that ends a sentence."""
    match = (_QUOTED[quote] if quote else _BARE).match(text, at)
    if match is None:
        return None
    end = match.end() if quote else at + len(_NEXT_FIELD.split(match[0])[0].rstrip(".,;:"))
    return None if end - at < 3 or _PLACEHOLDER.match(text[at:end].strip("!?()[]{}")) else (at, end)


def _assigned(text: str, at: int, role: str) -> Found:
    """`password: …`, `SECRET_KEY="…"`."""
    sign = _SIGN.match(text, at)
    place = _value(text, sign.end(), sign["open"]) if sign else None
    if sign is None or place is None:
        return None
    value, after = text[slice(*place)].rstrip("!?"), text[place[1] : place[1] + 2]
    if sign["open"]:
        return (*place, 0.9) if role != "pin" or value.isdigit() else None
    if role == "pin":
        return (*place, 0.9) if _is_pin(value) else None
    if value.endswith("()") or (sign["sign"].startswith("=") and _CALL.match(value)):  # code that gets the value from elsewhere
        return None
    if _mixed(value):
        return (*place, 0.9) if role == "password" or len(value) >= 8 else None
    code = sign["sign"].startswith("=") and sign["blank"]
    prose = value.isalpha() and after[:1] == " " and after[1:].isalpha()
    return (*place, 0.6) if role == "password" and not code and not prose and "." not in value and "_" not in value else None


def _said(text: str, at: int, role: str) -> Found:
    """`my password is …`."""
    said = _SAID.match(text, at)
    place = _value(text, said.end(), said["open"]) if said else None
    if said is None or place is None:
        return None
    value = text[slice(*place)].rstrip("!?")
    if role == "pin":
        return (*place, 0.9) if _is_pin(value) else None
    if role == "token":
        digits = any(map(str.isdigit, value))
        return (*place, 0.85) if _mixed(value) and ((len(value) >= 8 and digits) or (len(value) >= 20 and _changes(value) >= 0.35)) else None
    if said["open"]:
        return (*place, 0.9)
    return (*place, 0.85) if (_mixed(value) and len(value) >= 5) or (value.isdigit() and len(value) >= 4) else None


def _beside(text: str, start: int, end: int) -> Found:
    """A string that looks drawn by a machine, close behind the word, or close before it."""
    after = next((run for run in _RUN.finditer(text, end, end + _REACH) if looks_random(run[0])), None)
    if after:
        return after.start(), after.end(), 0.8
    before = [run for run in _RUN.finditer(text, max(0, start - _REACH), start) if looks_random(run[0])]
    return (before[-1].start(), before[-1].end(), 0.7) if before else None


def _is_pin(value: str) -> bool:
    return value.isdigit() and 4 <= len(value) <= 8


def _mixed(value: str) -> bool:
    """Whether more than one kind of character stands in it, other than a capital at its beginning and hyphens and apostrophes within words."""
    kinds = {"digit" if c.isdigit() else "upper" if c.isupper() else "lower" if c.isalpha() else "-" if c in "-'" else "mark" for c in value[1:]}
    digits = "digit" in kinds and (len(kinds) > 1 or value[0].isalpha())
    return digits or "mark" in kinds or {"upper", "lower"} <= kinds
