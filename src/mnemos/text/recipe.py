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

    words: float = 0.58
    """BM25 over the best row's, 0 to 1."""
    words_squared: float = 1.15
    """The square of words: the best by words stand out."""
    coverage: float = 1.34
    """Share of the question's terms, by inverse document frequency, that the row holds."""
    both: float = -1.19
    """Words times meaning: rows that both agree on."""
    heading: float = 0.84
    """Share of the row's heading or title that the question names."""
    meaning: float = 0.83
    """Cosine with the voiced question, between the mean of the space (0) and its best (1)."""
    meaning_unworded: float = 1.62
    """Meaning, times the squared share of the question that no row has in words: where words fail, meaning decides."""
    meaning_near_unworded: float = 0.77
    """The same of `meaning_near`."""
    meaning_peak_unworded: float = 1.37
    """The same of `meaning_peak`."""
    words_before: float = 0.02
    """Words of the row before."""
    words_before_2: float = 0.81
    """Words of the row two before."""
    words_after: float = 0.31
    """Words of the row after."""
    words_after_2: float = 0.16
    """Words of the row two after."""
    meaning_before: float = -0.44
    """Meaning of the row before."""
    meaning_before_2: float = -0.27
    """Meaning of the row two before."""
    meaning_after: float = 0.28
    """Meaning of the row after."""
    meaning_after_2: float = -0.16
    """Meaning of the row two after."""
    words_near: float = 1.13
    """Mean of words over the rows within `near`."""
    meaning_near: float = 1.64
    """Mean of meaning over the rows within `near`."""
    words_around: float = -2.2
    """Mean of words over the rows within `around`; what a whole passage is about tells less than its best row."""
    meaning_around: float = -0.46
    """Mean of meaning over the rows within `around`."""
    words_peak: float = 0.62
    """Best words within `around`: the passage or session is the right one."""
    coverage_peak: float = 1.12
    """Best coverage within `around`."""
    meaning_peak: float = 1.56
    """Best meaning within `around`."""
    after_question: float = -0.46
    """The row before asks something."""
    answers_words: float = 0.55
    """Words of the row before, where that asks something: this row answers it."""
    answers_meaning: float = 1.19
    """Meaning of the row before, where that asks something."""
    speaker: float = 0.87
    """The question names the row's author (share of the name)."""
    own_words: float = 3.0
    """A question in the first person that is not about what the user was told, and words of the user."""
    assistant_words: float = 1.22
    """A question about what the assistant said before, and words of the assistant."""
    tells_when: float = 1.03
    """The question asks when, and the row holds words of time."""
    said_then: float = 2.0
    """The question names a time, and the row was said then."""
    speaks_of_then: float = 1.62
    """The question names a time, and the row speaks of one that overlaps it."""
    tells_amount: float = 0.38
    """The question asks for an amount, and the row holds a number."""
    ends_asking: float = -0.46
    """The row ends with a question."""
    first_person: float = 0.49
    """The row speaks of its author."""
    size: float = 0.12
    """Natural logarithm of one plus the row's length in terms."""
    great_size: float = -0.81
    """What `size` exceeds 4 by: beyond some 55 terms."""
    tiny: float = 0.97
    """The row has fewer than six terms."""
    linked: float = 1.15
    """Share of the telling words of the best rows that the question itself lacks (`LexicalIndex.expand`), best row 1."""
    linked_alone: float = 1.95
    """The same again for rows without neighbours: passages are linked by their words alone."""


DEFAULT = Recipe()

WORDS_ONLY = Recipe(
    words=1.38,
    words_squared=-0.1,
    coverage=1.22,
    both=0.0,
    heading=1.47,
    meaning=0.0,
    meaning_unworded=0.0,
    meaning_near_unworded=0.0,
    meaning_peak_unworded=0.0,
    words_before=0.1,
    words_before_2=0.69,
    words_after=0.75,
    words_after_2=0.0,
    meaning_before=0.0,
    meaning_before_2=0.0,
    meaning_after=0.0,
    meaning_after_2=0.0,
    words_near=2.69,
    meaning_near=0.0,
    words_around=-1.63,
    meaning_around=0.0,
    words_peak=1.56,
    coverage_peak=0.78,
    meaning_peak=0.0,
    after_question=-0.17,
    answers_words=1.43,
    answers_meaning=0.0,
    speaker=0.88,
    own_words=3.16,
    assistant_words=1.29,
    tells_when=0.79,
    said_then=2.53,
    speaks_of_then=1.47,
    tells_amount=0.56,
    ends_asking=-0.37,
    first_person=0.34,
    size=0.03,
    great_size=-0.82,
    tiny=0.58,
    linked=1.17,
    linked_alone=2.31,
)
"""The same, fitted without vectors: what `rank` uses where there is no embedder."""
