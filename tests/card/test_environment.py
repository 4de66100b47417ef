"""The template environment: where templates are, and what it refuses."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from release.card import environment
from release.card.context import card_context
from release.card.environment import render_template, template_root
from release.card.render import SECTIONS
from release.definition import Definition
from release.errors import CardError
from release.manifest import Manifest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A template folder of the test's own."""
    monkeypatch.setattr(environment, "_PACKAGE_ROOT", tmp_path / "release")
    folder = tmp_path / "templates"
    folder.mkdir()
    environment._environment.cache_clear()
    yield folder
    environment._environment.cache_clear()


def test_template_folder_holds_only_templates() -> None:
    files = {path for path in (ROOT / "templates").rglob("*") if path.is_file()}

    # A .py file there would break editable installs of the project.
    assert {path.suffix for path in files} == {".j2"}


def test_every_section_has_a_template_and_every_template_a_use() -> None:
    sections = {path.name for path in (ROOT / "templates" / "card").iterdir()}

    assert sections == {f"{name}.md.j2" for name in SECTIONS}


def test_templates_are_found_beside_the_package_in_a_checkout(templates: Path) -> None:
    assert template_root() == templates


def test_templates_inside_an_installed_package_come_first(templates: Path) -> None:
    inside = templates.parent / "release" / "templates"
    inside.mkdir(parents=True)

    assert template_root() == inside


@pytest.mark.parametrize("name", [f"card/{name}.md.j2" for name in SECTIONS])
def test_section_without_its_data_is_an_error(name: str) -> None:
    if name == "card/verify.md.j2":
        context: dict[str, object] = {"files": {}}
    else:
        context = {}

    with pytest.raises(CardError) as refused:
        render_template(name, context)  # type: ignore[arg-type]

    assert refused.value.code == "template"
    assert "undefined" in str(refused.value) or "no attribute" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert name in str(refused.value)


def test_missing_template_is_an_error_of_one_line() -> None:
    with pytest.raises(CardError, match=r"card/none\.md\.j2: not found") as refused:
        render_template("card/none.md.j2", {})

    assert refused.value.code == "template-missing"
    assert refused.value.hint


@pytest.mark.parametrize(
    "name", ["../pyproject.toml", "/etc/passwd", "card/../../pyproject.toml"]
)
def test_template_outside_the_folder_is_not_found(name: str) -> None:
    with pytest.raises(CardError) as refused:
        render_template(name, {})

    assert refused.value.code == "template-missing"


def test_text_is_escaped_without_any_filter(templates: Path) -> None:
    (templates / "a.md.j2").write_text("{{ x }} | {{ [x]|join }} | {{ x ~ '*' }}")

    assert render_template("a.md.j2", {"x": "<b>|"}) == (
        "&lt;b&gt;&#124; | &lt;b&gt;&#124; | &lt;b&gt;&#124;\\*"
    )


def test_integers_have_thousands_separators(templates: Path) -> None:
    (templates / "a.md.j2").write_text("{{ x }}")

    assert render_template("a.md.j2", {"x": 1234567}) == "1,234,567"


def test_plain_text_template_shows_control_characters(templates: Path) -> None:
    (templates / "a.txt.j2").write_text("{{ x }}")

    assert render_template("a.txt.j2", {"x": "a*b\x1b\u202e\nc"}) == (
        "a*b\\u001b\\u202e\\u000ac"
    )


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ x.__class__ }}",
        "{{ x|attr('__class__') }}",
        "{{ [].append(1) }}",
        "{{ d.update({'a': 1}) }}",
        "{{ self.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ missing }}",
        "{{ d.missing.deeper }}",
        "{{ '{0.__class__}'.format(x) }}",
        "{% for %}",
        "{{ x|nofilter }}",
        "{% include 'nothing.j2' %}",
    ],
)
def test_template_that_reaches_too_far_is_refused(templates: Path, source: str) -> None:
    (templates / "a.md.j2").write_text(source)

    with pytest.raises(CardError) as refused:
        render_template("a.md.j2", {"x": "text", "d": {"k": "v"}})

    assert "\n" not in str(refused.value)


def test_data_is_never_a_template(templates: Path) -> None:
    (templates / "a.txt.j2").write_text("{{ x }}")

    assert render_template("a.txt.j2", {"x": "{{ 7*7 }}"}) == "{{ 7*7 }}"


def plain(value: object) -> bool:
    if isinstance(value, Mapping):
        return type(value) is dict and all(plain(part) for part in value.values())
    if isinstance(value, list):
        return all(plain(part) for part in value)
    return isinstance(value, str | int)


def keys(value: object) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*(keys(part) for part in value.values()))
    if isinstance(value, list):
        return set().union(*(keys(part) for part in value))
    return set()


def test_context_is_plain_data(definition: Definition, manifest: Manifest) -> None:
    assert plain(card_context(definition, manifest))


def test_no_key_of_the_context_hides_behind_a_method(
    definition: Definition, manifest: Manifest
) -> None:
    # `row.values` in a template is the method of the dict, not the key.
    assert keys(card_context(definition, manifest)) & set(dir({})) == set()


def test_only_the_environment_imports_jinja() -> None:
    users = {
        path.relative_to(ROOT / "release").as_posix()
        for path in (ROOT / "release").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (
            isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jinja")
        )
        or (
            isinstance(node, ast.Import)
            and any(alias.name.startswith("jinja") for alias in node.names)
        )
    }

    assert users == {"card/environment.py"}
