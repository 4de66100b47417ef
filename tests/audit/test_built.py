"""What publish asks: does what was just built follow what it was built by."""

from contextlib import ExitStack

import pytest

from release.audit.audit import audit_built
from release.audit.report import audit_sentence, raise_if_different
from release.build import plan_build
from release.errors import ParityError
from release.formats.open import open_checkpoint
from release.progress import NoProgress


@pytest.fixture
def plan(gamma_rev2, ingredients):
    with ExitStack() as stack:
        checkpoints = {
            name: stack.enter_context(open_checkpoint(path))
            for name, path in ingredients.items()
        }
        yield plan_build(gamma_rev2, checkpoints)


def built(plan, path, *, sample=False):
    return audit_built(
        path,
        plan.recipe,
        plan.passes.ingredients,
        sample=sample,
        threads=2,
        progress=NoProgress(),
    )


def test_every_variant_of_a_build_has_its_sentence(plan, release_folder):
    whole = built(plan, release_folder / "kohaku-xl-gamma-rev2-fp8.safetensors")
    sampled = built(
        plan, release_folder / "kohaku-xl-gamma-rev2-fp16.safetensors", sample=True
    )

    raise_if_different(whole)
    sentence = "2,515 of 2,515 tensors equal the recipe bit for bit"
    assert audit_sentence(whole) == sentence
    assert audit_sentence(sampled) == f"in a sample of 69 % of the values, {sentence}"


def flipped(release_folder, path, place, bit):
    data = bytearray(
        (release_folder / "kohaku-xl-gamma-rev2-fp16.safetensors").read_bytes()
    )
    data[place] ^= bit
    path.write_bytes(data)
    return path


def test_one_flipped_bit_in_a_build_is_named(plan, release_folder, tmp_path):
    path = flipped(release_folder, tmp_path / "x.safetensors", -99, 0x10)

    report = built(plan, path)

    (finding,) = [each for each in report.findings if not each.verdict.follows]
    assert report.verdict.code == "changed-values"
    assert finding.detail.startswith("1 of ")
    assert finding.detail.endswith(" values differ")
    assert len(finding.tensors) == 1
    with pytest.raises(ParityError) as error:
        raise_if_different(report)
    assert error.value.code == report.verdict.code
    assert finding.tensors[0] in str(error.value)


def test_one_last_bit_is_counted_and_may_be_another_order_of_sums(
    plan, release_folder, tmp_path
):
    path = flipped(release_folder, tmp_path / "x.safetensors", -100, 1)

    report = built(plan, path)

    assert audit_sentence(report) == (
        "2,514 of 2,515 tensors equal the recipe bit for bit, and the others but for"
        " the last bit of 1 value"
    )
