"""Where simulated requests come from: traces, files, samples of measured clients, shapes."""
