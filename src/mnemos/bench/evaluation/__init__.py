"""Measuring memory: which memory an answer came from, how good, fresh and faithful it is (arXiv 2509.18868, sections on evaluation).

Every metric is a function `metric(y_true, y_pred, **groups)` of plain sequences; its docstring is Mnemos' definition. Three rules hold for all:
a share of nothing is NaN, and NaN keeps no bound; None as a prediction is a refusal, which is never right where there is an answer; None as a
truth means that there is no answer, and then only a refusal is right.
"""
