"""Simulated engines and fleets that run the production planner on a trace."""
