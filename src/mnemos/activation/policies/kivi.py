"""KIVI (arXiv 2402.02750): every token stays, in few bits; the newest ones as they came."""

from __future__ import annotations

from mnemos.activation.policy import Policy, Pruning
from mnemos.activation.quantised import Quantise


def make(bits: int = 2, group: int = 32, recent: int = 32) -> Policy:
    """`bits` for each number; `group` tokens of a key channel, or channels of a value, share a scale."""
    return Pruning(codecs=(Quantise(bits, group),), recent=recent, block=group)
