"""What a verification found, and the error it ends with when that is damage."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from release.errors import IntegrityError, first_names, visible

Verdict = Literal["intact", "header edited", "damaged", "missing", "unverifiable"]
Level = Literal["xxh3", "sha256"]


@dataclass(frozen=True, slots=True)
class FileVerdict:
    """What was found out about one file.

    `tensors` names what is damaged, absent or foreign; `detail` is one line for people.
    """

    name: str
    verdict: Verdict
    detail: str
    nbytes: int
    variant: str | None = None
    tensors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """The verdicts on everything that was looked at.

    `level` is what was asked for: "sha256" checks xxh3 as well.
    """

    path: Path
    level: Level
    release: str | None
    rehearsal: bool
    files: tuple[FileVerdict, ...]
    extra: tuple[str, ...] = ()

    @property
    def is_intact(self) -> bool:
        """Whether no file is bad."""
        return not self.bad

    @property
    def bad(self) -> tuple[FileVerdict, ...]:
        """The files that are damaged, missing or without digests.

        An edited header leaves the weights as they were, but the file is another one,
        so at the level of identity it is bad too.
        """
        good = {"intact"} if self.level == "sha256" else {"intact", "header edited"}
        return tuple(file for file in self.files if file.verdict not in good)


def damaged_tensors(
    name: str, nbytes: int, variant: str | None, tensors: Sequence[str]
) -> FileVerdict:
    """Return the verdict on a checkpoint with damaged tensors, named in order."""
    many = "tensor is" if len(tensors) == 1 else "tensors are"
    detail = f"{len(tensors):,} {many} damaged: {first_names(tensors)}"
    return FileVerdict(name, "damaged", detail, nbytes, variant, tuple(tensors))


_HINTS: Final[dict[Verdict, str]] = {
    "unverifiable": "verify it inside its release folder, or against the Hub's SHA-256",
    "header edited": "the weights are the same; leave --sha256 out to accept it",
}


def raise_if_bad(report: VerifyReport) -> None:
    """Turn a bad report into the error that the command ends with.

    Raises:
        IntegrityError: Names the files, and the first damaged tensors.
    """
    if report.bad:
        found = [f"{visible(file.name)}: {file.detail}" for file in report.bad]
        if len(report.files) == 1:
            found = [report.bad[0].detail]
        raise IntegrityError(
            f"{visible(report.path, 1024)}: {'; '.join(found)}",
            code=report.bad[0].verdict.replace(" ", "-"),
            hint=_HINTS.get(
                report.bad[0].verdict, "download or build the damaged files again"
            ),
        )
