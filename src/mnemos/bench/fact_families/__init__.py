"""Facts about people that change: for each attribute the ways to state it, the ways to say that it changed, values, and a question.

`{v}` is the value (`{V}` with a capital), `{o}` the value before. The parts say how far they can be trusted as a test of `mnemos.text.agreement`:
"made" was at hand while it was made; "held" was written apart, measured once, and then used for some rules more, and with "made" to fit the weights
of `text.agreement.replacing`; "fresh" was written when the rules were done, and only its figures, never its sentences, were looked at while frames
were made; "unseen" was written when these were done, and measured once, so that it tells what happens with attributes that nobody thought of.
"""

from mnemos.bench.fact_families import fresh, held, made, unseen
from mnemos.bench.fact_families.contrasts import CONTRASTS
from mnemos.bench.fact_families.family import FRESH, HELD, MADE, PARTS, UNSEEN, Contrast, Family, filled, stated

FAMILIES: tuple[Family, ...] = (*made.FAMILIES, *held.FAMILIES, *fresh.FAMILIES, *unseen.FAMILIES)

__all__ = ["CONTRASTS", "FAMILIES", "FRESH", "HELD", "MADE", "PARTS", "UNSEEN", "Contrast", "Family", "filled", "stated"]
