"""What a rule is, what it finds, and how a finding can be put right."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from release.lint.subject import Subject


class Severity(Enum):
    """How bad a finding is: an error stops a publish, a warning does not."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Edit:
    """Lines of the card that become others.

    Attributes:
        first: First line that goes, from 1.
        last: Last one; `first - 1` to put lines before `first` and take none away.
        lines: What stands there afterwards.
    """

    first: int
    last: int
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """What a rule's check finds.

    Attributes:
        line: Line of the card, from 1; 0 for what no line stands for.
        text: What is wrong and what would be right, one line, safe for a terminal.
        file: The file it is about, where that is not the card.
        edit: How to put it right; None where a person has to.
        severity: Where it is another than the rule's.
    """

    line: int
    text: str
    file: str = ""
    edit: Edit | None = None
    severity: Severity | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        id: "KR" and three digits, stable.
        name: The same in words, stable.
        severity: Of its problems.
        summary: What a card must be, one line.
        check: Returns what breaks the rule.
        fixes: Whether `--fix` can put some of it right.
    """

    id: str
    name: str
    severity: Severity
    summary: str
    check: Callable[[Subject], Iterator[Problem]]
    fixes: bool = field(default=False, kw_only=True)


ERROR: Final = Severity.ERROR
WARNING: Final = Severity.WARNING
