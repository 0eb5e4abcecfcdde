"""The weights of evidence."""

from __future__ import annotations

from dataclasses import dataclass, field

from mnemos.index.lexical import BM25


@dataclass(frozen=True)
class Recipe:
    """How evidence is weighed. A score is the sum of evidence times weight.

    Weights are in log odds per unit of evidence (evidence is 0 to 1 unless said otherwise), of any sign and size; 0 leaves a piece out.
    Defaults: fitted by `mnemos.bench.fitting` over questions of six public sets together: two-person chats (LoCoMo), chats with an
    assistant (LongMemEval, BFCL memory), meetings (QMSum) and passages (MuSiQue, HotpotQA, 2WikiMultihopQA, Natural Questions); leaving
    groups of whole conversations out costs about one point of recall@10 at most. In a part of the questions all words were dropped,
    so that meaning carries where words fail. `own_words` and `said_then` are set below their fitted values, which rest on few kinds of
    questions.
    """

    bm25: BM25 = field(default_factory=BM25)
    """Parameters of BM25."""
    near: int = 4
    """Rows, 1 or more: how far `*_near` reaches. Default: the length of an exchange."""
    around: int = 24
    """Rows, 1 or more: how far `*_around` and `*_peak` reach within a thread. Default: about a session of LoCoMo, a topic of QMSum."""
    weighed_rows: int = 8192
    """Rows up to which every row is weighed in full. Default: above it, time; a search over 100,000 rows stays below its 15 ms."""
    seeds: int = 160
    """Rows, 1 or more: in larger spaces, how many of the best by words, and by meaning, are weighed in full with all within `around`."""
    feedback_rows: int = 5
    """Rows, 1 or more, whose words expand the question. Default: usual for pseudo-relevance feedback on short passages."""
    feedback_terms: int = 20
    """Terms, 0 or more, that expand the question. Default: as above."""

    words: float = 0.54
    """BM25 over the best row's, 0 to 1."""
    words_squared: float = 0.98
    """The square of words: the best by words stand out."""
    coverage: float = 0.42
    """Share of the question's terms, by inverse document frequency, that the row holds."""
    both: float = -0.93
    """Words times meaning: rows that both agree on."""
    about: float = 1.0
    """Share of the names in the question, authors' aside, that the row holds: whom or what it is about. Default: set, not fitted, where nothing is
    lost on LoCoMo, LongMemEval and the multi-hop sets, on histories of many people who are spoken of and do not speak."""
    heading: float = 0.87
    """Share of the row's heading or title that the question names."""
    meaning: float = 0.9
    """Cosine with the voiced question, between the mean of the space (0) and its best (1)."""
    meaning_unworded: float = 1.66
    """Meaning, times the squared share of the question that no row has in words: where words fail, meaning decides."""
    meaning_near_unworded: float = 0.87
    """The same of `meaning_near`."""
    meaning_peak_unworded: float = 1.28
    """The same of `meaning_peak`."""
    words_before: float = -0.23
    """Words of the row before."""
    words_before_2: float = 0.64
    """Words of the row two before."""
    words_after: float = -0.07
    """Words of the row after."""
    words_after_2: float = 0.05
    """Words of the row two after."""
    meaning_before: float = -0.47
    """Meaning of the row before."""
    meaning_before_2: float = -0.35
    """Meaning of the row two before."""
    meaning_after: float = 0.22
    """Meaning of the row after."""
    meaning_after_2: float = -0.18
    """Meaning of the row two after."""
    words_near: float = 0.46
    """Mean of words over the rows within `near`."""
    meaning_near: float = 1.45
    """Mean of meaning over the rows within `near`."""
    words_around: float = -1.77
    """Mean of words over the rows within `around`; what a whole passage is about tells less than its best row."""
    meaning_around: float = -0.23
    """Mean of meaning over the rows within `around`."""
    words_peak: float = 0.69
    """Best words within `around`: the passage or session is the right one."""
    coverage_peak: float = 0.26
    """Best coverage within `around`."""
    together_next: float = 1.11
    """Share of the question that the row, the one before and the one after hold between them."""
    together_near: float = 1.35
    """The same of the rows within `near`."""
    meaning_peak: float = 1.66
    """Best meaning within `around`."""
    after_question: float = -0.44
    """The row before asks something."""
    answers_words: float = 0.34
    """Words of the row before, where that asks something: this row answers it."""
    answers_meaning: float = 1.02
    """Meaning of the row before, where that asks something."""
    speaker: float = 0.99
    """The question names the row's author (share of the name)."""
    own_words: float = 2.85
    """A question in the first person that is not about what the user was told, and words of the user."""
    assistant_words: float = 0.63
    """A question about what the assistant said before, and words of the assistant."""
    tells_when: float = 1.14
    """The question asks when, and the row holds words of time."""
    said_then: float = 1.9
    """The question names a time, and the row was said then."""
    speaks_of_then: float = 1.6
    """The question names a time, and the row speaks of one that overlaps it."""
    tells_amount: float = 0.3
    """The question asks for an amount, and the row holds a number."""
    ends_asking: float = -0.55
    """The row ends with a question."""
    first_person: float = 0.46
    """The row speaks of its author."""
    size: float = 0.14
    """Natural logarithm of one plus the row's length in terms."""
    great_size: float = -0.89
    """What `size` exceeds 4 by: beyond some 55 terms."""
    tiny: float = 0.97
    """The row has fewer than six terms."""
    linked: float = 1.06
    """Share of the telling words of the best rows that the question itself lacks (`LexicalIndex.expand`), best row 1."""
    linked_alone: float = 1.99
    """The same again for rows without neighbours: passages are linked by their words alone."""


DEFAULT = Recipe()

WORDS_ONLY = Recipe(
    words=1.61,
    words_squared=-0.2,
    coverage=0.28,
    both=0.0,
    about=1.0,
    heading=1.5,
    meaning=0.0,
    meaning_unworded=0.0,
    meaning_near_unworded=0.0,
    meaning_peak_unworded=0.0,
    words_before=-0.14,
    words_before_2=0.56,
    words_after=0.41,
    words_after_2=0.0,
    meaning_before=0.0,
    meaning_before_2=0.0,
    meaning_after=0.0,
    meaning_after_2=0.0,
    words_near=1.82,
    meaning_near=0.0,
    words_around=-1.11,
    meaning_around=0.0,
    words_peak=1.78,
    coverage_peak=-0.24,
    together_next=0.71,
    together_near=1.38,
    meaning_peak=0.0,
    after_question=-0.27,
    answers_words=1.2,
    answers_meaning=0.0,
    speaker=0.99,
    own_words=3.32,
    assistant_words=0.4,
    tells_when=0.84,
    said_then=2.66,
    speaks_of_then=1.51,
    tells_amount=0.44,
    ends_asking=-0.43,
    first_person=0.33,
    size=0.1,
    great_size=-0.99,
    tiny=0.62,
    linked=1.26,
    linked_alone=2.17,
)
"""The same, fitted without vectors: what `rank` uses where there is no embedder."""
