"""Small matters of words in what the commands print."""

import textwrap

WIDTH = 80


def count(number: int, noun: str) -> str:
    """1 rule, 2 rules, 1,000 rules."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def paragraph(text: str) -> str:
    """Broken at spaces, as a terminal would not."""
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)
