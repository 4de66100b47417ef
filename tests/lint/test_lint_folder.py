"""Linting folders: real files, our own releases, and what stops a build."""

import hashlib  # noqa: TID251 - an oracle of its own
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from release.card.render import render_card
from release.errors import CardError
from release.folder import build_folder
from release.ingredients import locate
from release.licences.known import licence_text
from release.lint.built import check_card
from release.lint.folder import read_subject
from release.lint.run import lint
from release.manifest import read_manifest
from release.progress import NoProgress

GOLDEN = Path(__file__).parents[1] / "card" / "goldens" / "gamma-rev2.md"
HEAD = (
    "---\nlicense: other\nlicense_name: faipl-1.0-sd\nlicense_link: LICENSE\n"
    "pipeline_tag: text-to-image\n---\n\n# Model\n\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one small fp16 file of 1,000,000 parameters, and its licence."""
    here = tmp_path / "model"
    here.mkdir()
    save_file(
        {"a": np.zeros((1000, 1000), np.float16)},
        here / "m.safetensors",
        metadata={"modelspec.license": "faipl-1.0-sd"},
    )
    (here / "LICENSE").write_bytes(licence_text("faipl-1.0-sd"))
    (here / "README.md").write_text(HEAD)
    return here


def write(folder: Path, body: str) -> None:
    (folder / "README.md").write_text(HEAD + body)


def found(path: Path) -> list[str]:
    return [str(each) for each in lint(read(path))]


def read(path: Path):
    return read_subject(path, threads=2, progress=NoProgress())


def rules(path: Path) -> list[str]:
    return [each.rule.id for each in lint(read(path))]


def test_golden_card_is_clean():
    assert found(GOLDEN) == []


def test_built_release_is_clean(release_folder):
    assert found(release_folder) == []
    assert read(release_folder).manifest is not None


def test_facts_are_those_of_the_header(folder):
    (weights,) = [file.weights for file in read(folder).weights.values()]

    assert weights
    assert weights.dtypes == {"F16": 2_000_000}
    assert weights.n_parameters["all"] == 1_000_000


def test_true_claims_are_no_findings(folder):
    path = folder / "m.safetensors"
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    header = 8 + int.from_bytes(path.read_bytes()[:8], "little")
    data = hashlib.sha256(path.read_bytes()[header:]).hexdigest()
    write(
        folder,
        "1M parameters\n\n"
        "| File | Dtype | Size | Bytes | SHA-256 | AutoV2 | AutoV3 |\n"
        "|---|---|---|---|---|---|---|\n"
        f"| `m.safetensors` | fp16 | 2 MB | {path.stat().st_size:,} | {sha256} | "
        f"{sha256[:10].upper()} | {data[:12]} |\n",
    )

    assert found(folder) == []


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        ("- `m.safetensors`: 3 MB\n", "KR202"),
        ("- `m.safetensors`: fp8\n", "KR203"),
        (f"- `m.safetensors`: SHA-256 {'ab' * 32}\n", "KR204"),
        ("- `m.safetensors`: AutoV2 0123456789\n", "KR204"),
        ("- `m.safetensors`: AutoV3: 0123456789ab\n", "KR204"),
        ("5M parameters\n", "KR211"),
        ("- `n.safetensors`: 2 MB\n", "KR201"),
    ],
)
def test_false_claim_is_found_with_its_line(folder, body, rule):
    write(folder, f"- `m.safetensors`\n{body}")

    assert rules(folder) == [rule]
    assert found(folder)[0].startswith(f"README.md:11: {rule} error: ")


def test_manifest_spares_the_hashing(release_folder, tmp_path, monkeypatch):
    from release.lint import folder as module

    monkeypatch.setattr(module, "_hashed", None)

    assert found(release_folder) == []


def test_header_hash_is_compared_with_the_data(folder):
    save_file(
        {"a": np.zeros((10, 10), np.float16)},
        folder / "m.safetensors",
        metadata={"modelspec.hash_sha256": "0x" + "12" * 32},
    )

    assert rules(folder) == ["KR205"]


def test_true_header_hash_is_no_finding(folder):
    data = hashlib.sha256(bytes(200)).hexdigest()
    save_file(
        {"a": np.zeros((10, 10), np.float16)},
        folder / "m.safetensors",
        metadata={"modelspec.hash_sha256": "0x" + data},
    )

    assert rules(folder) == []


