"""What ModelSpec says of an architecture."""

import pytest

from release.architecture.modelspec import MODELSPEC, modelspec_of


def test_sdxl_has_the_fields_that_do_not_depend_on_the_model():
    spec = modelspec_of("sdxl")

    assert spec["modelspec.architecture"] == "stable-diffusion-xl-v1-base"
    assert {key.removeprefix(MODELSPEC) for key in spec} == {
        "sai_model_spec",
        "architecture",
        "implementation",
        "resolution",
    }


@pytest.mark.parametrize("architecture", ["sd1", "sd2", "unknown", ""])
def test_others_have_none(architecture):
    assert modelspec_of(architecture) == {}
