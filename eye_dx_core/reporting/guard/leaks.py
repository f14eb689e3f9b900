"""Whether an answer gives away its instructions, or quotes what it was never told."""

import re
from collections.abc import Iterable, Iterator

from eye_dx_core.reporting.guard.violation import Violation
from eye_dx_core.reporting.identifiers import normalise

_QUOTE = 16
"""Characters in a row that nobody repeats by chance."""


def leak_violations(slot: str, text: str, *, canary: str, secrets: Iterable[str], allowed: str) -> Iterator[Violation]:
    """The canary of the instructions, or a long quote of a secret text that is no quote of what may be said.

    Args:
        slot: where the text stands.
        text: what was answered.
        canary: a word that stands in the instructions of this call only.
        secrets: instructions and notes.
        allowed: what may be quoted: the doctor's own words.
    """
    plain, may = _letters(text), _letters(allowed)
    told = [_letters(secret) for secret in secrets]
    quotes = (plain[at : at + _QUOTE] for at in range(len(plain) - _QUOTE + 1))
    if _letters(canary) in plain or any(quote not in may and any(quote in one for one in told) for quote in quotes):
        yield Violation(rule="leak", slot=slot, text="不得复述指令、内部标记或备注")


def _letters(text: str) -> str:
    return re.sub(r"[\W_]", "", normalise(text)).lower()
