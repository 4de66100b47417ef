import math
from collections import Counter

import pytest
import xxhash

from release.architecture.sdxl import sdxl_tensors
from release.errors import RecipeError
from release.recipe.conventions import CONVENTIONS, Convention, find_convention

# Tensors and parameters per block, counted by running the tools themselves.
SHARED = {
    "IN01": (10, 2_255_040),
    "IN02": (10, 2_255_040),
    "IN03": (2, 921_920),
    "IN04": (58, 27_390_080),
    "IN05": (56, 29_028_480),
    "IN06": (2, 3_687_040),
    "IN07": (218, 375_425_280),
    "IN08": (216, 381_978_880),
    "M00": (226, 413_117_440),
    "OUT00": (218, 400_005_120),
    "OUT01": (218, 400_005_120),
    "OUT02": (220, 406_558_720),
    "OUT03": (58, 37_633_280),
    "OUT04": (58, 33_536_000),
    "OUT05": (60, 35_174_400),
    "OUT06": (12, 4_407_040),
    "OUT07": (12, 3_382_400),
    "OUT08": (16, 3_394_564),
}
COUNTS = {
    "supermerger": {
        **SHARED,
        "BASE": (831, 899_637_223),
        "KEEP": (4, 1_737_038),
        "IN00": (10, 7_307_840),
    },
    "sd-mecha": {
        **SHARED,
        "BASE": (595, 825_016_398),
        "VAE": (248, 83_653_863),
        "IN00": (2, 11_840),
    },
}


def sizes(convention: Convention) -> dict[str, tuple[int, int]]:
    tensors: Counter[str] = Counter()
    parameters: Counter[str] = Counter()
    for entry in sdxl_tensors():
        block = convention.block_of(entry.name)
        tensors[block] += 1
        parameters[block] += math.prod(entry.shape)
    return {block: (tensors[block], parameters[block]) for block in tensors}


@pytest.mark.parametrize("name", COUNTS)
def test_blocks_have_the_sizes_that_the_tools_give_them(name: str) -> None:
    assert sizes(find_convention(name)) == COUNTS[name]


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("supermerger", "99bc1d9fdcaf90459e5a4ddf3768b2f6"),
        ("sd-mecha", "993a004b90a2fa06ba47ce762d135bce"),
    ],
)
def test_every_tensor_is_in_the_block_the_tool_puts_it_in(
    name: str, digest: str
) -> None:
    # Digest of "tensor block" lines that came from running the tools.
    convention = find_convention(name)
    names = sorted(entry.name for entry in sdxl_tensors())
    text = "\n".join(f"{tensor} {convention.block_of(tensor)}" for tensor in names)
    assert xxhash.xxh3_128_hexdigest(text.encode()) == digest


@pytest.mark.parametrize("name", CONVENTIONS)
def test_no_tensor_is_in_a_block_that_is_not_listed(name: str) -> None:
    convention = CONVENTIONS[name]
    assert set(sizes(convention)) == set(convention.blocks)


def test_block_numbers_are_not_mistaken_for_their_prefixes() -> None:
    tensor = "model.diffusion_model.input_blocks.10.0.weight"
    assert find_convention("supermerger").block_of(tensor) == "KEEP"
    assert find_convention("sd-mecha").block_of(tensor) == "BASE"


@pytest.mark.parametrize(
    ("name", "hint"),
    [("super-merger", "did you mean supermerger?"), ("x", "sd-mecha, supermerger")],
)
def test_unknown_convention_is_refused(name: str, hint: str) -> None:
    with pytest.raises(RecipeError, match=r"recipe\.convention") as caught:
        find_convention(name)
    assert caught.value.code == "unknown-convention"
    assert hint in caught.value.hint
