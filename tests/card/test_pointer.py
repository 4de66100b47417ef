"""The text beside a checkpoint in a zip."""

from collections.abc import Callable
from typing import Any

import pytest

from release.card.pointer import archive_readme
from release.definition import Definition
from release.errors import UsageError

FP8 = "kohaku-xl-gamma-rev2.fp8.safetensors"
FP16 = "kohaku-xl-gamma-rev2.fp16.safetensors"


def test_text_of_the_fp8_archive_is_the_golden_one(
    definition: Definition, golden: Callable[[str, str], None]
) -> None:
    text = archive_readme(definition, "fp8", file_name=FP8, full_precision_name=FP16)

    golden("archive_readme.txt", text)


def test_archive_of_the_full_precision_points_nowhere_else(
    definition: Definition,
) -> None:
    text = archive_readme(definition, "fp16", file_name=FP16, full_precision_name=FP16)

    assert "Full-precision weights\n" not in text
    assert "0.4.2" not in text
    assert "\n\n\n" not in text


def test_unknown_variant_is_refused(definition: Definition) -> None:
    with pytest.raises(UsageError):
        archive_readme(definition, "fp9", file_name=FP8, full_precision_name=FP16)


def test_names_cannot_fake_a_line(gamma: dict[str, Any]) -> None:
    gamma["release"]["title"] = "x\x0bLicence\u2028y\x1b[31m"

    text = archive_readme(
        Definition.model_validate(gamma),
        "fp8",
        file_name="a\nb {{7*7}}",
        full_precision_name=FP16,
    )

    assert text.splitlines()[0] == "x\\u000bLicence\\u2028y\\u001b[31m"
    assert "  a\\u000ab {{7*7}}\n" in text
