"""Numbers, nouns and what the explanation engine says, in plain words."""

from __future__ import annotations


def thousands(n: int) -> str:
    """Return "1 600", with a thin space."""
    return f"{n:,}".replace(",", "\N{THIN SPACE}")


def count(n: int, noun: str) -> str:
    """Return "1 image", "2 classes", "1 600 images" (with a thin space)."""
    number = thousands(n)
    if n == 1:
        return f"{number} {noun}"
    return f"{number} {noun}{'es' if noun.endswith('s') else 's'}"


def short_number(value: float) -> str:
    """Return "25.6 M", "4.09 G", "812"; "unknown" for NaN."""
    if value != value:
        return "unknown"
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


_FLAGS = {
    "constant map": "the map is the same everywhere: the method found nothing that speaks for the class",
    "map is not finite": "the numbers of the map overflowed",
}


def flag_words(flag: str) -> str:
    """Say what a flag of the explanation engine means; most say it themselves."""
    return _FLAGS.get(flag, flag)
