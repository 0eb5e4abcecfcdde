"""Weights of the evidence that an answer read by rules is right, in log odds: fitted by `mnemos.bench.refusal_fitting`."""

from __future__ import annotations

WEIGHTS: dict[str, float] = {
    "bias": -3.131, "sure": 0.621, "source": 2.58, "behind": 0.736, "together": 1.006, "gap": -1.336, "length": 0.64, "other speaker": -1.98,
    "somebody else": -0.348, "number missing": -0.863, "no amount": -5.02, "no name": -0.473,
}  # fmt: skip
