"""What of a text is the secret, and whether it is hard to guess.

White space and byte order marks around a secret are no part of it, wherever it comes from: editors
and `echo` end a file with a line end, Windows with another one, `secret: |` keeps it, and so does a
variable that a file was read into. Two nodes whose secrets differ by that alone hold the same one.

How hard it is to guess can only be estimated: nobody can tell a random text from one that somebody
else knows. What repeats or counts up adds nothing, and the rest is worth no more than if each of
the characters that occur were as likely as the others.
"""

from __future__ import annotations

import math
import re
import unicodedata
from itertools import pairwise

MIN_SECRET = 32  # characters
MIN_VARIETY = 8  # different characters; a random secret of 32 hexadecimal digits has about 14
MIN_BITS = 64  # of 128 that such a secret has; what can be tried offline is far less

_AROUND = re.compile(r"\A[\s\ufeff]+|[\s\ufeff]+\Z")


def secret_in(text: str) -> str:
    """The secret in a text: what is around it does not count, and lines end as on Unix."""
    return _AROUND.sub("", text.replace("\r\n", "\n"))


def is_binary(secret: str) -> bool:
    """Whether it has characters that are no text."""
    return any(unicodedata.category(char) in ("Cc", "Cs") and char not in "\t\n" for char in secret)


def is_none(secret: str) -> bool:
    """Whether it is plainly no secret: nothing at all, or one character again and again."""
    return len(set(secret)) < 2


def weakness(secret: str) -> str:
    """Why it should not be used, as the predicate of a sentence; empty if there is no reason."""
    different = len(set(secret))
    if len(secret) < MIN_SECRET:
        return f"has {len(secret)} characters without the white space around it, not {MIN_SECRET}"
    if different < MIN_VARIETY:
        return f"has too little variety (different characters: {different}) and may be guessed"
    if _bits(secret) < MIN_BITS:
        return "is a pattern that repeats or counts up, and may be guessed"
    return ""


def _bits(secret: str) -> float:
    """How much a secret may hold at most."""
    unit = secret[: _period(secret)]
    codes = [ord(char) for char in unit]
    steps = [after - before for before, after in pairwise(codes)]
    counted = sum(step == before and abs(step) <= 1 for before, step in pairwise(steps))
    return (len(unit) - counted) * math.log2(len(set(secret)) or 1)


def _period(secret: str) -> int:
    """The length of the shortest piece that, repeated, is the secret."""
    size = len(secret)
    return next(at for at in range(1, size + 1) if secret.startswith(secret[at:]))
