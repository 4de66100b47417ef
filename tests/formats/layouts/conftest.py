"""Ways from a sample to its layout, or to the error it ends with."""

import pytest

from release.errors import CheckpointError
from release.formats.checkpoint import SafetensorsCheckpoint
from release.formats.layouts.configured import quantization_config_beside
from release.formats.layouts.detect import detect_layout


@pytest.fixture
def detect(tmp_path):
    """Write a sample and detect its layout."""

    def run(sample, *, assume_scaled=None):
        path = sample.write(tmp_path)
        assumed = sample.assumed if assume_scaled is None else assume_scaled
        with SafetensorsCheckpoint(path) as checkpoint:
            return detect_layout(
                checkpoint,
                quantization_config=quantization_config_beside(path),
                assume_scaled=assumed,
            )

    return run


@pytest.fixture
def refusal(tmp_path):
    """Write a sample and return the error that detecting its layout ends with."""

    def run(sample, *, assume_scaled=False):
        path = sample.write(tmp_path)
        with (
            SafetensorsCheckpoint(path) as checkpoint,
            pytest.raises(CheckpointError) as caught,
        ):
            detect_layout(
                checkpoint,
                quantization_config=quantization_config_beside(path),
                assume_scaled=assume_scaled,
            )
        message = str(caught.value)
        assert message.startswith(str(path))
        assert "\n" not in message
        assert caught.value.hint
        return caught.value

    return run
