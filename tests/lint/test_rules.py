"""One card per rule that breaks that rule and no other; and cases seen in public."""

from collections.abc import Callable

import pytest

from release.definition import Definition
from release.lint.catalog import RULES
from release.lint.rules.digests import EMPTY_SHA256
from release.lint.subject import FileFacts

FP16, FP8 = "one-fp16.safetensors", "one-fp8.safetensors"
Change = Callable[..., object]


def put(old: str, new: str) -> Change:
    return lambda draft, _: draft.put(old, new)


def meta(**metadata: str) -> Change:
    named = {f"modelspec.{key}": value for key, value in metadata.items()}
    return lambda draft, _: draft.weigh(FP16, metadata=named)


def other_ingredient(draft, gamma_rev2: Definition) -> None:
    """The definition's anxl2 is non-commercial, the card says FAIPL."""
    source = gamma_rev2.ingredients["anxl2"].model_copy(
        update={"licence": "cc-by-nc-nd-4.0"}
    )
    ingredients = {**gamma_rev2.ingredients, "anxl2": source}
    draft.definition = gamma_rev2.model_copy(update={"ingredients": ingredients})


def no_trace_of_sdxl(draft, _: Definition) -> None:
    said = " It derives from SDXL, whose\nlicence is CreativeML Open RAIL++-M."
    draft.put(said, "")


def only_fp8(draft, _: Definition) -> None:
    del draft.files[FP16]
    lines = draft.text.splitlines(keepends=True)
    draft.text = "".join(line for line in lines if FP16 not in line)


def one_bugged(draft, _: Definition) -> None:
    draft.files["one-bugged.ckpt"] = FileFacts("one-bugged.ckpt", 5)


def no_rating(draft, _: Definition) -> None:
    draft.text = draft.text.replace(", safe", "").replace("| general | `safe` |\n", "")


def zip_of(*members: str) -> Change:
    """There is a zip with these names in it."""
    facts = FileFacts("one.zip", 5, members=members)
    return lambda draft, _: draft.files.update({"one.zip": facts})


def v_marker(draft, _: Definition) -> None:
    draft.weigh(FP16, markers=frozenset({"v_pred"}))


