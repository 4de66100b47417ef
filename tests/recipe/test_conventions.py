import math
from collections import Counter

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from release.architecture.sdxl import sdxl_tensors
from release.errors import RecipeError
from release.recipe.cells import Part, part_of
from release.recipe.census import Size, changes
from release.recipe.conventions import CONVENTIONS, Convention, find_convention
from release.recipe.tokens import Place
from release.recipe.weights import BlockWeights, read_weights

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
    "chattiori": {
        **SHARED,
        "BASE": (583, 815_983_360),
        "KEEP": (260, 92_686_901),
        "IN00": (2, 11_840),
    },
    "sdnext": {
        "BASE": (841, 903_436_661),
        "IN00": (10, 2_255_040),
        "IN01": (10, 2_255_040),
        "IN02": (2, 921_920),
        "IN03": (58, 27_390_080),
        "IN04": (56, 29_028_480),
        "IN05": (2, 3_687_040),
        "IN06": (218, 375_425_280),
        "IN07": (216, 381_978_880),
        "IN08": (226, 413_117_440),
        "M00": (218, 400_005_120),
        "OUT00": (218, 400_005_120),
        "OUT01": (220, 406_558_720),
        "OUT02": (58, 37_633_280),
        "OUT03": (58, 33_536_000),
        "OUT04": (60, 35_174_400),
        "OUT05": (12, 4_407_040),
        "OUT06": (12, 3_382_400),
        "OUT07": (16, 3_394_564),
        "OUT08": (4, 5_245_440),
    },
}
PARTS = {
    "clip_l": (197, 123_060_557),
    "clip_g": (390, 694_659_841),
    "vae": (248, 83_653_863),
    "time_embed": (4, 2_050_560),
    "label_emb": (4, 5_245_440),
    "out": (4, 12_164),
    "unet": (1668, 2_560_155_520),
}
# Figures of gamma's list: tensors and parameters whose weight another map changes.
GAMMA = "0,0.1,0.1,0,0.1,0.1,0,0.1,0.1,0,0,0,0,0,0.05,0.05,0.05,0.05,0.05,0.05"


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
        ("chattiori", "cd8c8419a343144ccbc1c5003e5cb11a"),
        ("sdnext", "07f2f2068cf767ee51a04ae0f1a6547c"),
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


def test_parts_have_the_sizes_of_the_model() -> None:
    tensors: Counter[str] = Counter()
    parameters: Counter[str] = Counter()
    for entry in sdxl_tensors():
        part = part_of(entry.name).value
        tensors[part] += 1
        parameters[part] += math.prod(entry.shape)
    assert {part: (tensors[part], parameters[part]) for part in tensors} == PARTS


@pytest.mark.parametrize("name", CONVENTIONS)
@given(
    prefix=st.sampled_from(
        [
            "",
            "model.diffusion_model.",
            "model.diffusion_model.out.",
            "model.diffusion_model.time_embed.",
            "model.diffusion_model.label_emb.0.",
            "model.diffusion_model.input_blocks.8",
            "model.diffusion_model.output_blocks.0.",
            "conditioner.",
            "conditioner.embedders.0.",
            "conditioner.embedders.1.model.",
            "cond_stage_model.",
            "first_stage_model.",
        ]
    ),
    rest=st.one_of(st.text(max_size=8), st.sampled_from(["x.weight", "bias", ".w"])),
)
def test_whatever_a_tensor_is_called_its_cell_is_listed(
    name: str, prefix: str, rest: str
) -> None:
    convention = CONVENTIONS[name]
    assert convention.cell_of(prefix + rest) in convention.cells


@pytest.mark.parametrize("name", CONVENTIONS)
def test_cells_are_in_the_order_of_a_list_each_once(name: str) -> None:
    convention = CONVENTIONS[name]
    places = [convention.blocks.index(cell.block) for cell in convention.cells]
    assert places == sorted(places)
    assert len(set(convention.cells)) == len(convention.cells)


def test_cells_tell_the_parts_of_a_block_apart() -> None:
    cells = {cell.label for cell in find_convention("supermerger").cells}
    assert {"BASE/clip_l", "BASE/clip_g", "BASE/vae", "IN00/time_embed"} <= cells
    assert {"IN00/label_emb", "IN00/unet", "OUT08/out", "OUT08/unet"} <= cells
    assert "IN01/time_embed" not in cells


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ("unet", {Part.UNET, Part.TIME_EMBED, Part.LABEL_EMB, Part.OUT}),
        ("time_embed", {Part.TIME_EMBED}),
        ("clip_g", {Part.CLIP_G}),
        ("BASE", {Part.CLIP_L, Part.CLIP_G, Part.VAE, Part.OTHER}),
        ("IN00", {Part.TIME_EMBED, Part.LABEL_EMB, Part.UNET}),
    ],
)
def test_target_covers_its_parts(target: str, parts: set[Part]) -> None:
    convention = find_convention("supermerger")
    covered = [cell for cell in convention.cells if convention.is_in(cell, target)]
    assert {cell.part for cell in covered} == parts


def true_sizes() -> dict[str, int]:
    return {entry.name: math.prod(entry.shape) for entry in sdxl_tensors()}


def weights(text: str) -> BlockWeights:
    return read_weights(text, place=Place("x", text), column=1)


def test_other_conventions_move_the_tensors_that_the_tools_move() -> None:
    found = changes(true_sizes(), find_convention("supermerger"), None)
    moved = {each.convention: each.moved.n_tensors for each in found}
    # Of SD.Next the U-Net's 1,680 and the 4 that have neither word in their names.
    assert moved == {"sd-mecha": 260, "chattiori": 256, "sdnext": 1_684}
    assert {each.weighted for each in found} == {None}


def test_other_conventions_change_gammas_weights_as_the_tools_do() -> None:
    found = changes(true_sizes(), find_convention("supermerger"), weights(GAMMA))
    assert {each.convention: each.weighted for each in found} == {
        "sd-mecha": Size(8, 7_296_000),
        "chattiori": Size(8, 7_296_000),
        "sdnext": Size(354, 462_812_480),
    }


def test_convention_that_does_not_take_the_weights_has_no_figure() -> None:
    found = changes(
        true_sizes(), find_convention("sd-mecha"), weights(",".join(["0.5"] * 21))
    )
    assert {each.weighted for each in found} == {None}


@pytest.mark.parametrize("name", CONVENTIONS)
def test_no_tensor_is_in_a_block_that_is_not_listed(name: str) -> None:
    convention = CONVENTIONS[name]
    assert set(sizes(convention)) == set(convention.blocks)
    assert {cell.block for cell in convention.cells} == set(convention.blocks)


def test_block_numbers_are_not_mistaken_for_their_prefixes() -> None:
    tensor = "model.diffusion_model.input_blocks.10.0.weight"
    assert find_convention("supermerger").block_of(tensor) == "KEEP"
    assert find_convention("sd-mecha").block_of(tensor) == "BASE"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("super-merger", "did you mean supermerger?"),
        ("x", "chattiori, sd-mecha, sdnext, superm"),
    ],
)
def test_unknown_convention_is_refused(name: str, hint: str) -> None:
    with pytest.raises(RecipeError, match=r"recipe\.convention") as caught:
        find_convention(name)
    assert caught.value.code == "unknown-convention"
    assert hint in caught.value.hint
