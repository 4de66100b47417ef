"""Cards as they were seen in public, and sentences that must not be taken wrong."""

import pytest

from release.lint.subject import FileFacts

FP16, FP8 = "one-fp16.safetensors", "one-fp8.safetensors"
MODELS = "license: other\nlicense_name: faipl-1.0-sd\nlicense_link: LICENSE\n"


def texts(draft, rule):
    return [each.text for each in draft.findings() if each.rule.id == rule]


def test_fp8_claimed_at_fp16_size_is_found_by_title_and_tag(draft):
    # A repository "sdxl-fp8" whose file of 6.5 GB is fp16 to the byte.
    draft.text = (
        f"---\n{MODELS}pipeline_tag: text-to-image\ntags:\n- fp8\n---\n\n"
        "# SDXL FP8\n\nOpen RAIL++-M, converted.\n\n"
        "| File | Size |\n|---|---|\n| `sdxl.safetensors` | 6.5 GB |\n"
    )
    fp16 = draft.files[FP16]
    draft.files = {"sdxl.safetensors": FileFacts("sdxl.safetensors", fp16.nbytes,
                   weights=fp16.weights)}  # fmt: skip

    assert draft.rules() == {"KR203"}
    assert texts(draft, "KR203") == [
        "the card claims fp8; no file holds any: the largest has 6.94 GB of fp16"
    ]


def test_fp8_claimed_by_a_file_name_is_compared_with_its_header(draft):
    draft.weigh(FP8, dtypes={"F16": 6_937_675_890})

    assert texts(draft, "KR203") == [
        f"{FP8} is said to be fp8; it holds no fp8, but fp16",
        f"{FP8} is said to be fp8; it holds no fp8, but fp16",
    ]


def test_singular_parameter_is_named_with_its_place(draft):
    draft.put("  parameters:", "  parameter:")

    assert texts(draft, "KR301") == [
        "widget.0.parameter is ignored by the Hub, expected parameters"
    ]


def test_missing_licence_is_suggested_from_the_file(draft):
    draft.put(MODELS, "")

    assert texts(draft, "KR101") == [
        "license: is missing, although LICENSE holds the text of faipl-1.0-sd"
    ]


def test_missing_licence_without_a_file_is_only_missed(draft):
    draft.put(MODELS, "")
    draft.licence = None

    assert texts(draft, "KR101") == [
        "license: is missing; name the licence of the model"
    ]


def test_diffusers_is_right_where_there_is_a_model_index(draft):
    draft.put("diffusion-single-file", "diffusers")
    draft.files["model_index.json"] = FileFacts("model_index.json", 500)

    assert draft.rules() == set()


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("fair-ai-public-license-1.0-sd", "expected faipl-1.0-sd"),
        ("fair-ai-public-license", "expected faipl-1.0-sd"),
        ("FAIPL-1.0-SD", "expected faipl-1.0-sd"),
    ],
)
def test_alias_of_a_licence_is_a_warning_with_the_canonical_name(draft, written, said):
    draft.put("license_name: faipl-1.0-sd", f"license_name: {written}")

    assert [said in text for text in texts(draft, "KR103")] == [True]
    assert draft.rules() == {"KR103"}


def test_licence_without_prohibited_uses_is_another_one(draft):
    draft.put("license_name: faipl-1.0-sd", "license_name: faipl-1.0")

    assert {"KR104", "KR105"} <= draft.rules()
    assert "KR103" not in draft.rules()


@pytest.mark.parametrize(
    "sentence",
    [
        "We prohibit any form of commercialization, including selling.",
        "Redistribution of this early version is strictly prohibited.",
        "Commercial use is not allowed.",
        "No commercial use.",
        "You may not sell this model.",
        "Merging is not permitted.",
        "Don't re-upload.",
        "This model is exclusive to SeaArt.",
    ],
)
def test_added_prohibition_is_found(draft, sentence):
    draft.text += f"\n{sentence}\n"

    assert draft.rules() == {"KR107"}


@pytest.mark.parametrize(
    "sentence",
    [
        "Commercial use is allowed, and merges are welcome.",
        "There is no prohibition of commercial use.",
        "The licence is given without non-commercial use clauses.",
        "Do not use the fp8 file for training.",
        "The list of prohibited uses also applies to derived models.",
        "The result stays under this licence, without added restrictions.",
        "Animagine's merge was redone; do not expect the same images.",
    ],
)
def test_harmless_sentence_is_no_prohibition(draft, sentence):
    draft.text += f"\n{sentence}\n"

    assert draft.rules() == set()


def test_prohibition_is_free_where_the_licence_allows_to_add(draft):
    draft.put(MODELS, "license: apache-2.0\n")
    draft.put("Released under `faipl-1.0-sd`", "Released under Apache License 2.0")
    draft.licence = None
    draft.text += "\nNo commercial use.\n"

    assert draft.rules() == set()


@pytest.mark.parametrize(
    "sentence",
    [
        "SDXL was released under CreativeML Open RAIL++-M.",
        "Based on models that are licensed under openrail++.",
        "The training code is licensed under Apache License 2.0.",
        "| `anxl2` | openrail++ |",
    ],
)
def test_licence_of_something_else_is_no_contradiction(draft, sentence):
    draft.text += f"\n{sentence}\n"

    assert draft.rules() == set()


