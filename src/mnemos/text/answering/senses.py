"""Words of questions and of texts that say the same under other forms: `wrote` and `author`, `birth` and `born`, `spouse` and `married`."""

from __future__ import annotations

from functools import lru_cache

from mnemos.index.terms import term
from mnemos.text.agreement.words import FORMS

_GROUPS = """
write written author writer novelist wrote penned|bear born birth birthplace birthday|die died death dead dies|film movie films movies|
marry married spouse wife husband marriage wed|direct director directed filmmaker|compose composer composed|
found founder founded establish established|sing singer sang sung performer perform performed vocals vocal|
play actor actress played plays portray portrayed star starred cast starring|publish publisher published|produce producer produced|
win winner won wins winning champion|lead leader led head headed|own owner owned owns|locate located location situated|
begin start began started starts begun|end ended finish finished|invent inventor invented discover discovered|
educate educated study studied attend attended school university college alma|father son daughter child children parent mother|
country nation nationality|call called name named known nickname|release released came premiere premiered|build built construct constructed|
job work occupation profession career|buy bought purchase purchased|car vehicle|big large largest biggest|make made create created creator maker|
king monarch emperor ruler|record recorded label|employ employer works worked|city town|sibling brother sister|
kill killed assassinated murder murdered|get got receive received obtained|pet dog cat puppy|visit visited trip went travel travelled traveled|
age old aged
"""
"""Words that say the same, the name of the group first."""
_SAME = {word: group.split()[0] for group in _GROUPS.split("|") for word in group.split()}


@lru_cache(maxsize=1 << 15)
def sense(word: str) -> int:
    """The term under which a folded word is compared: that of its group, of its verb's base form, or its own."""
    same = _SAME.get(word)
    if same is None and word in FORMS:
        base = FORMS[word][0]
        same = _SAME.get(base, base)
    return term(same or word)
