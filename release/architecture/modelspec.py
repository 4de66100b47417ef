"""What ModelSpec says of an architecture, whatever the model."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

MODELSPEC: Final = "modelspec."
"""What the standard's keys begin with."""

_SPECS: Final[dict[str, Mapping[str, str]]] = {
    "sdxl": MappingProxyType(
        {
            "modelspec.sai_model_spec": "1.0.1",
            "modelspec.architecture": "stable-diffusion-xl-v1-base",
            "modelspec.implementation": (
                "https://github.com/Stability-AI/generative-models"
            ),
            "modelspec.resolution": "1024x1024",
        }
    )
}


def modelspec_of(architecture: str) -> Mapping[str, str]:
    """Return the fields that follow from the architecture alone; empty if unknown.

    SD1 and SD2 have none here: their identifiers depend on what names and shapes do not
    show, such as the resolution and the kind of prediction they were trained for.

    Args:
        architecture: As `release.architecture.sdxl.detect` names it.

    Source:
        Stability-AI/ModelSpec 1.0.1, the keys that a model must have.
    """
    return _SPECS.get(architecture, MappingProxyType({}))
