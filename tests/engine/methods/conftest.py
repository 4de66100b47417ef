"""A method run as the engine runs it: swept in chunks of one size, applied in any."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from release.engine.methods.prepare import prepare

SWEPT = 1000
"""Elements of a chunk while a tensor is measured; small, so that small tensors have
several."""


@pytest.fixture
def merge():
    """Return a function from models (numpy, float64) to the method's result."""

    def run(kind, models, *, cut=777, name="tensor", **parameters):
        flat = [np.ascontiguousarray(model).reshape(-1) for model in models]
        n_elements = flat[0].size

        def chunk(start, length):
            return [torch.tensor(model[start : start + length]) for model in flat]

        def sweep():
            for start in range(0, n_elements, SWEPT):
                yield start, chunk(start, SWEPT)

        prepared = prepare(
            kind,
            {key.strip("_"): Fraction(str(value)) for key, value in parameters.items()},
            shape=models[0].shape,
            name=name,
            n_models=len(models),
            sweep=sweep,
        )
        out = torch.full((n_elements,), torch.nan, dtype=torch.float64)
        # The last chunk first: every chunk has to stand for itself.
        for start in reversed(range(0, n_elements, cut)):
            arguments = chunk(start, cut)
            prepared.apply(start, arguments, out[start : start + cut])
        return out.numpy().reshape(models[0].shape)

    return run


@pytest.fixture
def weights():
    """Return a function that makes models as fine-tunes are: near one another."""

    def make(*shape, count=2, seed=0, spread=0.3):
        generator = np.random.default_rng(seed)
        base = generator.normal(size=shape)
        models = [
            base,
            *(base + spread * generator.normal(size=shape) for _ in range(count - 1)),
        ]
        return [model.astype(np.float16).astype(np.float64) for model in models]

    return make
