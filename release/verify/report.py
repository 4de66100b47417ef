"""What a verification found, and the error it ends with when that is damage."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from release.errors import IntegrityError, ReleaseError, visible
from release.verify.damage import Damage, Whole
from release.verify.finding import Finding
from release.verify.trust import Reached

Verdict = Literal[
    "intact",
    "header edited",
    "re-serialised",
    "another variant",
    "damaged",
    "truncated",
    "not what it claims",
    "missing",
    "unknown",
    "unreadable",
]
Level = Literal["xxh3", "sha256"]

TITLES: Final[dict[Verdict, str]] = {
    "intact": "intact",
    "header edited": "intact, header edited",
    "re-serialised": "same weights, re-serialised",
    "another variant": "another variant of the same release",
    "damaged": "damaged",
    "truncated": "truncated",
    "not what it claims": "not what it claims",
    "missing": "missing",
    "unknown": "unknown",
    "unreadable": "unreadable",
}
"""Every verdict as people read it, the best first."""

_SAME_WEIGHTS: Final = frozenset({"intact", "header edited", "re-serialised"})


@dataclass(frozen=True, slots=True)
class FileVerdict:
    """What was found out about one file.

    Attributes:
        name: What it is called in the report.
        verdict: The answer.
        detail: One line for people.
        nbytes: Bytes of the file.
        path: Where it lies.
        variant: Which variant it is, where that is known.
        release: Of which release, where that is known.
        tensors: What is damaged, absent or foreign, by name.
        reached: Who vouched, and how much was compared; None where nobody did.
        damage: Where it is damaged, where that can be told.
        whole: What there is of a file that was cut.
        is_stand_in: The header says that the values are random: a rehearsal.
        findings: What is odd about the file itself, whatever the verdict.
        known_as: What the list that knows it calls it.
        error: Why it is unreadable.
    """

    name: str
    verdict: Verdict
    detail: str
    nbytes: int
    path: Path
    variant: str | None = None
    release: str | None = None
    tensors: tuple[str, ...] = ()
    reached: Reached | None = None
    damage: Damage | None = None
    whole: Whole | None = None
    is_stand_in: bool = False
    findings: tuple[Finding, ...] = ()
    known_as: str | None = None
    error: ReleaseError | None = None


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """The verdicts on everything that was looked at.

    `level` is what was asked for: "sha256" checks xxh3 as well. `absent` names what a
    Hub's repository holds and the folder does not, which need not be there.
    """

    paths: tuple[Path, ...]
    level: Level
    release: str | None
    rehearsal: bool
    files: tuple[FileVerdict, ...]
    extra: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()

    @property
    def is_intact(self) -> bool:
        """Whether no file is bad."""
        return not self.bad

    @property
    def bad(self) -> tuple[FileVerdict, ...]:
        """The files that do not hold the weights that they should, or nobody knows.

        An edited header leaves the weights as they were, but the file is another one,
        so at the level of identity it is bad too.
        """
        good = {"intact"} if self.level == "sha256" else _SAME_WEIGHTS
        return tuple(file for file in self.files if file.verdict not in good)


_SHOWN: Final = 5
"""Bad files that the message of the error names."""

_CODES: Final[dict[Verdict, str]] = {
    "unknown": "unverifiable",
    "unreadable": "unreadable",
    "not what it claims": "other-file",
    "another variant": "other-variant",
}
_HINTS: Final[dict[Verdict, str]] = {
    "unknown": "verify it inside its release folder, or name what it should be: "
    "--against MANIFEST, SHA256SUMS, OWNER/REPO or a digest",
    "damaged": "krelease repair FILE --from OWNER/REPO fetches what is damaged; or "
    "download or build it again",
    "truncated": "krelease repair FILE --from OWNER/REPO fetches what is missing; or "
    "download it again",
    "header edited": "the weights are the same; leave --sha256 out to accept it",
    "re-serialised": "the weights are the same; leave --sha256 out to accept it",
    "another variant": "it is whole; only the name or the comparison is wrong",
    "not what it claims": "compare with the right list, or download the file again",
    "unreadable": "the message names the reason; the other files were verified",
}


def raise_if_bad(report: VerifyReport) -> None:
    """Turn a bad report into the error that the command ends with.

    Raises:
        IntegrityError: Names the files, and the first damaged tensors.
    """
    if not report.bad:
        return
    first = report.bad[0]
    found = [f"{visible(file.name)}: {file.detail}" for file in report.bad]
    if len(report.files) == 1:
        found = [first.detail]
    place = visible(report.paths[0], 1024)
    if len(report.paths) > 1:
        place = f"{len(report.bad):,} of {len(report.files):,} files"
    raise IntegrityError(
        f"{place}: {'; '.join(found[:_SHOWN])}{_rest(found)}",
        code=_CODES.get(first.verdict, first.verdict.replace(" ", "-")),
        hint=_HINTS.get(first.verdict, "download or build the damaged files again"),
    )


def _rest(found: list[str]) -> str:
    return f"; and {len(found) - _SHOWN:,} more" if len(found) > _SHOWN else ""
