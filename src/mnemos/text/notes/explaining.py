"""What a text says that a name means: "Oduya (born 1970) is a Nigerian vet", "my dentist, Oduya". By form, in English."""

from __future__ import annotations

import re
from collections.abc import Container

from mnemos.base.cube import Content
from mnemos.text.entities import Entity, entities
from mnemos.text.sentence_spans import sentence_spans

LONGEST = 100
"""Characters of what a name means."""
_DETERMINERS = "a|an|the|my|our|his|her|its|their|one of"
_AFTER = re.compile(
    rf"\s*(?:\([^()]{{0,120}}\)\s*)?(?:,?\s*(?:is|was|are|were|became|has become|'s|’s)\s+|,\s+(?:who (?:is|was)\s+)?)"
    rf"(?P<what>(?:{_DETERMINERS})\s+[^.,;:!?()\n]{{2,{LONGEST}}})", re.I
)  # fmt: skip
"""A name, and then what it is."""
_BEFORE = re.compile(rf"\b(?P<what>(?:{_DETERMINERS})\s+[^.,;:!?()\n]{{2,60}}?)(?:,|\s(?:is|was|named|called|is called|is named))\s*$", re.I)
"""What it is, and then the name."""
_OWN = re.compile(r"^(?:my|our)\s", re.I)
_ENDS = re.compile(r"\s(?:who|which|that|where|when|and (?:is|was|has|had|he|she|it|they|we|i)|but)\s.*$", re.I)


def explained(content: Content, names: Container[str]) -> dict[str, str]:
    """Those of some names (keys) of which a memory says what they are, and what."""
    text = content.text or ""
    spans = sentence_spans(text)
    out: dict[str, str] = {}
    for entity in entities(text):
        if entity.key in names and entity.key not in out:
            span = next((one for one in spans if one.start <= entity.start < one.end), None)
            what = _meaning(text, entity, span.start, span.end) if span is not None else None
            if what is not None:
                out[entity.key] = _OWN.sub(f"{content.author}'s ", what) if content.author else what
    return out


def _meaning(text: str, entity: Entity, start: int, end: int) -> str | None:
    """What a sentence, text[start:end], says that an entity in it is."""
    match = _AFTER.match(text[entity.end : end]) or _BEFORE.search(text[start : entity.start])
    return _ENDS.sub("", match["what"]).strip() if match else None


def inserted(context: str, name: str, what: str) -> str:
    """A context with what a name means behind the name, or at its end where it does not hold the name."""
    for entity in entities(context):
        if entity.key == name:
            return f"{context[: entity.end]} ({what}){context[entity.end :]}"
    return f"{context} ({what})"