def test_file_that_is_no_checkpoint_is_left_to_verify(folder):
    (folder / "m.safetensors").write_bytes(b"\xff" * 100)
    write(folder, "- `m.safetensors`: 100 bytes, fp8\n")

    assert found(folder) == []


def test_card_named_alone_in_a_folder_of_other_things_makes_no_claims(tmp_path):
    (tmp_path / "README.md").write_text(HEAD + "- `m.safetensors`: 2 MB\n")

    assert rules(tmp_path / "README.md") == []
    assert rules(tmp_path) == ["KR104"]


def test_files_beside_a_card_that_is_named_are_looked_at(folder):
    write(folder, "- `m.safetensors`: 3 MB\n")

    assert rules(folder / "README.md") == ["KR202"]


def pack(path: Path, *names: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")


def test_zip_of_weights_without_a_licence_is_found(folder):
    pack(folder / "m.zip", "m.safetensors", "README.txt")

    assert found(folder)[0].startswith(
        "m.zip: KR104 error: holds weights, but no LICEN"
    )


def test_zip_with_its_licence_or_without_weights_is_fine(folder):
    pack(folder / "a.zip", "a/m.safetensors", "a/LICENSE")
    pack(folder / "b.zip", "pictures/1.png")
    (folder / "c.zip").write_bytes(b"PK\x05\x06" + b"\xff" * 40)
    (folder / "d.zip").write_bytes(b"")

    assert found(folder) == []


def test_pipe_in_the_folder_is_passed_over(folder):
    os.mkfifo(folder / "pipe.safetensors")

    assert found(folder) == []


def test_manifest_of_another_tool_is_passed_over(folder):
    (folder / "manifest.json").write_text('{"name": "app"}')

    assert found(folder) == []


def test_changed_number_in_a_card_of_ours_is_found(release_folder, tmp_path):
    copy = shutil.copytree(release_folder, tmp_path / "copy")
    card = (copy / "README.md").read_text()
    manifest = json.loads((copy / "manifest.json").read_text())
    nbytes = f"{manifest['checkpoints'][0]['nbytes']:,}"
    assert nbytes in card
    (copy / "README.md").write_text(card.replace(nbytes, "1,234,567"))

    assert rules(copy) == ["KR202"]


def build(definition, ingredients, target):
    located = locate(definition, ingredients, base=Path(), connection=None)
    build_folder(definition, located, target, threads=2, progress=NoProgress())


def with_usage(definition, **usage):
    changed = definition.usage.model_copy(update=usage)
    return definition.model_copy(update={"usage": changed})


def test_card_that_breaks_a_rule_stops_the_build(gamma_rev2, ingredients, tmp_path):
    broken = with_usage(gamma_rev2, notes=("TODO: say more.",))

    with pytest.raises(CardError) as refused:
        build(broken, ingredients, tmp_path / "out")

    assert refused.value.code == "lint"
    assert "KR406" in str(refused.value)
    assert list(tmp_path.iterdir()) == []


class Heard(NoProgress):
    """Remembers warnings."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, line: str) -> None:
        self.lines.append(line)


def check(definition, release_folder, target) -> list[str]:
    """Check a copy of the release with the card of another definition; warnings."""
    shutil.copytree(release_folder, target)
    manifest = read_manifest(target / "manifest.json")
    (target / "README.md").write_text(render_card(definition, manifest))
    heard = Heard()
    check_card(target, definition, manifest, progress=heard)
    return heard.lines


def test_added_restriction_stops_the_build(gamma_rev2, release_folder, tmp_path):
    broken = with_usage(gamma_rev2, notes=("For non-commercial use only.",))

    with pytest.raises(CardError, match="KR107"):
        check(broken, release_folder, tmp_path / "out")


def test_warning_does_not_stop_the_build(gamma_rev2, release_folder, tmp_path):
    doubtful = with_usage(gamma_rev2, example_prompt="1girl, solo, MASTERPIECE, safe")

    lines = check(doubtful, release_folder, tmp_path / "out")

    assert ["KR403" in line for line in lines] == [True, True]


def test_card_of_the_catalog_has_no_warnings(gamma_rev2, release_folder, tmp_path):
    assert check(gamma_rev2, release_folder, tmp_path / "out") == []
