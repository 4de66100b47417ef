"""From an ingredient's repository to the plan of a build: its licence text."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd

from release.acquire import gather_texts, locate_with_hub
from release.definition import Definition
from release.errors import CardError
from release.hub.client import connect
from release.hub.rehearsal import RehearsalHub
from release.licences.known import licence_text

REPO = "maker/gamma"
RAIL = b"CreativeML Open RAIL++-M License\n\nterms\n"
NAME = "LICENSE-animagine-xl-2.0.md"


@pytest.fixture
def put(
    hub: RehearsalHub, monkeypatch: pytest.MonkeyPatch, ingredients: dict[str, Path]
) -> Iterator[Callable[..., None]]:
    """Put anxl2 and a licence text into a repository of the configured Hub."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.endpoint)
    template = f"{hub.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template
    )
    monkeypatch.setenv("HF_TOKEN", hub.token)

    def run(text: bytes | None) -> None:
        files = {"anxl2.safetensors": ingredients["anxl2"].read_bytes()}
        if text is not None:
            files["LICENSE.md"] = text
        additions = [CommitOperationAdd(name, data) for name, data in files.items()]
        with connect(hub.endpoint, hub.token, lfs_only=True) as connection:
            connection.api.create_repo(REPO)
            connection.once(
                "put",
                lambda: connection.api.create_commit(
                    REPO, additions, commit_message="put"
                ),
            )

    return run


@pytest.fixture
def definition(gamma_rev2: Definition) -> Definition:
    changes = {"hub": REPO, "revision": "main", "file": "anxl2.safetensors"}
    source = gamma_rev2.ingredients["anxl2"].model_copy(update=changes)
    sources = {**gamma_rev2.ingredients, "anxl2": source}
    return gamma_rev2.model_copy(update={"ingredients": sources})


@pytest.fixture
def here(ingredients: dict[str, Path]) -> dict[str, Path]:
    """Every ingredient but the one on the Hub."""
    return {name: path for name, path in ingredients.items() if name != "anxl2"}


def gathered(
    definition: Definition, given: dict[str, Path], base: Path
) -> dict[str, bytes]:
    located = locate_with_hub(definition, given, base=base, note=lambda _: None)
    return gather_texts(definition, located, base=base).files()


def test_text_of_the_repository_goes_with_the_release(
    definition: Definition,
    here: dict[str, Path],
    put: Callable[..., None],
    tmp_path: Path,
) -> None:
    put(RAIL)

    texts = gathered(definition, here, tmp_path)

    assert texts == {"LICENSE": licence_text("faipl-1.0-sd"), NAME: RAIL}


def test_text_of_another_licence_than_declared_stops_the_build(
    definition: Definition,
    here: dict[str, Path],
    put: Callable[..., None],
    tmp_path: Path,
) -> None:
    put(licence_text("faipl-1.0-sd"))

    with pytest.raises(CardError) as caught:
        gathered(definition, here, tmp_path)

    assert caught.value.code == "licence-text"
    assert f"declares openrail++, but {REPO}/LICENSE.md at " in str(caught.value)


def test_text_that_the_definition_names_is_not_asked_for(
    definition: Definition,
    here: dict[str, Path],
    put: Callable[..., None],
    hub: RehearsalHub,
    tmp_path: Path,
) -> None:
    put(licence_text("faipl-1.0-sd"))
    (tmp_path / "rail.md").write_bytes(RAIL)
    source = definition.ingredients["anxl2"].model_copy(
        update={"licence_file": "rail.md"}
    )
    sources = {**definition.ingredients, "anxl2": source}
    named = definition.model_copy(update={"ingredients": sources})

    texts = gathered(named, here, tmp_path)

    assert texts[NAME] == RAIL
    assert not [seen for seen in hub.requests if seen.path.endswith("/LICENSE.md")]


def test_ingredients_at_hand_leave_the_hub_alone(
    definition: Definition,
    ingredients: dict[str, Path],
    put: Callable[..., None],
    hub: RehearsalHub,
    tmp_path: Path,
) -> None:
    put(RAIL)
    since = len(hub.requests)

    texts = gathered(definition, ingredients, tmp_path)

    assert list(texts) == ["LICENSE"]
    assert len(hub.requests) == since


def test_command_shows_the_text_in_its_plan(
    here: dict[str, Path],
    put: Callable[..., None],
    krelease: Callable[..., tuple[int, str, str]],
    gamma_rev2: Definition,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put(RAIL)
    monkeypatch.chdir(tmp_path)
    catalogued = Path(__file__).parents[2] / "release/catalog/gamma-rev2.toml"
    text = catalogued.read_text("utf-8")
    hub_line = f'hub = "{gamma_rev2.ingredients["anxl2"].hub}"'
    old_file = f'file = "{gamma_rev2.ingredients["anxl2"].file}"'
    text = text.replace(hub_line, f'hub = "{REPO}"')
    text = text.replace(old_file, 'file = "anxl2.safetensors"')
    (tmp_path / "mine.toml").write_text(text)
    given = [f"--ingredient={name}={path}" for name, path in here.items()]

    code, out, err = krelease(
        "build", "--definition", "mine.toml", *given, "--dry-run", "--json"
    )

    document = json.loads(out)
    planned = {file["name"]: file["nbytes"] for file in document["files"]}
    assert (code, planned[NAME]) == (0, len(RAIL))
    assert "ingredients.beta7.licence_file" in " ".join(document["warnings"])
    assert "look up on the Hub: anxl2" in err
