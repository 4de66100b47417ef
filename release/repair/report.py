"""What a repair found and did."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Outcome = Literal["intact", "damaged", "repaired"]


@dataclass(frozen=True, slots=True)
class RepairOptions:
    """What the user wants beyond the repair itself.

    Attributes:
        plans_only: Say what would be fetched and change nothing.
        full: Fetch the whole file.
        by_parts: Fetch only what is damaged, also where that is more than half.
        keep: Keep the damaged file beside the repaired one.
    """

    plans_only: bool = False
    full: bool = False
    by_parts: bool = False
    keep: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with the file.

    Attributes:
        ranges: Begin and end (excluded) of what is damaged or missing, in order.
        damaged_nbytes: Bytes of the parts that are there and wrong.
        missing_nbytes: Bytes behind the end of the file.
        surplus_nbytes: Bytes behind the file's true end.
    """

    ranges: tuple[tuple[int, int], ...] = ()
    damaged_nbytes: int = 0
    missing_nbytes: int = 0
    surplus_nbytes: int = 0


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What became of the file.

    Attributes:
        path: The file.
        source: Where whole bytes come from, safe for a terminal.
        outcome: "damaged" only where nothing was to be done but planning.
        told_by: Who says what the file must be.
        nbytes: Bytes of the whole file.
        fault: What was wrong with it.
        to_fetch_nbytes: Bytes that a repair fetches, or had to fetch.
        fetched_nbytes: Bytes that were fetched.
        n_ranges: Ranges of the file that are fetched for that, without the header.
        checked: What the whole file was compared by; empty if it was not.
        digest: The digest it has by that.
        kept: Where the damaged file is now.
    """

    path: Path
    source: str
    outcome: Outcome
    told_by: str
    nbytes: int
    fault: Fault = Fault()
    to_fetch_nbytes: int = 0
    fetched_nbytes: int = 0
    n_ranges: int = 0
    checked: str = ""
    digest: str = ""
    kept: Path | None = None
