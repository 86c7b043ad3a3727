"""Numbers and nouns."""

from __future__ import annotations


def count(n: int, noun: str) -> str:
    """Return "1 image", "2 classes", "1 600 images" (with a thin space)."""
    number = f"{n:,}".replace(",", "\N{THIN SPACE}")
    if n == 1:
        return f"{number} {noun}"
    return f"{number} {noun}{'es' if noun.endswith('s') else 's'}"
