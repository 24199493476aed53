"""The part of docs/accuracy.md about our own runs."""

from bench.accuracy import lentgpu
from bench.accuracy.score import by, table

BELOW = ("0.15", "0.35", "0.55", "0.75")
"""Stages that are steady soon: 32 s are several stays of most requests there."""
_READING = """Decoding is predicted to 3 % in the median, for models that no constant has seen,
experts too. While it multiplies dense 16-bit matrices the card draws 690 to 700 W, its limit, and
its clock falls from 1,980 to between 1,350 and 1,550 MHz, 0.68 to 0.78 of it. Kernels timed alone
are over before that. `power_limited` is for it: no step is shorter than its multiplications take at
0.73 of the speed. That constant comes from InferenceX's and NVIDIA's deployments on one Hopper
device alone, where TPOT by itself asks for 0.70 and TTFT for 0.73; all deployments of Hopper
together ask for 0.66, in a loss that is flat. That only rows on one device count was chosen after
these runs were seen, so they are no blind check of it; the last column says what they would be
without. A mixture of experts and 8-bit weights, which reach less of their peak, are
not held. Blackwell and Ampere served no dense 16-bit model in the rows: no limit is known of them,
and such predictions are early if there is one.

A step of more than 512 tokens is in no CUDA graph. Prompts of 513 to 2,100 tokens that met an idle
mixture of experts all took 39 ms, whatever their length: that is how long its 36 layers take to
launch (`EXPERT_LAYER_S`), the one constant that these runs gave; played again, all is within 15 %
up to three quarters of the knee. It is counted for experts in 16 and 8 bit alone: gpt-oss-120b, of
36 layers too, answers prompts of 1,024 tokens in as little as 25 ms on eight B200 and 32 on eight
H100 in 22 of InferenceX's rows, with 4-bit experts and so other kernels.

From rate and lengths alone p95 TPOT of the mixture is late, by half to one and a half times: a
planner knows the mean and the deviation of the answers, takes them for lognormal, and so every
twentieth for two tokens at most, whose one gap is a step with prompts. These had six at least.

A single prompt of up to 2,048 tokens is answered 3 to 15 ms after the device is done, by the model,
6 in the median: these were sent as token ids from the same machine, and `request_s`, 10 ms, has
text and a network in it. With top-p 0.9 instead of the likeliest token
a step of Llama-3.1-8B took -2 to +5 % at 1 to 256 sequences (`decode`): the sampler of this release
does not sort the vocabulary, so `sorted_sampling` is not for it.
"""


def section() -> str:
    """Return it as Markdown."""
    steps = {
        "room for keys and values": lentgpu.kv(),
        "steps that only decode": lentgpu.decodes(),
        "prompts on an idle engine": lentgpu.prefills(),
    }
    scores = {
        f"{what}|{model}": found
        for what, pairs in steps.items()
        for model, found in by(pairs, lambda pair: pair.group).items()
    }
    below = [one for one in lentgpu.stages() if one.name in BELOW]
    alone = by([pair for one in below for pair in lentgpu.steady(one)], lambda pair: pair.group)
    return (
        "## Our own runs: vLLM 0.26 with random weights on one H100\n\n"
        "Made for this check (`tests/bench/data/h100_random_weights` says how): Llama-3.1-8B and "
        "two models that exist nowhere else, all in 16 bit. **Nothing is fitted to them** but what "
        "launching a layer with experts takes.\n\n"
        + table("", scores)
        + "\n\n"
        + table("From rate and lengths alone, up to three quarters of the knee", alone)
        + "\n\n### The same arrivals, played again\n\n"
        "Errors of the simulated engine, p50 and p95. Stages are named by their share of the rate "
        "that the overloaded engine answered; they last 32 s and begin empty.\n\n"
        "| model | stage | req/s | TTFT | TPOT | E2E | all three without the power limit |\n"
        "|---|---|---|---|---|---|---|\n"
        + "\n".join(_stage(one) for one in lentgpu.stages())
        + "\n\n"
        + _READING
    )


def _stage(stage: lentgpu.Stage) -> str:
    begin = f"| {stage.model} | {stage.name} | {stage.rps:.1f} |"
    step, fast = lentgpu.times(stage.model), lentgpu.unlimited(stage.model)
    if stage.name == lentgpu.OVERLOAD:
        one, other = lentgpu.answered(stage, step), lentgpu.answered(stage, fast)
        return (
            f"{begin} {one.measured:.0f} answered in {lentgpu.OVERLOAD_S:.0f} s, predicted "
            f"{one.predicted:.0f} ({one.error:+.0%}) | | | {other.error:+.0%} |"
        )
    cells = [
        ", ".join(f"{pair.error:+.0%}" for pair in pairs[i : i + 2])
        for pairs in (lentgpu.replayed(stage, step), lentgpu.replayed(stage, fast))
        for i in (0, 2, 4)
    ]
    return f"{begin} {' | '.join(cells[:3])} | {'; '.join(cells[3:])} |"
