"""E-mail and IP addresses."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass

from mnemos.text.detectors.folding import Folded
from mnemos.text.detectors.span import Label, Span

# An e-mail address: RFC 5321, section 4.1.2, and RFC 6531 for letters of any script; lengths as section 4.5.3.1 of the first bounds them.
_LOCAL_BACKWARDS = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}")
_TOP = r"(?:xn--[a-z0-9-]{1,59}|[a-z]{2,63}|[^\W\d_a-z]{2,63})"
_DOMAIN = re.compile(rf"(?:[^\W_](?:[\w-]{{0,61}}[^\W_])?\.){{1,8}}{_TOP}(?![a-z0-9@_])", re.IGNORECASE)
_NO_END = frozenset(" @,;:<>()[]\"\\\n\t")
_OPENERS = "'`{|}*/=.~-#$%&!?^"
_WINDOW = 65
_UNSPACED = re.compile("[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
"""Letters of scripts that set no blanks between words: an address begins after them."""
_FILES = ("png", "jpg", "jpeg", "gif", "svg", "webp", "bmp", "ico", "css", "js", "ts", "json", "html", "htm", "md", "txt", "pdf", "py", "rb", "yaml")
_SERVICES = ("git", "svn", "hg")
_AT = (" at ]", "[at]", "(at)", "{at}", "<at>", "[ at", "( at")
_SPELT = re.compile(
    r"\w(?<![\w.].)[\w.+-]{0,63}(?:\s?[\[({<]\s?dot\s?[\])}>]\s?[\w+-]{1,63}){0,4}\s?[\[({<]\s?at\s?[\])}>]\s?[\w-]{1,63}(?:\s?(?:[\[({<]\s?dot\s?[\])}>]|\.)\s?[\w-]{1,63}){1,4}(?!\w)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Email:
    """E-mail addresses, those that are written `name [at] host [dot] org` too."""

    kind: str = "email"

    def find(self, text: Folded) -> Iterator[Span]:
        for at in text.hits("@"):
            if at == 0 or text.text[at - 1] in _NO_END:
                continue
            local = _LOCAL_BACKWARDS.match(text.text[max(0, at - _WINDOW) : at][::-1])
            domain = _DOMAIN.match(text.text, at + 1) if local else None
            if local is None or domain is None:
                continue
            name = local[0][::-1]
            name = (_UNSPACED.split(name)[-1] or name).lstrip(_OPENERS)
            top = domain[0].rpartition(".")[2].lower()
            if not name or top in _FILES or (name in _SERVICES and text.text[domain.end() : domain.end() + 1] == ":"):
                continue
            yield Span(at - len(name), domain.end(), self.kind, 0.98, Label.PERSONAL)
        if any(word in text.lower for word in _AT):
            for match in _SPELT.finditer(text.text):
                yield Span(match.start(), match.end(), self.kind, 0.85, Label.PERSONAL, "spelt out")


_IPV4 = re.compile(r"[0-9](?<![\w.-].)[0-9]{0,2}(?:\.[0-9]{1,3}){3}(?![\w-]|\.[0-9])", re.ASCII)
_VERSION = re.compile(
    r"(?:version|release|build|firmware|update|patch|rev|ver|kernel|driver|section|chapter|clause|oid|v)\.?[ :=]{0,2}$", re.IGNORECASE
)
_BEFORE = 12
_COLONS = re.compile(r":[0-9A-Fa-f]{0,4}:")
_HEXES = re.compile(r"[0-9A-Fa-f:.]+")
_LONGEST_IPV6 = 45
_EXAMPLES = [ipaddress.ip_network(block) for block in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")]
"""Blocks for documentation count as public, as what they stand for."""


@dataclass(frozen=True)
class IpAddress:
    """IPv4 and IPv6 addresses. Those of private networks are internal; loopback, multicast, masks and wildcards say nothing of anybody."""

    kind: str = "ip"

    def find(self, text: Folded) -> Iterator[Span]:
        for match in _IPV4.finditer(text.text):
            if not _VERSION.search(text.text, max(0, match.start() - _BEFORE), match.start()):
                yield from self._span(match.start(), match[0], 0.9)
        end = 0
        for match in _COLONS.finditer(text.text):
            if match.start() < end:
                continue
            start = match.start()
            while start > end and match.start() - start < 4 and text.text[start - 1] in "0123456789abcdefABCDEF":
                start -= 1
            run = _HEXES.match(text.text, start)
            end = run.end() if run else match.end()
            written = text.text[start:end].rstrip(".")
            written = written if written.endswith("::") else written.rstrip(":")
            after = text.text[start + len(written) : start + len(written) + 1]
            if len(written) <= _LONGEST_IPV6 and not text.text[max(0, start - 1) : start].isalnum() and not after.isalnum():
                yield from self._span(start, written, 0.95)

    def _span(self, start: int, written: str, confidence: float) -> Iterator[Span]:
        if not any(map(str.isdigit, written)):  # as in C++, where two colons stand between names
            return
        try:
            address = ipaddress.ip_address(written)
        except ValueError:
            return
        if address.is_loopback or address.is_unspecified or address.is_multicast or written.startswith(("255.", "0.")):
            return
        private = address.is_private and not any(address in network for network in _EXAMPLES if network.version == address.version)
        yield Span(start, start + len(written), self.kind, confidence, Label.INTERNAL if private else Label.PERSONAL, f"IPv{address.version}")
