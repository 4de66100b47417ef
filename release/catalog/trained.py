"""Trained models: what is known of an ingredient that no recipe leads to.

A file of `kind = "trained"` stands for a model in the lineage of releases. It holds
what its maker states about the training, and cannot be built.
"""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from release.definition import FileStem, HubId, ReleaseName
from release.recipe.patterns import Line, Sha256Hex

TRAINED: Final = "trained"
"""What `kind` says in such a file."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class Identity(_Table):
    """Table `[model]`: `resumed_from` is the model whose training went on."""

    name: ReleaseName
    title: Line
    summary: Line
    author: Line
    architecture: Literal["sdxl"]
    resumed_from: FileStem | None = None


class Training(_Table):
    """Table `[training]`: what is stated about it; what is not stated is not there.

    `batch` is in words where it is a product; `images` counts those of one epoch.
    """

    data: Line | None = None
    captions: Line | None = None
    learning_rates: Annotated[tuple[Line, ...], Field(min_length=1)] | None = None
    schedule: Line | None = None
    batch: Line | None = None
    images: Annotated[int, Field(gt=0)] | None = None
    epochs: Annotated[int, Field(gt=0)] | None = None


class Place(_Table):
    """Table `[place]`: the published file."""

    hub: HubId
    file: Line
    revision: Line = "main"
    sha256: Sha256Hex | None = None


class TrainedModel(_Table):
    """A whole file of this kind, schema 1; without `place` it is not published."""

    schema_version: Annotated[Literal[1], Field(alias="schema")]
    kind: Literal["trained"]
    model: Identity
    training: Training
    place: Place | None = None
    notes: tuple[Line, ...] = ()
