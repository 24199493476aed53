"""Trimtab keeps LLM serving on Kubernetes at its latency targets for the least money."""
