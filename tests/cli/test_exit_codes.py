"""The exit code is part of the interface: one run of the real program for each.

130 and 143 are in `test_signals.py`.
"""

import re
import shutil
from pathlib import Path

import pytest

from release import errors
from release.cli.stopping import SignalError

README = Path(__file__).parents[2] / "README.md"


def kinds() -> list[type[errors.ReleaseError]]:
    """Return the base class and those directly below it: one exit code each."""
    return [errors.ReleaseError, *errors.ReleaseError.__subclasses__()]


def all_classes() -> list[type[errors.ReleaseError]]:
    found = kinds()
    for kind in kinds()[1:]:
        found += kind.__subclasses__()
    return found


@pytest.fixture
def damaged_folder(release_folder: Path, tmp_path: Path) -> Path:
    folder = shutil.copytree(release_folder, tmp_path / "damaged")
    path = next(folder.glob("*-fp8.safetensors"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    return folder


def test_every_kind_of_error_has_its_own_exit_code():
    codes = [kind.exit_code for kind in kinds()]

    assert codes == list(range(1, 10))


def test_every_class_keeps_the_exit_code_of_its_kind():
    strays = [
        one
        for one in all_classes()
        for kind in kinds()[1:]
        if issubclass(one, kind) and one.exit_code != kind.exit_code
    ]

    assert strays == []


def test_default_codes_are_unique_kebab_case():
    codes = [one.default_code for one in all_classes()]

    assert len(set(codes)) == len(codes)
    assert [code for code in codes if not re.fullmatch(r"[a-z]+(-[a-z]+)*", code)] == []


def test_readme_table_equals_the_classes():
    rows = re.findall(r"(?m)^\| (\d+) \| (\w+) \| \S", README.read_text("utf-8"))

    assert rows == [(str(kind.exit_code), kind.__name__) for kind in kinds()]


def test_readme_names_the_codes_of_the_signals():
    row = re.search(r"(?m)^\| (\d+), (\d+) \|", README.read_text("utf-8"))

    assert row is not None
    assert row.groups() == tuple(str(SignalError(n).exit_code) for n in (2, 15))


def test_success_is_0(spawn):
    assert spawn("releases").returncode == 0


def test_path_the_system_refuses_is_1(spawn):
    result = spawn("verify", "n" * 300)

    assert result.returncode == 1
    assert result.stderr.startswith("error: nnn")
    assert "File name too long\nhint: " in result.stderr


def test_usage_is_2(spawn):
    assert spawn("build").returncode == 2


def test_recipe_is_3(spawn):
    assert spawn("build", "gama-rev2").returncode == 3


def test_checkpoint_is_4(spawn):
    assert spawn("verify", "missing.safetensors").returncode == 4


def test_integrity_is_5(spawn, damaged_folder):
    assert spawn("verify", damaged_folder).returncode == 5


def test_card_is_7(spawn, define, ingredients):
    define("own", paths=ingredients, replace={'name = "faipl-1.0-sd"': 'name = "mine"'})

    assert spawn("build", "own", "--dry-run").returncode == 7


def test_hub_is_8(spawn, define, ingredients):
    define("own", paths=ingredients)

    result = spawn("publish", "own", env={"HF_ENDPOINT": "ftp://hub"})

    assert result.returncode == 8


def test_output_is_9(spawn, define, ingredients, release_folder):
    define("own", paths=ingredients)

    assert spawn("build", "own", "--out", release_folder).returncode == 9
