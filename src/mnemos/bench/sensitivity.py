"""Finding sensitive strings: precision and recall on generated texts with hard negatives, alarms in real conversations, and speed."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnemos.base.meter import Seconds, machine
from mnemos.base.stats import wilson
from mnemos.bench.datasets import data_folder, read_json, read_lines
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.bench.sensitive_texts import KIND, NAMES, SENSITIVE, Sample, samples
from mnemos.text.detectors.folding import Folded
from mnemos.text.detectors.span import Label, Span
from mnemos.text.sensitivity import Redactor

EACH, QUICK_EACH = 400, 60
BYTES, QUICK_BYTES = 10_000_000, 500_000
HARD_BYTES, QUICK_HARD_BYTES = 2_000_000, 250_000
SMALLER = 8
ALARMS_PER_TURN = 5e-4
HARD = (
    "a", "1 ", "1", "@", "a@", "a.", "eyJ", "eyJa.", "sk-", "-----BEGIN PRIVATE KEY-----", "password ", "password=", "token is ", "+1", ":",
    "born 1 ", "12 A ", "AB12", "4111 1111 ", "(", "call 1 ", "я", "\u200b1", "://a:", "Astraße ", "1 rue A ", "01 ", "12 Aa Bb Cc ", "名", "1-",
    "bearer ", "AKIA", "Via A ", "A1 1AA ", ", 12345 A", "a [at] ", "a [dot] ",
)  # fmt: skip
"""Texts that are nothing but one of these, over and over: each a near miss of some pattern, which a backtracking matcher would try again and
again."""


def run(benchmark: Benchmark, options: Options) -> Result:
    """Precision, recall, alarms and throughput; the baseline is a set of the patterns that are in common use."""
    folder = data_folder(options.data)
    with Seconds() as whole:
        drawn = samples(options.rng(), QUICK_EACH if options.quick else EACH)
        ours, theirs = score(drawn, Redactor(names=NAMES)), score(drawn, Redactor(names=NAMES, detectors=COMMON))
        options.say("generated texts scored")
        turns = conversations(folder)
        alarms = [bool(Redactor().spans(turn)) for turn in turns]
        common = sum(bool(Redactor(detectors=COMMON).spans(turn)) for turn in turns)
        options.say("conversations read")
        size = QUICK_BYTES if options.quick else BYTES
        plain = seconds(_to_length("\n".join(turns), size))
        hard_size = QUICK_HARD_BYTES if options.quick else HARD_BYTES
        hard = {piece: growth(piece, hard_size) for piece in HARD}
    total, common_total = sum(ours.there.values()), sum(theirs.there.values())
    recall, precision = wilson(sum(ours.found.values()), total), wilson(ours.right, ours.right + ours.wrong)
    share = wilson(sum(alarms), len(turns))
    worst = max(hard, key=lambda piece: hard[piece][0])
    steepest = max(ratio for _, ratio in hard.values())
    common_precision = theirs.right / max(1, theirs.right + theirs.wrong)
    checks = [
        Check.of("recall, whole spans of the right kind", recall, 0.97, baseline=sum(theirs.found.values()) / common_total),
        Check.of("precision", precision, 0.97, baseline=common_precision),
        Check.of("share of real turns with any alarm", share, ALARMS_PER_TURN, at_least=False, baseline=common / len(turns)),
        Check("MB/s on conversations", size / 1e6 / plain, 1.0, n=1),
        Check(f"time of {SMALLER} times the hardest text ÷ of it", steepest, 1.6 * SMALLER, at_least=False, n=len(HARD)),
        Check("MB/s on the hardest text", hard_size / 1e6 / hard[worst][0], None, n=len(HARD)),
    ]
    by_kind = {
        kind: {"recall": ours.found[kind] / n, "common patterns": theirs.found[kind] / n, "n": n} for kind, n in sorted(ours.there.items())
    }
    slowest = {repr(piece): {"MB/s": hard_size / 1e6 / took} for piece, (took, _) in sorted(hard.items(), key=lambda one: -one[1][0])[:5]}
    notes = [
        "A generated text counts as found where one span of the right kind covers all of it. Half of the texts hold only what looks sensitive.",
        f"Turns: LoCoMo and MSC, {len(turns):,}. What is found there was read: a telephone number in one, a film's title in the others.",
    ]
    return Result.of(
        benchmark.name,
        benchmark.paper,
        benchmark.claim,
        checks,
        seconds=whole.seconds,
        machine=machine().as_dict(),
        details={"tables": {"by kind": by_kind, "slowest": slowest}, "notes": notes},
    )


@dataclass(frozen=True)
class Score:
    """`found` and `there` count spans by the name of their kind in `SENSITIVE`; `right` and `wrong` count what was found."""

    found: Counter[str]
    there: Counter[str]
    right: int
    wrong: int


def score(drawn: Sequence[Sample], redactor: Redactor) -> Score:
    """What a redactor finds in generated texts. A span that touches one of its kind is right."""
    found: Counter[str] = Counter(dict.fromkeys(SENSITIVE, 0))
    there: Counter[str] = Counter()
    right = wrong = 0
    for sample in drawn:
        spans = redactor.spans(sample.text)
        for start, end, kind in sample.spans:
            there[kind] += 1
            found[kind] += any(span.kind == KIND.get(kind, kind) and span.start <= start and end <= span.end for span in spans)
        for span in spans:
            touches = any(KIND.get(kind, kind) == span.kind and span.start < end and start < span.end for start, end, kind in sample.spans)
            right, wrong = right + touches, wrong + (not touches)
    return Score(found, there, right, wrong)


def conversations(folder: Path) -> list[str]:
    """The turns of LoCoMo and MSC."""
    turns = []
    for sample in read_json(folder, "locomo/locomo_dev.json.gz"):
        turns += [turn["text"] for value in sample["conversation"].values() if isinstance(value, list) for turn in value]
    for dialogue in read_lines(folder, "msc/msc_dev.jsonl.gz"):
        turns += [turn["text"] for session in dialogue["sessions"] for turn in session["turns"]]
    return turns


def seconds(text: str) -> float:
    """Seconds of processor time for one pass of all detectors over a text: what else the machine does hardly matters."""
    redactor = Redactor()
    start = time.thread_time()
    redactor.spans(text)
    return time.thread_time() - start


def growth(piece: str, size: int) -> tuple[float, float]:
    """(seconds for `size` characters of a repeated piece, how many times as many as for an eighth of them)."""
    small = min(seconds(_to_length(piece, size // SMALLER)) for _ in range(2))
    large = seconds(_to_length(piece, size))
    return large, large / max(small, 1e-3)


def _to_length(text: str, size: int) -> str:
    return (text * (size // len(text) + 1))[:size]


@dataclass(frozen=True)
class Pattern:
    """The baseline: one regular expression as it is commonly given for a kind."""

    kind: str
    pattern: re.Pattern[str]

    def find(self, text: Folded) -> Iterator[Span]:
        for match in self.pattern.finditer(text.text):
            yield Span(match.start(), match.end(), self.kind, 1.0, Label.SECRET)


_COMMON = {
    "email": r"[\w.+-]{1,64}@[\w-]{1,63}\.[\w.-]{1,63}",
    "phone": r"\+?\d{1,3}?[ .-]?\(?\d{3}\)?[ .-]?\d{3}[ .-]?\d{4}",
    "card": r"\b(?:\d[ -]?){13,16}\b",
    "iban": r"\b[A-Z]{2}\d{2}[A-Z0-9]{11,30}\b",
    "key": r"\b(?:AKIA[A-Z0-9]{16}|gh[pousr]_[A-Za-z0-9]{36}|sk-[A-Za-z0-9-]{20,60}|eyJ[\w-]{5,200}\.[\w-]{5,400}\.[\w-]{5,200})",
    "password": r"(?i)(?<=password[:=])\s?\S{1,64}",
    "national_id": r"\b\d{3}-\d{2}-\d{4}\b",
    "birth_date": r"\b\d{1,4}[/.-]\d{1,2}[/.-]\d{1,4}\b",
    "address": r"\b\d{1,5} (?:[A-Z]\w{1,20} ){1,3}(?:Street|St|Avenue|Ave|Road|Rd|Drive|Dr|Lane|Ln)\b",
    "ip": r"\b(?:\d{1,3}\.){3}\d{1,3}\b",
}
COMMON: Mapping[str, Any] = {kind: Pattern(kind, re.compile(pattern)) for kind, pattern in _COMMON.items()}
