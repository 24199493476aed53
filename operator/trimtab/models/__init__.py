"""Domain values: frozen dataclasses in SI units, in which unknown is a value of its own."""
