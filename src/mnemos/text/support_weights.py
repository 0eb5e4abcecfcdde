"""Weights of the evidence that an answer read by rules is right, in log odds: fitted by `mnemos.bench.refusal_fitting`."""

from __future__ import annotations

WEIGHTS: dict[str, float] = {
    "bias": -3.141, "sure": 0.62, "source": 2.588, "behind": 0.733, "together": 1.003, "gap": -1.345, "length": 0.642, "other speaker": -1.996,
    "people missing": -0.162, "number missing": -0.868, "no amount": -5.024, "no name": -0.478,
}  # fmt: skip
