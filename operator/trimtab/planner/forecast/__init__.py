"""How much will be asked: quantiles of the largest rate over a time to come."""

from trimtab.planner.forecast.past import observe, warmed
from trimtab.planner.forecast.peaks import ahead

__all__ = ["ahead", "observe", "warmed"]
