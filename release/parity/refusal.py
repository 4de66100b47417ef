"""The error that a difference between two checkpoints ends with."""

from typing import Final

from release.architecture.contents import Part
from release.errors import ParityError, first_names, visible
from release.parity.report import Outcome, ParityReport

_LOOK: Final = "krelease inspect says what each of them is"


def raise_if_different(report: ParityReport) -> None:
    """Turn a report into the error that the command ends with, if it is one.

    Raises:
        ParityError: The first that is true of `differs`, `other-shapes`,
            `no-common-tensors` and `missing-tensors`.
    """
    if report.outcome is not Outcome.DIFFERS:
        return
    if report.failed:
        raise _failed(report)
    if report.other_shapes:
        raise _other_shapes(report)
    if not report.tensors:
        reason = "they have no tensor in common"
        raise _error(report, "no-common-tensors", reason, hint=_LOOK)
    raise _missing(report)


def _error(report: ParityReport, code: str, reason: str, *, hint: str) -> ParityError:
    first, second = (visible(side.path, 1024) for side in report.sides)
    return ParityError(f"{second} differs from {first}: {reason}", code=code, hint=hint)


def _failed(report: ParityReport) -> ParityError:
    worst, total = report.failed[0], len(report.tensors)
    reason = (
        f"{len(report.failed):,} of {total:,} tensors, the worst "
        f"{visible(worst.name)}: {worst.misses[0]}"
    )
    hint = "if they may differ, say how far, for example --tolerance snr=30"
    if report.is_rounded_apart:
        hint = (
            "two variants of one merge can differ so; --tolerance ulp=1 accepts it,"
            " audit tells"
        )
    if report.tolerances:
        hint = f"the tolerance was {', '.join(report.tolerances)}"
    return _error(report, "differs", reason, hint=hint)


def _other_shapes(report: ParityReport) -> ParityError:
    count, worst = len(report.other_shapes), report.other_shapes[0]
    shapes = " and ".join(str(list(shape)) for shape in worst.shapes)
    reason = (
        f"{counted(count)} of another shape, the first {visible(worst.name)}: {shapes}"
    )
    return _error(report, "other-shapes", reason, hint=_LOOK)


def _missing(report: ParityReport) -> ParityError:
    reasons = [
        f"{counted(len(names))} only in {side}: {first_names(names, 3)}"
        for side, names in zip("AB", report.missing, strict=True)
        if names
    ]
    hint = "pass --ignore-missing to compare only what both have"
    parts = {part for names in report.missing for part, _ in names.values()}
    if parts == {Part.EMA}:
        hint = "pass --ema drop to compare the models without their averages (EMA)"
    return _error(report, "missing-tensors", "; ".join(reasons), hint=hint)


def counted(count: int) -> str:
    """Return a number of tensors in words."""
    return "1 tensor" if count == 1 else f"{count:,} tensors"
