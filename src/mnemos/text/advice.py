"""Questions that ask for something to be thought up: what must shape the answer need share no word with the question."""

from __future__ import annotations

import re

_ADVICE = re.compile(
    r"\b(?:(?:what|where|which|how|who)\b[^.?!]* (?:should|could|would) (?:i|we)\b|should (?:i|we)\b|could (?:i|we)\b"
    r"|(?:can|could|would) you (?:please )?(?:recommend|suggest|advise|help|give me)|would you (?:recommend|suggest|advise)"
    r"|any (?:\w+ )?(?:tips|ideas|advice|suggestions?|recommendations?)|i(?:['’]m| am) (?:looking for|thinking of|trying to))\b",
    re.I,
)

def asks_advice(question: str) -> bool:
    """Whether a question asks for something to be thought up (a recommendation, a plan) rather than for what was said."""
    return bool(_ADVICE.search(question))
