"""Scores of fitted runs on test sets, their intervals, and the report that shows them."""

from basket.evaluate.description import FeatureIdentity, RunDescription
from basket.evaluate.report import EvaluationReport, RunReport, assemble_report
from basket.evaluate.scores import MetricScores, SplitScores, evaluate, prior_levels

__all__ = [
    "EvaluationReport",
    "FeatureIdentity",
    "MetricScores",
    "RunDescription",
    "RunReport",
    "SplitScores",
    "assemble_report",
    "evaluate",
    "prior_levels",
]
