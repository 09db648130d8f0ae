"""Extracts the secret from a text, and estimates how hard it is to guess.

White space and byte order marks around a secret are not part of it: editors and `echo` end a file
with a line end, Windows with a different one, and `secret: |` and environment variables keep it.
Two nodes whose secrets differ only in that hold the same secret.

The strength can only be estimated: random text cannot be told from text that somebody else knows.
Repetitions and sequences add nothing; the rest counts as if every character that occurs were
equally likely. The placeholder of an example is no secret, however long it is.
"""

from __future__ import annotations

import math
import re
import unicodedata
from itertools import pairwise

MIN_SECRET = 32  # characters
_MIN_VARIETY = 8  # different characters; a random secret of 32 hexadecimal digits has about 14
_MIN_BITS = 64  # of 128 that such a secret has; what can be tried offline is far less

_PLACEHOLDER = re.compile(
    r"change.?(?:me|this|it)|replace.?(?:me|this|with)|place.?holder|example|(?:your|my).?secret|"
    r"pass.?word|random.?characters",
    re.IGNORECASE,
)

_AROUND = re.compile(r"\A[\s\ufeff]+|[\s\ufeff]+\Z")


def secret_in(text: str) -> str:
    """The secret in a text: stripped, with Unix line ends."""
    return _AROUND.sub("", text.replace("\r\n", "\n"))


def is_binary(secret: str) -> bool:
    """Whether it contains characters that are not text."""
    return any(unicodedata.category(char) in ("Cc", "Cs") and char not in "\t\n" for char in secret)


def is_none(secret: str) -> bool:
    """Whether it is obviously no secret: empty, or a single repeated character."""
    return len(set(secret)) < 2


def weakness(secret: str) -> str:
    """Why it should not be used, as the predicate of a sentence; "" if it is fine."""
    different = len(set(secret))
    if len(secret) < MIN_SECRET:
        return f"has {len(secret)} characters without the white space around it, not {MIN_SECRET}"
    if different < _MIN_VARIETY:
        return f"has too little variety (different characters: {different}) and may be guessed"
    if _bits(secret) < _MIN_BITS:
        return "is a pattern that repeats or counts up, and may be guessed"
    if _PLACEHOLDER.search(secret):
        return "reads like the placeholder of an example, and may be guessed"
    return ""


def _bits(secret: str) -> float:
    """An upper estimate of the entropy, in bits."""
    unit = secret[: _period(secret)]
    codes = [ord(char) for char in unit]
    steps = [after - before for before, after in pairwise(codes)]
    counted = sum(step == before and abs(step) <= 1 for before, step in pairwise(steps))
    return (len(unit) - counted) * math.log2(len(set(secret)) or 1)


def _period(secret: str) -> int:
    """The length of the shortest piece whose repetition is the secret."""
    size = len(secret)
    return next(at for at in range(1, size + 1) if secret.startswith(secret[at:]))
