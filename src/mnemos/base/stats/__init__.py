"""Statistics for benchmarks and gates: intervals that respect clusters, comparisons that are paired, corrections for many tests; no SciPy.

Questions about one conversation share its difficulty, so the effective sample is the number of conversations, not of questions:
everything here that takes `clusters` treats a cluster as the unit.
"""

from __future__ import annotations

from mnemos.base.stats.agreement import cohen_kappa, kendall_tau, krippendorff_alpha, spearman
from mnemos.base.stats.comparing import (
    Anova,
    Equivalence,
    McNemar,
    Welch,
    anova,
    cliffs_delta,
    clusters_for_power,
    cohens_d,
    mcnemar,
    paired_bootstrap_test,
    permutation_test,
    power,
    tost,
    tost_paired,
    welch,
)
from mnemos.base.stats.curves import Decay, aurc, fit_decay, risk_coverage, slope
from mnemos.base.stats.distributions import binomial_tail, f_tail, incomplete_beta, t_cdf, t_quantile
from mnemos.base.stats.intervals import (
    Interval,
    bootstrap_difference,
    bootstrap_mean,
    bootstrap_ratio,
    bootstrap_statistic,
    mean_score,
    percentiles,
    sample_size,
    wilson,
)
from mnemos.base.stats.multiplicity import benjamini_hochberg, holm

__all__ = [
    "Anova",
    "Decay",
    "Equivalence",
    "Interval",
    "McNemar",
    "Welch",
    "anova",
    "aurc",
    "benjamini_hochberg",
    "binomial_tail",
    "bootstrap_difference",
    "bootstrap_mean",
    "bootstrap_ratio",
    "bootstrap_statistic",
    "cliffs_delta",
    "clusters_for_power",
    "cohen_kappa",
    "cohens_d",
    "f_tail",
    "fit_decay",
    "holm",
    "incomplete_beta",
    "kendall_tau",
    "krippendorff_alpha",
    "mcnemar",
    "mean_score",
    "paired_bootstrap_test",
    "percentiles",
    "permutation_test",
    "power",
    "risk_coverage",
    "sample_size",
    "slope",
    "spearman",
    "t_cdf",
    "t_quantile",
    "tost",
    "tost_paired",
    "welch",
    "wilson",
]
