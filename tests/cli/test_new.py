"""`krelease new`: a definition from a checkpoint, a card, and the maker's answers."""

import io
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import CommitOperationAdd
from safetensors import safe_open
from safetensors.numpy import save_file

from release.catalog.read import read_definition
from release.catalog.schema import make_schema
from release.definition import folded_recipe
from release.hub.client import connect
from release.hub.rehearsal import RehearsalHub

SAID = [
    "--title=Mine",
    "--summary=A merge.",
    "--author=me",
    "--repo=me/mine",
    "--licence=faipl-1.0-sd",
    "--prompt=1girl, solo",
]
CARD = """---
license: other
license_name: faipl-1.0-sd
language: [en, ja]
datasets: [KBlueLeaf/danbooru2023-sqlite, no-repo]
tags: [anime, merge, anime, not-for-all-audiences]
widget:
  - text: "1girl, outdoors"
    parameters:
      negative_prompt: worst quality
---

# A *fine* model

Text.
"""


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def checkpoint(ingredients, workplace):
    """Write beta7 with other metadata, as a program of somebody else would."""

    def write(name: str = "model.safetensors", **metadata: str) -> Path:
        with safe_open(ingredients["beta7"], "np") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        path = workplace / name
        save_file(tensors, path, {k.replace("__", "."): v for k, v in metadata.items()})
        return path

    return write


def uncommented(text: str) -> str:
    """Return a definition with every example in it taken for the maker's value."""
    return re.sub(r"(?m)^# (?=\[\w[\w.]*\]$|[a-z_]+ = )", "", text)


def test_everything_said_makes_a_definition_that_is_valid(krelease, checkpoint):
    path = checkpoint()

    code, out, err = krelease("new", "mine", "--from", path, *SAID)

    definition = read_definition(Path("mine.toml"))
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "mine.toml: valid as it is"
    assert definition.release.title == "Mine"
    assert definition.licence.link == "https://freedevproject.org/faipl-1.0-sd/"
    assert definition.usage.example_prompt == "1girl, solo"
    assert definition.ingredients["model"].path == "model.safetensors"
    assert folded_recipe(definition).decimal_rows()["M00"] == {"model": "1"}


def test_definition_of_one_checkpoint_can_be_built(krelease, checkpoint):
    krelease("new", "mine", "--from", checkpoint(), *SAID)

    code, out, _ = krelease("build", "mine", "--dry-run", "--json")

    assert code == 0
    assert json.loads(out)["ingredients"][0]["state"] == "at hand"


def test_what_is_not_known_is_a_comment_and_named(krelease):
    code, out, err = krelease("new", "mine")

    assert (code, err) == (0, "")
    assert out.splitlines()[0] == (
        "mine.toml: to fill in: release.title, release.summary, release.author, "
        "release.repo, recipe.output, recipe.copy_from, ingredients, licence.name, "
        "licence.link, usage.example_prompt"
    )
    assert "usage.cfg_min" in out.splitlines()[1]
    text = Path("mine.toml").read_text(encoding="utf-8")
    assert "# To fill in, for example:\n# author = " in text
    assert krelease("releases", "mine")[0] == 3


def test_filled_in_with_its_own_examples_the_definition_is_valid(krelease):
    krelease("new", "mine")
    path = Path("mine.toml")

    path.write_text(uncommented(path.read_text(encoding="utf-8")), encoding="utf-8")

    definition = read_definition(path)
    assert sorted(definition.ingredients) == ["a", "b"]
    assert definition.recipe.steps == {"half": "0.5 * a + 0.5 * b"}


def test_first_line_names_the_schema_and_the_schema_lies_beside(krelease):
    krelease("new", "mine")

    text = Path("mine.toml").read_text(encoding="utf-8")
    assert text.startswith("#:schema ./krelease.schema.json\n")
    assert Path("krelease.schema.json").read_text(encoding="utf-8") == make_schema()


def test_older_schema_of_ours_is_replaced_and_a_foreign_file_is_not(krelease):
    path = Path("krelease.schema.json")
    path.write_text(make_schema().replace("cfg_max", "cfg_top"), encoding="utf-8")
    first = krelease("new", "one")
    refreshed = path.read_text(encoding="utf-8")
    path.write_text("{}", encoding="utf-8")

    code, _, err = krelease("new", "two")

    assert (first[0], refreshed) == (0, make_schema())
    assert code == 9
    assert "krelease.schema.json: already exists" in err
    assert path.read_text(encoding="utf-8") == "{}"
    assert not Path("two.toml").exists()


