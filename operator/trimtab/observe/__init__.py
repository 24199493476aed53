"""Reads the world into a Snapshot: cluster objects, Prometheus, prices. Never writes."""
