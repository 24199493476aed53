"""What the real engine refuses: settings to start with, and requests."""

from trimtab.errors import InvalidInput
from trimtab.models.hardware import EngineSettings
from trimtab.performance.efficiency import NO_ENGINE
from trimtab.performance.fit import BLOCK_TOKENS

ADMISSION_S = 0.7e-3
"""What an engine that takes turns with its device adds to a step for each request that gets into
it: work for newcomers that others do while the device computes. From vLLM 0.11 on an H100 with its
prompts cached, whose steps grow by it with the requests/s; the same sweep without a cache is held
out."""


def check(settings: EngineSettings, kv_tokens: int) -> None:
    """Refuse settings with which the engine would not start on a cache of so many tokens.

    Raises:
        InvalidInput: Says which.
    """
    if kv_tokens // BLOCK_TOKENS * BLOCK_TOKENS < settings.max_model_len:
        raise InvalidInput(
            "max_model_len",
            f"{settings.max_model_len} tokens do not fit into a KV cache of {kv_tokens}",
            "Lower it, or give the replica more memory",
        )
    if settings.max_num_batched_tokens < settings.max_num_seqs:
        raise InvalidInput(
            "max_num_batched_tokens",
            f"{settings.max_num_batched_tokens} is less than max_num_seqs, which is "
            f"{settings.max_num_seqs}",
            "Raise it, or lower max_num_seqs",
        )


def longest_answer(input_tokens: int, output_tokens: int, settings: EngineSettings) -> int:
    """Return the tokens that an answer may have; below 1 where the engine refuses the request.

    As vLLM does (HTTP 400) with an empty prompt, with one that leaves no room for an answer, and
    with an answer of no tokens.
    """
    if input_tokens < 1:
        return 0
    return min(output_tokens, settings.max_model_len - input_tokens)


def ahead_of(settings: EngineSettings) -> int:
    """Return how many steps are chosen before the one that runs is over.

    vLLM chooses the next step while the device computes one (its batch queue holds two), so who
    comes meanwhile is in the one after that.
    """
    return 0 if settings.takes_turns or settings.name == NO_ENGINE else 1


def admission_s(settings: EngineSettings) -> float:
    """Return the seconds that a step is longer for each request that is admitted to it."""
    return ADMISSION_S if settings.takes_turns else 0.0
