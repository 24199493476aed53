"""Runs it all: kopf handlers, the planning loop, the lease, the watchdog."""