def test_definition_that_is_there_is_kept_without_force(krelease):
    krelease("new", "mine", "--title=First")
    before = Path("mine.toml").read_bytes()

    code, out, err = krelease("new", "mine", "--title=Second")
    kept = Path("mine.toml").read_bytes()
    forced, _, _ = krelease("new", "mine", "--title=Second", "--force")

    assert (code, out, kept) == (9, "", before)
    assert "mine.toml: already exists" in err
    assert forced == 0
    assert tomllib.loads(Path("mine.toml").read_text())["release"]["title"] == "Second"


def test_dry_run_prints_the_file_and_writes_nothing(krelease, workplace):
    code, out, err = krelease("new", "mine", "--dry-run", *SAID)

    assert code == 0
    assert tomllib.loads(out)["release"]["name"] == "mine"
    assert "nothing written; to fill in: recipe.output" in err
    assert list(workplace.iterdir()) == []


def test_json_says_the_same_as_the_file(krelease, checkpoint):
    code, out, _ = krelease("new", "mine", "--from", checkpoint(), "--json")

    document = json.loads(out)
    assert code == 0
    assert document["schema"] == "krelease.new/1"
    assert document["toml"] == Path("mine.toml").read_text(encoding="utf-8")
    assert document["valid"] is False
    assert "licence.name" in document["missing"]
    assert "usage.cfg_max" in document["usual"]
    assert document["written"] is True


def test_quiet_is_the_path(krelease):
    assert krelease("new", "mine", "-q") == (0, "mine.toml\n", "")


def test_header_fills_in_what_it_says(krelease, checkpoint):
    path = checkpoint(
        modelspec__title="Fine model",
        modelspec__author="Somebody",
        modelspec__description="Made for tests.",
        modelspec__license="FAIPL-1.0-SD",
        modelspec__resolution="1024x960",
    )

    krelease("new", "mine", "--from", path, "--repo=a/b", "--prompt=x")

    definition = read_definition(Path("mine.toml"))
    assert definition.release.title == "Fine model"
    assert definition.release.author == "Somebody"
    assert definition.release.summary == "Made for tests."
    assert definition.licence.name == "faipl-1.0-sd"
    assert definition.usage.training_resolution == "1024x960"
    assert definition.release.variants == ("fp16",)


def test_card_fills_in_what_it_says_and_goes_before_the_header(krelease, checkpoint):
    Path("README.md").write_text(CARD, encoding="utf-8")
    path = checkpoint(modelspec__title="Other", modelspec__license="mit")

    krelease(
        "new", "mine", "--from", path, "--card=README.md", *SAID[1:4],
    )  # fmt: skip

    definition = read_definition(Path("mine.toml"))
    assert definition.release.title == "A fine model"
    assert definition.licence.name == "faipl-1.0-sd"
    assert definition.card.language == ("en", "ja")
    assert definition.card.datasets == ("KBlueLeaf/danbooru2023-sqlite",)
    assert definition.card.tags == ("anime", "merge")
    assert definition.card.not_for_all_audiences
    assert definition.usage.example_prompt == "1girl, outdoors"
    assert definition.usage.example_negative_prompt == "worst quality"


def test_unknown_licence_of_a_header_is_said_and_left_open(krelease, checkpoint):
    path = checkpoint(modelspec__license="All \x1b[31mrights\u202e reserved")

    _, out, err = krelease("new", "mine", "--from", path)

    assert "the licence 'All [31mrights reserved' is not known" in err
    assert "licence.name" in out


def test_recipe_of_ours_in_the_header_becomes_the_recipe(krelease, ingredients):
    krelease(
        "merge", "a + 0.8*(c - b)", "-q", "--out=m.safetensors",
        f"-ia={ingredients['beta7']}", f"-ib={ingredients['anxl2']}",
        f"-ic={ingredients['anxl3']}",
    )  # fmt: skip

    krelease("new", "mine", "--from=m.safetensors", *SAID)

    definition = read_definition(Path("mine.toml"))
    rows = folded_recipe(definition).decimal_rows()
    assert rows["M00"] == {"a": "1", "b": "-0.8", "c": "0.8"}
    assert definition.recipe.copy_from == "a"


