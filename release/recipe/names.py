"""Names that are not known, and what was probably meant."""

import difflib
from collections.abc import Collection


def suggestion(name: str, known: Collection[str]) -> str:
    """Return a hint for an unknown name: the nearest known one, or all of them."""
    near = nearest(name, known)
    if near:
        return f"did you mean {near}?"
    return f"known: {', '.join(sorted(known))}" if known else "none is declared"


def nearest(name: str, known: Collection[str]) -> str:
    """Return the known name most like `name`, or "" if none is near."""
    return next(iter(difflib.get_close_matches(name, known, n=1)), "")
