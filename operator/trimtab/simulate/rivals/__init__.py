"""Other autoscalers' published decision rules, to judge the planner beside them."""