def test_recipe_of_ours_that_differs_by_block_is_said_and_left_out(
    krelease, ingredients
):
    krelease(
        "merge", "a + 0.8*only(b - a, unet)", "-q", "--out=m.safetensors",
        f"-ia={ingredients['beta7']}", f"-ib={ingredients['anxl2']}",
    )  # fmt: skip

    code, _, err = krelease("new", "mine", "--from=m.safetensors", *SAID)

    assert code == 0
    assert "the recipe in the header is not taken over: krelease.recipe: holds" in err
    assert list(read_definition(Path("mine.toml")).ingredients) == ["m"]


def test_recipe_of_another_program_becomes_the_recipe(krelease, checkpoint):
    recipe = {
        "type": "webui",
        "primary_model_hash": "a" * 64,
        "secondary_model_hash": "b" * 64,
        "tertiary_model_hash": None,
        "interp_method": "Weighted sum",
        "multiplier": 0.3,
        "save_as_half": True,
        "custom_name": "x",
        "config_source": 0,
        "bake_in_vae": "None",
        "discard_weights": "",
        "is_inpainting": False,
        "is_instruct_pix2pix": False,
    }
    models = {
        "a" * 64: {"name": "One [x](y) {{z}}.safetensors"},
        "b" * 64: {"name": "two.safetensors"},
    }
    path = checkpoint(
        sd_merge_recipe=json.dumps(recipe), sd_merge_models=json.dumps(models)
    )

    code, _, err = krelease("new", "mine", "--from", path, *SAID)

    definition = read_definition(Path("mine.toml"))
    digests = sorted(x.sha256 or "" for x in definition.ingredients.values())
    assert code == 0
    assert digests == ["a" * 64, "b" * 64]
    assert "the licences of the ingredients are not known" in err


HOSTILE = [
    "**bold** [x](javascript:alert(1)) | a | b |",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    'a"\n[recipe]\noutput = "evil"\n#',
    "'''\n\"\"\"\nx = 1",
    "---\nlicense: mit\n---",
    "\x1b]0;owned\x07\x1b[2J",
    "\u202egnp.exe\u2066 \u200b\ufeff\u2028x",
    "{{ self.__init__.__globals__ }}{% for x in range(10**9) %}",
    "\\U00110000 \\u0000 \x00\x7f\x85",
    "# TODO" * 100_000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_metadata_is_one_plain_text_in_the_file(krelease, checkpoint, text):
    path = checkpoint(
        modelspec__title=f"A {text}",
        modelspec__description=f"B {text}",
        modelspec__author=f"C {text}",
        modelspec__license=f"D {text}",
        modelspec__resolution=f"E {text}",
        sd_merge_recipe=text,
    )

    code, out, err = krelease(
        "new", "mine", "--from", path, "--repo=a/b", "--prompt=x", "--licence=mit"
    )

    raw = Path("mine.toml").read_text(encoding="utf-8")
    definition = read_definition(Path("mine.toml"))
    words = re.sub(r"\s+", " ", "".join(c if c.isprintable() else " " for c in text))
    assert code == 0
    assert raw.replace("\n", "").isprintable()
    assert (out + err).replace("\n", "").isprintable()
    assert definition.release.title == f"A {words.strip()}"[:300].strip()
    assert definition.release.author == f"C {words.strip()}"[:300].strip()
    assert definition.recipe.output == "model"
    assert max(map(len, raw.splitlines())) < 700


def test_hostile_name_of_a_file_is_text(krelease, checkpoint):
    path = checkpoint('a"\n[x]\u202e{{y}}.safetensors')

    code, _, _ = krelease("new", "mine", "--from", path, *SAID)

    (source,) = read_definition(Path("mine.toml")).ingredients.values()
    assert code == 0
    assert source.path == path.name
    assert "\u202e" not in Path("mine.toml").read_text(encoding="utf-8")


def test_private_paths_of_a_header_are_not_taken_over(krelease, checkpoint):
    path = checkpoint(modelspec__title="/home/somebody/models/x.safetensors")

    _, out, _ = krelease("new", "mine", "--from", path)

    assert "release.title" in out
    assert "somebody" not in Path("mine.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["Mine"], 2, "Mine: expected up to 64 lower case letters"),
        (["../mine"], 2, "../mine: expected up to 64 lower case letters"),
        (["mine", "--repo=mine"], 2, "--repo mine: expected OWNER/NAME"),
        (["mine", "--licence=mti"], 2, "--licence mti: is not known"),
        (["mine", "--from=none.safetensors"], 4, "none.safetensors: not found"),
        (["mine", "--from=hf://x"], 2, "hf://x: expected hf://OWNER/REPO"),
        (["mine", "--from=small.safetensors"], 4, "is unknown, expected an SDXL model"),
        (["mine", "--card=none.md"], 4, "none.md: not found"),
        (["mine", "--card=bad.md"], 7, "bad.md: line 1: the front matter has no"),
    ],
)
def test_what_cannot_be_followed_is_refused_and_nothing_written(
    krelease, workplace, arguments, code, words
):
    save_file({"w": np.zeros(4, np.float16)}, workplace / "small.safetensors")
    (workplace / "bad.md").write_text("---\nlicense: mit\n", encoding="utf-8")
    before = sorted(workplace.iterdir())

    got, out, err = krelease("new", *arguments)

    assert (got, out) == (code, "")
    assert words in err
    assert sorted(workplace.iterdir()) == before


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def typed(monkeypatch):
    """Type on a terminal; what is asked is in the stream that is returned."""

    def at(text: str) -> Terminal:
        asked = Terminal()
        monkeypatch.setattr(sys, "stdin", Terminal(text))
        monkeypatch.setattr(sys, "stderr", asked)
        return asked

    return at


