"""The whole system on one machine: a real control plane, fake nodes, a real Prometheus."""
