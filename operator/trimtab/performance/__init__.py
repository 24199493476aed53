"""What one replica can do: step times, latency under load, capacity under targets. Pure."""