def test_terminal_is_asked_for_what_no_option_says(krelease, typed, checkpoint):
    path = checkpoint(modelspec__title="From the \u202eheader")
    asked = typed("\nA sum.\nme/mine\nmti\nFAIPL-1.0-SD\n\n")

    krelease("new", "mine", "--from", path, "--author=me")

    release = tomllib.loads(Path("mine.toml").read_text(encoding="utf-8"))
    assert "Title [From the header]: " in asked.getvalue()
    assert "Author" not in asked.getvalue()
    assert "--licence mti: is not known; did you mean mit?" in asked.getvalue()
    assert release["release"]["title"] == "From the header"
    assert release["release"]["summary"] == "A sum."
    assert release["licence"]["name"] == "faipl-1.0-sd"
    assert "example_prompt" not in release["usage"]


def test_nobody_is_asked_for_a_definition_that_is_there(krelease, typed, workplace):
    Path("mine.toml").write_text("", encoding="utf-8")
    asked = typed("Mine\n")

    code, _, _ = krelease("new", "mine")

    assert code == 9
    assert "Title" not in asked.getvalue()
    assert [path.name for path in workplace.iterdir()] == ["mine.toml"]


def test_end_of_input_leaves_the_rest_open(krelease, typed):
    typed("Mine\n")

    code, out, _ = krelease("new", "mine")

    assert code == 0
    assert "to fill in: release.summary, release.author" in out


@pytest.mark.parametrize("option", ["--json", "--quiet"])
def test_scripts_are_not_asked(krelease, typed, option):
    asked = typed("")

    krelease("new", "mine", option)

    assert asked.getvalue() == ""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with RehearsalHub(tmp_path_factory.mktemp("hub")) as running:
        yield running


def test_checkpoint_and_card_of_a_hub_are_read_without_a_download(
    krelease, hub, checkpoint, workplace, monkeypatch
):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.endpoint)
    template = f"{hub.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template
    )
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(workplace / "c"))
    monkeypatch.setenv("HF_TOKEN", hub.token)
    path = checkpoint(modelspec__author="Somebody", modelspec__description="S.")
    with connect(hub.endpoint, hub.token, lfs_only=True) as connection:
        connection.api.create_repo("maker/model")
        files = {"m.safetensors": path, "README.md": CARD.encode()}
        additions = [CommitOperationAdd(*each) for each in files.items()]
        connection.once(
            "put",
            lambda: connection.api.create_commit(
                "maker/model", additions, commit_message="put"
            ),
        )

    code, out, err = krelease(
        "new", "mine", "--from=hf://maker/model/m.safetensors", "--card=maker/model"
    )

    definition = read_definition(Path("mine.toml"))
    source = definition.ingredients["m"]
    assert code == 0, err
    assert out.startswith("mine.toml: valid as it is")
    assert definition.release.repo == "maker/model"
    assert (source.hub, source.revision, source.file) == (
        "maker/model",
        "main",
        "m.safetensors",
    )
    assert (
        source.sha256
        == subprocess.run(
            ["sha256sum", path], capture_output=True, text=True, check=True
        ).stdout.split()[0]
    )
    assert not (workplace / "c").exists()
