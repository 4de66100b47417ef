"""The record of a conversion: what was made of what, and what it cost.

It lies beside the checkpoint. Canonical JSON as in the manifest of a release: sorted
keys, no floats, no paths and no times, so equal conversions have equal records.
"""

import json
from collections import Counter
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from release.convert.losses import ComponentLoss, Converted, TensorLoss
from release.convert.plan import ConvertPlan, VariantPlan
from release.convert.source import Source
from release.engine.plan import Ingredient
from release.engine.results import OutputReport, PassReport
from release.manifest import (
    CONVERSION_SCHEMA,
    Count,
    Figure,
    ParityRecord,
    RecipeRecord,
    WrittenRecord,
    Xxh128Hex,
)
from release.records import count_dtypes, measured_record, parity_record


class _Record(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, populate_by_name=True
    )


class SourceRecord(_Record):
    """A checkpoint that was read: its values, not where it lay."""

    nbytes: Count
    architecture: str
    layout: str
    dtypes: dict[str, Count]
    tensor_set_xxh3_128: Xxh128Hex


class RuleRecord(_Record):
    """How many tensors got a dtype, and why."""

    dtype: str
    scaled: bool
    reason: str
    n_tensors: Count


class CastRecord(_Record):
    """What the tensors lost that became one dtype; `typical_db` is what is usual."""

    typical_db: Figure
    parity: ParityRecord


class ComponentRecord(_Record):
    """What one component takes, and lost: by dtype, those that were cast."""

    nbytes_before: Count
    nbytes_after: Count
    cast: dict[str, CastRecord]


class TensorLossRecord(_Record):
    """One of the tensors that lost most."""

    name: str
    dtype: str
    scaled: bool
    parity: ParityRecord


class ConversionRecord(_Record):
    """A whole variant."""

    schema_name: Annotated[Literal["krelease.conversion/1"], Field(alias="schema")]
    variant: str
    ingredients: dict[str, SourceRecord]
    """The only one of a conversion is called "source"."""
    recipe: RecipeRecord | None = None
    rules: Annotated[tuple[RuleRecord, ...], Field(strict=False)]
    total: ComponentRecord
    components: dict[str, ComponentRecord]
    worst: Annotated[tuple[TensorLossRecord, ...], Field(strict=False)]
    files: Annotated[tuple[WrittenRecord, ...], Field(strict=False)]

    def to_json(self) -> str:
        """Return the canonical text: sorted keys, one final newline."""
        document = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return json.dumps(document, sort_keys=True, indent=1, ensure_ascii=True) + "\n"


def conversion_record(
    plan: ConvertPlan, converted: Converted, report: PassReport
) -> ConversionRecord:
    """Return the record of one finished variant."""
    loss = converted.loss
    return ConversionRecord(
        schema_name=CONVERSION_SCHEMA,
        variant=converted.plan.preset.name,
        ingredients={
            ingredient.name: _source(plan, ingredient, report)
            for ingredient in plan.material.ingredients
        },
        recipe=plan.material.recipe,
        rules=_rules(converted.plan),
        total=_component(loss.total),
        components={each.component: _component(each) for each in loss.components},
        worst=tuple(_tensor(each) for each in loss.worst),
        files=tuple(_written(part, plan.source) for part in converted.parts),
    )


def _written(part: OutputReport, source: Source) -> WrittenRecord:
    measured = measured_record(
        part,
        architecture=source.architecture,
        single_file_name=source.single_file_name,
    )
    return WrittenRecord(sha256=part.seal.sha256, **dict(measured))


def _source(
    plan: ConvertPlan, ingredient: Ingredient, report: PassReport
) -> SourceRecord:
    checkpoint, layout = ingredient.checkpoint, ingredient.layout
    return SourceRecord(
        nbytes=checkpoint.nbytes,
        architecture=plan.source.architecture,
        layout=layout.name if layout else "plain",
        dtypes=count_dtypes(checkpoint.tensors.values()),
        tensor_set_xxh3_128=report.ingredients[ingredient.name],
    )


def _rules(variant: VariantPlan) -> tuple[RuleRecord, ...]:
    counts = Counter(
        (each.dtype.code, each.scaled, each.reason)
        for each in variant.assignments.values()
    )
    return tuple(
        RuleRecord(dtype=dtype, scaled=scaled, reason=reason, n_tensors=count)
        for (dtype, scaled, reason), count in sorted(counts.items())
    )


def _component(loss: ComponentLoss) -> ComponentRecord:
    return ComponentRecord(
        nbytes_before=loss.nbytes_before,
        nbytes_after=loss.nbytes_after,
        cast={
            dtype.code: CastRecord(
                typical_db=f"{dtype.typical_snr_db or 0.0:.1f}",
                parity=parity_record(deviation),
            )
            for dtype, deviation in loss.cast.items()
        },
    )


def _tensor(loss: TensorLoss) -> TensorLossRecord:
    return TensorLossRecord(
        name=loss.name,
        dtype=loss.dtype.code,
        scaled=loss.scaled,
        parity=parity_record(loss.deviation),
    )