@pytest.mark.parametrize(
    "size", ["6.94 GB", "6.9 GB", "7 GB", "6.46 GB", "6.46 GiB", "6.5GB", "6940 MB"]
)
def test_size_as_people_round_it_is_right(draft, size):
    draft.put("| 6.94 GB |", f"| {size} |")

    assert draft.rules() == set()


@pytest.mark.parametrize("size", ["6.8 GB", "3.5 GB", "6.94 GiB", "13.9 GB", "694 MB"])
def test_size_of_another_file_is_wrong(draft, size):
    draft.put("| 6.94 GB |", f"| {size} |")

    assert draft.rules() == {"KR202"}


def test_memory_of_a_card_is_no_size_of_a_file(draft):
    draft.put("about 4.3 GB, for little memory", "for 8 GB VRAM")

    assert draft.rules() == set()


def test_bad_file_that_is_called_so_is_no_finding(draft):
    draft.files["one-bugged.ckpt"] = FileFacts("one-bugged.ckpt", 5)
    draft.text += "\n- `one-bugged.ckpt`: the first merge, wrong; do not use it\n"

    assert draft.rules() == set()


def test_bad_file_of_the_catalog_is_known_by_its_name(draft):
    name = "kohaku-xl-gamma-rev1-bugged.safetensors"
    draft.files[name] = FileFacts(name, 5)
    draft.text += f"\n- `{name}`\n"

    (text,) = texts(draft, "KR210")
    assert "LyCORIS" in text


def test_reduced_file_that_links_to_the_whole_one_is_fine(draft):
    del draft.files[FP16]
    lines = draft.text.splitlines(keepends=True)
    draft.text = "".join(line for line in lines if FP16 not in line)
    draft.text += "\nThe [full-precision weights](https://huggingface.co/maker/one).\n"

    assert draft.rules() == set()


def test_ingredient_in_its_own_section_need_not_be_there(draft):
    draft.text += "\n## Ingredients\n\n| File | Size |\n|---|---|\n"
    draft.text += "| `base.safetensors` | 6.94 GB |\n"

    assert draft.rules() == set()


def test_card_without_files_makes_no_claims_about_them(draft):
    from release.lint.card import parse_card
    from release.lint.run import lint
    from release.lint.subject import Subject

    subject = Subject(parse_card(draft.text.encode()))

    assert lint(subject) == ()


def test_requested_licence_that_an_ingredient_forbids_is_named(draft, gamma_rev2):
    draft.put(MODELS, "license: openrail++\n")
    draft.definition = gamma_rev2

    (text,) = texts(draft, "KR106")
    assert "anxl3 (faipl-1.0-sd) does not allow it; allowed: faipl-1.0-sd" in text


@pytest.mark.parametrize(
    ("written", "right"), [("MIT", "mit"), ("CC-BY-SA-4.0", "cc-by-sa-4.0")]
)
def test_id_in_capitals_is_an_alias(draft, written, right):
    draft.put(MODELS, f"license: {written}\n")

    assert texts(draft, "KR103") == [
        f"license: {written} is an alias, expected {right}"
    ]


@pytest.mark.parametrize(
    ("char", "severity"),
    [
        ("\u202e", "error"),
        ("\x07", "error"),
        ("\u200b", "warning"),
        ("\u200f", "warning"),
    ],
)
def test_character_that_turns_text_around_is_worse_than_one_that_is_unseen(
    draft, char, severity
):
    draft.put("Merged", f"Mer{char}ged")

    assert [(each.rule.id, each.severity.value) for each in draft.findings()] == [
        ("KR002", severity)
    ]


def test_misspelt_tag_is_found_without_a_declared_vocabulary(draft):
    draft.put("text: 1girl, solo", "text: 1girl, absurdes")
    draft.text = draft.text.partition("## Tags")[0]

    assert texts(draft, "KR403") == ["tag absurdes: did you mean absurdres?"]


def test_words_of_any_vocabulary_are_free_where_none_is_declared(draft):
    draft.put("text: 1girl, solo", "text: 1girl, high quality, Masterpiece, oldest")
    draft.text = draft.text.partition("## Tags")[0]

    assert draft.rules() == set()


def test_tag_may_be_spelt_as_either_of_two_vocabularies_has_it(draft) -> None:
    table = (
        "| Meaning | My tag | Their tag |\n|---|---|---|\n| best | `Gold` | `gold` |\n"
    )
    draft.text = draft.text.replace("## Tags\n", f"## Tags\n\n{table}", 1)
    draft.text = draft.text.replace("text: 1girl, solo", "text: 1girl, Gold, GOLD")

    assert texts(draft, "KR403") == ["tag GOLD: expected Gold, as declared"]


@pytest.mark.parametrize("name", ["My model v1.safetensors", "unet/v1.safetensors"])
def test_file_with_a_blank_or_in_a_folder_is_there(draft, name):
    draft.files[name] = FileFacts(name, 2_000_000_000)
    draft.text += f"\n- {name} (2 GB)\n"

    assert draft.rules() == set()
