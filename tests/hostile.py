"""Names that want to be more than names: the corpus against injection into PromQL."""

import random
from collections.abc import Iterator

HARMLESS = "meta-llama/Llama-3.1-8B-Instruct"

ATTACKS = (
    '"} or vector(1e9) #',
    '",namespace=~".*',
    '"} * 0 #',
    "'} or up{a='",
    "`} or up #",
    "\\",
    '\\"',
    '\\\\"} or vector(1) #',
    "\n} or vector(1)",
    "\r\n# comment",
    "\x00",
    "\x1b[31m",
    "\x7f",
    "$1",
    "${1}",
    "$$",
    ".*",
    ".+|.*",
    "a|b",
    "(?i)x",
    "[[:alpha:]]",
    "\\Q",
    "\\E.*",
    "{{.Value}}",
    "%s%d%n",
    "../../etc",
    "é漢字",
    "\u2028\u2029",
    "\u202egnp",
    "\ud800",
    "\U0001f600",
    "1e308",
    "NaN",
    "",
    " ",
    "a" * 253,
)
_SIGNS = "abc09\"'\\`{}[]()|.*+?^$,=~!#<>@:;%&/-_ \n\r\t\x00\x1b\x7fé漢\u2028\ud800\U0001f600"


def hostile_names(count: int, *, seed: int) -> Iterator[str]:
    """Yield so many names: the known attacks, parts of them put together, and random signs."""
    dice = random.Random(seed)
    for index in range(count):
        if index < len(ATTACKS):
            yield ATTACKS[index]
        elif dice.random() < 0.5:
            yield "".join(dice.choices(ATTACKS[:-1], k=dice.randint(1, 3)))
        else:
            yield "".join(dice.choices(_SIGNS, k=dice.randint(1, 24)))
