"""Writes a Plan to the cluster: children, status, events. Never decides."""
