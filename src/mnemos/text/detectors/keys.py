"""Keys and tokens that show by their form what they are."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from mnemos.text.detectors.folding import Folded
from mnemos.text.detectors.span import Label, Span

_B64 = "[A-Za-z0-9_-]"
_ISSUED: tuple[tuple[str, str, str], ...] = (
    ("AWS access key", "AKIA", "AKIA[A-Z2-7]{16}"),
    ("AWS access key", "ASIA", "ASIA[A-Z2-7]{16}"),
    ("GitHub token", "ghp_", "ghp_[A-Za-z0-9]{36,255}"),
    ("GitHub token", "gho_", "gho_[A-Za-z0-9]{36,255}"),
    ("GitHub token", "ghu_", "ghu_[A-Za-z0-9]{36,255}"),
    ("GitHub token", "ghs_", "ghs_[A-Za-z0-9]{36,255}"),
    ("GitHub token", "ghr_", "ghr_[A-Za-z0-9]{36,255}"),
    ("GitHub token", "github_pat_", "github_pat_[A-Za-z0-9_]{22,255}"),
    ("GitLab token", "glpat-", f"glpat-{_B64}{{20,64}}"),
    ("Slack token", "xox", "xox[abeoprs]-[A-Za-z0-9-]{10,250}"),
    ("Slack webhook", "hooks.slack.com/services/", "hooks\\.slack\\.com/services/[A-Za-z0-9/]{20,120}"),
    ("Stripe key", "sk_live_", "sk_live_[A-Za-z0-9]{16,250}"),
    ("Stripe key", "sk_test_", "sk_test_[A-Za-z0-9]{16,250}"),
    ("Stripe key", "rk_live_", "rk_live_[A-Za-z0-9]{16,250}"),
    ("Google API key", "AIza", f"AIza{_B64}{{35}}"),
    ("Google OAuth token", "ya29.", f"ya29\\.{_B64}{{20,500}}"),
    ("OpenAI or Anthropic key", "sk-", f"sk-(?=[A-Za-z_-]{{0,60}}[0-9]){_B64}{{20,250}}"),
    ("Hugging Face token", "hf_", "hf_[A-Za-z0-9]{30,64}"),
    ("npm token", "npm_", "npm_[A-Za-z0-9]{36}"),
    ("PyPI token", "pypi-", f"pypi-{_B64}{{50,500}}"),
    ("SendGrid key", "SG.", f"SG\\.{_B64}{{16,64}}\\.{_B64}{{16,64}}"),
    ("DigitalOcean token", "dop_v1_", "dop_v1_[0-9a-f]{64}"),
    ("Shopify token", "shp", "shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}"),
    ("Mailgun key", "key-", "key-[0-9a-f]{32}"),
    ("age key", "AGE-SECRET-KEY-1", "AGE-SECRET-KEY-1[A-Z0-9]{58}"),
    ("Telegram token", ":AA", f"[0-9]{{8,10}}:AA{_B64}{{33}}"),
)
"""What issuers' keys look like, by their own descriptions: name, a piece that stands in each, the whole."""
_TELEGRAM_DIGITS = (8, 9, 10)
_PRIVATE = re.compile("-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_PRIVATE_END = re.compile("-----END (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_JWT = re.compile(rf"(?<![A-Za-z0-9_.-])(eyJ{_B64}{{8,2000}}+)\.{_B64}{{2,100000}}+\.{_B64}{{0,2000}}+")


@dataclass(frozen=True)
class Key:
    """Private keys, JSON web tokens, and keys that show by their beginning who gave them out."""

    kind: str = "key"

    def find(self, text: Folded) -> Iterator[Span]:
        yield from self._private(text.text)
        for at in text.hits("eyj"):
            token = _JWT.match(text.text, at)
            if token and _is_header(token[1]):
                yield Span(at, token.end(), self.kind, 0.99, Label.SECRET, "JSON web token")
        for name, piece, whole in _COMPILED:
            end, at = 0, text.text.find(piece)
            while at >= 0:
                starts = [at - digits for digits in _TELEGRAM_DIGITS] if piece == ":AA" else [at]
                key = next((key for start in starts if start >= end and (key := whole.match(text.text, start))), None)
                if key:
                    yield Span(key.start(), key.end(), self.kind, 0.97, Label.SECRET, name)
                end = key.end() if key else at + len(piece)
                at = text.text.find(piece, end)

    def _private(self, text: str) -> Iterator[Span]:
        end = 0
        ends: re.Match[str] | None = None
        for begins in _PRIVATE.finditer(text):
            if begins.start() < end:
                continue
            if ends is None or ends.start() < begins.end():
                ends = _PRIVATE_END.search(text, begins.end())
            if ends is None:  # cut short: all that follows may be key
                yield Span(begins.start(), len(text), self.kind, 0.9, Label.SECRET, "private key")
                return
            end = ends.end()
            yield Span(begins.start(), end, self.kind, 0.99, Label.SECRET, "private key")


_COMPILED = [(name, piece, re.compile(f"(?<![A-Za-z0-9_-])(?:{whole})(?![A-Za-z0-9])")) for name, piece, whole in _ISSUED]


def _is_header(encoded: str) -> bool:
    """Whether `encoded` is the header of a JSON web token (RFC 7519): JSON that names an algorithm."""
    try:
        header = json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return False
    return isinstance(header, dict) and "alg" in header
