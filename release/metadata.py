"""Names of the metadata that krelease writes into a header and reads back."""

from typing import Final

DATA_SHA256_KEY: Final = "modelspec.hash_sha256"
"""`0x` and the SHA-256 of the data section (ModelSpec 1.0.1)."""
TENSOR_DIGESTS_KEY: Final = "krelease.tensors_xxh3_128"
"""xxh3_128 of every tensor in hex, joined in the order of the sorted names."""
TENSOR_SET_KEY: Final = "krelease.tensor_set_xxh3_128"
"""Digest of names, dtypes, shapes and data; it finds damage to the header itself."""
RELEASE_KEY: Final = "krelease.release"
"""Name of the release."""
VARIANT_KEY: Final = "krelease.variant"
"""Name of the preset."""
RECIPE_KEY: Final = "krelease.recipe"
"""The recipe in its canonical form."""
RECIPE_SHA256_KEY: Final = "krelease.recipe_sha256"
"""SHA-256 of the canonical form."""
INGREDIENTS_KEY: Final = "krelease.ingredients"
"""JSON: ingredient name -> tensor set digest."""
STAND_IN_KEY: Final = "krelease.stand_in"
"""Present in stand-ins and in what was made of them: not a model."""
STAND_IN_TEXT: Final = "random values"

PER_FILE_KEYS: Final = frozenset({DATA_SHA256_KEY, TENSOR_DIGESTS_KEY, TENSOR_SET_KEY})
"""What each of several files says of itself alone."""
