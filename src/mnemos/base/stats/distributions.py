"""The distributions that tests need, from the incomplete beta function alone."""

from __future__ import annotations

import math

from mnemos.base.errors import Invalid


def t_cdf(t: float, df: float) -> float:
    """Student's t distribution function with `df` degrees of freedom."""
    if t * t < df:  # the other form would lose small t to rounding
        return 0.5 + math.copysign(0.5, t) * incomplete_beta(0.5, df / 2, t * t / (df + t * t))
    tail = 0.5 * incomplete_beta(df / 2, 0.5, df / (df + t * t))
    return tail if t < 0 else 1 - tail


def t_quantile(probability: float, df: float) -> float:
    """The t below which `probability` of Student's distribution lies, to about 1e-12, by bisection."""
    if not 0 < probability < 1:
        raise Invalid(f"t_quantile: the probability must lie between 0 and 1, not {probability}")
    low, high = -1.0, 1.0
    while t_cdf(low, df) > probability:
        low *= 2
    while t_cdf(high, df) < probability:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if t_cdf(middle, df) < probability else (low, middle)
    return (low + high) / 2


def f_tail(f: float, between: float, within: float) -> float:
    """Probability that Fisher's F with `between` and `within` degrees of freedom is at least `f`."""
    return 1.0 if f <= 0 else incomplete_beta(within / 2, between / 2, within / (within + between * f))


def binomial_tail(successes: int, n: int, share: float) -> float:
    """Probability of at least `successes` in `n` independent trials that succeed with probability `share`."""
    if n < 0 or not 0 <= share <= 1:
        raise Invalid(f"binomial_tail: need n >= 0 and a share between 0 and 1, not {n} and {share}")
    if successes <= 0:
        return 1.0
    return 0.0 if successes > n else incomplete_beta(successes, n - successes + 1, share)


def incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by its continued fraction (DLMF 8.17.22, modified Lentz)."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(b, a, 1 - x)
    tiny = 1e-300
    front = math.exp(a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)) / a
    c, d = 1.0, 1 / _away_from_zero(1 - (a + b) * x / (a + 1), tiny)
    total = d
    for m in range(1, 1000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / _away_from_zero(1 + term * d, tiny)
            c = _away_from_zero(1 + term / c, tiny)
            total *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return front * total


def _away_from_zero(x: float, tiny: float) -> float:
    return x if abs(x) > tiny else tiny