BREAKS: dict[str, list[Change]] = {
    "KR001": [
        put("license: other\n", "license: [\n"),
        put("license: other\n", "license: &a other\n"),
        put("license: other\n", "license: !!python/object:os.system x\n"),
        put("license: other\n", "license: " + "[" * 30 + "]" * 30 + "\n"),
    ],
    "KR002": [put("# Model One", "# Model\u202e One"), put("Merged", "\x1b[31mMerged")],
    "KR101": [
        put("license: other\nlicense_name: faipl-1.0-sd\nlicense_link: LICENSE\n", ""),
        put("license: other\nlicense_name: faipl-1.0-sd\n", "license: unknown\n"),
    ],
    "KR102": [put("license_link: LICENSE\n", "")],
    "KR103": [
        put("name: faipl-1.0-sd", "name: fair-ai-public-license-1.0-sd"),
        put("license: other\nlicense_name: faipl-1.0-sd\n", "license: faipl-1.0-sd\n"),
    ],
    "KR104": [
        lambda draft, _: setattr(draft, "licence", None),
        lambda draft, _: setattr(draft, "licence", draft.licence[:-40]),
        zip_of("one-fp8.safetensors", "README.txt"),
    ],
    "KR105": [
        put("Released under `faipl-1.0-sd`", "Released under the MIT License"),
        put("## Licence\n", "## Licence\n\n**License:** openrail++\n"),
        put("## Tags\n", "| License | creativeml-openrail-m |\n|---|---|\n\n## Tags\n"),
        put("Released under `faipl-1.0-sd`", "Licensed under faipl-1.0"),
    ],
    "KR106": [other_ingredient],
    "KR107": [
        put("## Tags", "We prohibit any form of commercialization of it.\n\n## Tags"),
        put("## Tags", "Redistribution of it is strictly prohibited.\n\n## Tags"),
        put("## Tags", "For non-commercial use only.\n\n## Tags"),
        put("## Tags", "Do not merge this model.\n\n## Tags"),
        put("## Tags", "Exclusive to SomeSite.\n\n## Tags"),
    ],
    "KR108": [no_trace_of_sdxl],
    "KR109": [meta(license="openrail++")],
    "KR201": [
        put("## Settings", "| `one-bf16.safetensors` | bf16 |\n\n## Settings"),
        put("## Settings", "- `two.safetensors` (6.94 GB)\n\n## Settings"),
        lambda draft, _: draft.files.update(
            {"two.safetensors": FileFacts("two.safetensors", 5)}
        ),
    ][1:],
    "KR202": [
        put("| 6.94 GB |", "| 5.5 GB |"),
        put("| 6,938,040,682 |", "| 6,938,040,683 |"),
        put("about 4.3 GB", "about 3.5 GB"),
        lambda draft, _: draft.change(FP8, nbytes=3_400_000_000),
    ],
    "KR203": [
        put("| fp16 | 6.94", "| fp32 | 6.94"),
        put("| fp16 | 6.94", "| fp8 | 6.94"),
        put("| fp8 e4m3fn (U-Net; rest fp16) |", "| fp16 |"),
        lambda draft, _: draft.weigh(FP8, dtypes={"F16": 4_271_000_000}),
    ],
    "KR204": [
        put("a1" * 32, "a2" + "a1" * 31),
        put("A1A1A1A1A1", "A1A1A1A1A2"),
        put("C3C3C3C3C3C3", "C3C3C3C3C3C4"),
    ],
    "KR205": [
        meta(hash_sha256="0x" + EMPTY_SHA256),
        meta(hash_sha256="0x" + "99" * 32),
    ],
    "KR206": [put("diffusion-single-file", "diffusers")],
    "KR207": [only_fp8],
    "KR208": [
        meta(prediction_type="v"),
        v_marker,
        put("# Model One", "# Model One v-pred"),
    ],
    "KR209": [
        lambda draft, _: draft.weigh(FP16, metadata={"prompt": '{"3": {}}'}),
        lambda draft, _: draft.weigh(FP16, metadata={"ss_dataset_dirs": '{"5_me": 1}'}),
        put("## Tags", "Files are in C:\\Users\\somebody\\models.\n\n## Tags"),
    ],
    "KR210": [one_bugged],
    "KR211": [put("3.5B parameters", "6.6B parameters")],
    "KR301": [
        put("  parameters:", "  parameter:"),
        put("datasets:", "dataset:"),
        put("guidance_scale: 5\n", "guidence_scale: 5\n"),
    ],
    "KR302": [
        put(
            "base_model:\n- maker/base\n- maker/style\nbase_model_relation: merge\n", ""
        )
    ],
    "KR303": [
        put("base_model_relation: merge\n", ""),
        put("base_model_relation: merge", "base_model_relation: mixture"),
    ],
    "KR304": [put("pipeline_tag: text-to-image\n", "")],
    "KR305": [lambda draft, _: draft.files.pop("images/0.png")],
    "KR306": [
        put("- maker/base", "- not a repo id!!"),
        put("- maker/base", "- https://civitai.com/models/1"),
        put("- maker/pictures", "- a/b/c"),
    ],
    "KR307": [
        put(
            "## Tags",
            "There is a [newer version](https://huggingface.co/maker/two).\n\n## Tags",
        )
    ],
    "KR308": [put("language:\n- en\n", "language:\n- en\nlanguage:\n- en\n")],
    "KR401": [
        put("1024x1024, 832", "512x512, 832"),
        put("832x1216", "830x1216"),
        put("832x1216", "832x1210"),
        put("    guidance_scale: 5\n", "    guidance_scale: 5\n    width: 512\n"
            "    height: 512\n"),
    ],
    "KR402": [
        put("guidance_scale: 5\n", "guidance_scale: 12\n"),
        put("num_inference_steps: 28", "num_inference_steps: 50"),
    ],
    "KR403": [
        put("text: 1girl, solo, masterpiece", "text: 1girl, solo, Masterpiece"),
        put("text: 1girl, solo", "text: 1girl, absurdes"),
        put("text: 1girl, solo", "text: 1girl, high quality"),
    ],
    "KR404": [no_rating],
    "KR405": [put("| general | `safe` |", "| general | `safe` |\n| more | `nsfw` |")],
    "KR406": [
        put("# Model One\n", "# Model One\n\nTODO: write this\n"),
        put("# Model One\n", "# Model One\n\n[More Information Needed]\n"),
        put("# Model One\n", "# Model One\n\nHello {{ name }}\n"),
    ],
}  # fmt: skip
CASES = [
    pytest.param(rule, change, id=f"{rule}-{at}")
    for rule, changes in BREAKS.items()
    for at, change in enumerate(changes)
]


def test_good_card_breaks_no_rule(draft) -> None:
    assert [str(finding) for finding in draft.findings()] == []


@pytest.mark.parametrize(("rule", "change"), CASES)
def test_change_breaks_its_rule_and_no_other(draft, gamma_rev2, rule, change) -> None:
    change(draft, gamma_rev2)

    assert draft.rules() == {rule}, [str(each) for each in draft.findings()]


def test_every_rule_has_a_card_that_breaks_it() -> None:
    of_hub = ["KR003"]  # what a Hub says is tested where there is one
    assert list(BREAKS) == [rule.id for rule in RULES if rule.id not in of_hub]
    assert len({rule.name for rule in RULES}) == len(RULES)


@pytest.mark.parametrize(("rule", "change"), CASES)
def test_finding_is_one_safe_line_that_names_a_place(
    draft, gamma_rev2, rule, change
) -> None:
    change(draft, gamma_rev2)

    for finding in draft.findings():
        assert str(finding).isprintable()
        assert finding.line or finding.file != "README.md"
        assert 0 <= finding.line <= draft.text.count("\n") + 1
