"""How much will be asked: quantiles of the largest rate over a time to come."""

from trimtab.planner.forecast.past import observe, observe_all, warmed
from trimtab.planner.forecast.peaks import ahead, look

__all__ = ["ahead", "look", "observe", "observe_all", "warmed"]
