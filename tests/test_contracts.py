"""The import laws in pyproject.toml cover every room of the house."""

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FREE = {
    "torch in numeric and engine only": {"numeric", "engine"},
    "huggingface_hub in hub only": {"hub"},
    "jinja2 in card, typer in cli, rich in console, hashes in numeric only": {
        "card",
        "cli",
        "console",
        "numeric",
    },
}
LAWS = {
    contract["name"]: contract
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"][
        "importlinter"
    ]["contracts"]
}


@pytest.mark.parametrize("law", FREE)
def test_every_room_but_the_named_ones_is_under_the_law(law):
    rooms = {
        path.stem
        for path in (ROOT / "release").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    } - {"__init__", "__main__"}

    covered = {name.removeprefix("release.") for name in LAWS[law]["source_modules"]}

    assert covered == rooms - FREE[law]
