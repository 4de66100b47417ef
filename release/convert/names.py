"""What the files of a variant are called."""

import re
from typing import Final

_OLD_SUFFIX: Final = re.compile(
    r"[-_.](fp32|fp16|bf16|fp8([-_](e4m3fn|e5m2|scaled))?)$", re.IGNORECASE
)


def bare_stem(stem: str) -> str:
    """Return a stem without the suffix that says which variant the source was."""
    return _OLD_SUFFIX.sub("", stem) or stem
