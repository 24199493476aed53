"""The decision: `plan(snapshot, config)`. Pure, deterministic, without I/O and clock."""
