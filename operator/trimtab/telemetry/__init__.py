"""Every metric and log field that the operator itself emits, in one place."""
