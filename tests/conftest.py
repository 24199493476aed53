"""How the property tests draw: the same examples on every machine, new ones when asked.

`HYPOTHESIS_PROFILE=explore make test-fast` draws anew. What it finds becomes a test of its own.
"""

import os

from hypothesis import Phase, settings

settings.register_profile("same", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("explore", deadline=None, print_blob=True)
# For bench.mutants: that something fails is all it asks, not how little is enough for it.
settings.register_profile(
    "first", derandomize=True, deadline=None, phases=[Phase.explicit, Phase.generate]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
