"""What a build or a publish would do, found out without writing anything."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from release.architecture.sdxl import sdxl_tensors
from release.build import plan_build
from release.definition import Definition
from release.folder import PlannedFile, open_all, planned_files, planned_nbytes
from release.formats.checkpoint import Checkpoint
from release.formats.header import TensorEntry, TensorSpec, lay_out
from release.formats.space import free_bytes, room_for
from release.ingredients import Located
from release.licences.texts import LicenceTexts
from release.metadata import STAND_IN_KEY, STAND_IN_TEXT
from release.numeric.dtype import Dtype

if TYPE_CHECKING:
    from release.hub.plan import HubPreview


@dataclass(frozen=True, slots=True)
class Preview:
    """The plan of a build.

    `is_exact` tells whether every ingredient was at hand, so that the sizes follow from
    their headers; otherwise they are those of a full-size checkpoint in F16.
    """

    target: Path
    located: tuple[Located, ...]
    files: tuple[PlannedFile, ...]
    needed_nbytes: int
    free_nbytes: int
    is_exact: bool
    warnings: tuple[str, ...]
    hub: "HubPreview | None" = None


def preview_build(
    definition: Definition,
    located: Sequence[Located],
    target: Path,
    *,
    stand_ins: Sequence[TensorEntry] = (),
    has_pictures: bool = False,
    texts: LicenceTexts | None = None,
) -> Preview:
    """Plan a build of `definition` at `target` without writing.

    Args:
        definition: The release.
        located: Its ingredients.
        target: The release folder.
        stand_ins: Tensors of the stand-ins that will be made of those not at hand.
        has_pictures: Whether the error of every block is drawn beside the card.
        texts: The licence texts that go along; None for the release's own, as known.

    Raises:
        CheckpointError: An ingredient that is at hand does not fit.
    """
    with ExitStack() as stack:
        at_hand = open_all(stack, located)
        nominal = _Absent(
            _nominal_tensors(list(at_hand.values()), stand_ins),
            metadata={STAND_IN_KEY: STAND_IN_TEXT} if stand_ins else {},
        )
        plan = plan_build(
            definition, {item.name: at_hand.get(item.name, nominal) for item in located}
        )
        files = planned_files(plan, texts, has_pictures=has_pictures)
    return Preview(
        target=target,
        located=tuple(located),
        files=files,
        needed_nbytes=room_for(planned_nbytes(files)),
        free_nbytes=free_bytes(target),
        is_exact=len(at_hand) == len(located) or bool(stand_ins),
        warnings=plan.warnings + (texts.warnings if texts else ()),
    )


def _nominal_tensors(
    at_hand: Sequence[Checkpoint], stand_ins: Sequence[TensorEntry]
) -> Mapping[str, TensorEntry]:
    """Return the tensors to assume of an ingredient that is not at hand."""
    if at_hand:
        return at_hand[0].tensors
    entries = stand_ins or lay_out(
        TensorSpec(
            tensor.name,
            Dtype.F16 if tensor.dtype.is_arithmetic else tensor.dtype,
            tensor.shape,
        )
        for tensor in sdxl_tensors()
    )
    return {entry.name: entry for entry in entries}


@dataclass(frozen=True, slots=True)
class _Absent:
    """A checkpoint that is not at hand: names, dtypes and shapes, but no bytes."""

    tensors: Mapping[str, TensorEntry]
    path: Path = Path("not at hand")
    files: tuple[Path, ...] = ()
    container: str = "not at hand"
    metadata: Mapping[str, str] = field(default_factory=dict)
    nbytes: int = 0
    warnings: tuple[str, ...] = ()

    def read_into(self, entry: TensorEntry, offset: int, buffer: memoryview) -> None:
        """Refuse: a plan reads nothing."""
        raise AssertionError(entry.name, offset, len(buffer))

    def check_unchanged(self) -> None:
        """Do nothing: there is no file."""

    def close(self) -> None:
        """Do nothing: there is no file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: there is no file."""
