"""A maker's templates: what they may do, and how each mistake is told."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from release.card import child, confined
from release.card.confined import render_all
from release.card.context import card_context
from release.card.markdown import Markdown
from release.card.packing import packed, unpacked
from release.card.presentation import Presentation
from release.card.render import SECTIONS, render_card
from release.definition import Definition
from release.errors import CardError
from release.manifest import Manifest

TITLE = "card/title.md.j2"
LOOP = "{% for i in range(99999) %}"
CONTEXT = {"release": {"title": "a <b> | c", "n": 1234}, "formula": Markdown("$x$")}

Write = Callable[[str], Path]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    (folder / "card").mkdir(parents=True)
    return folder


@pytest.fixture
def write(own: Path) -> Write:
    def title(source: str) -> Path:
        (own / TITLE).write_text(source)
        return own

    return title


def refused(own: Path) -> CardError:
    with pytest.raises(CardError) as error:
        render_all([TITLE], CONTEXT, own)
    assert "\n" not in str(error.value)
    assert error.value.hint
    return error.value


def test_template_of_a_maker_takes_the_place_of_ours(write: Write) -> None:
    own = write("**{{ release.title }}** {{ release.n }} {{ formula }}\n")

    assert render_all([TITLE], CONTEXT, own) == ["**a &lt;b&gt; &#124; c** 1,234 $x$\n"]


def test_card_has_the_maker_s_section_and_ours_for_the_rest(
    write: Write, definition: Definition, manifest: Manifest
) -> None:
    own = write("# Mine: {{ release.title }}\n")
    ours = render_card(definition, manifest)

    card = render_card(definition, manifest, presentation=Presentation(templates=own))

    begin, end = ours.index("# Kohaku-XL"), ours.index("## Which file to take")
    mine = "# Mine: Kohaku-XL gamma rev2\n\n"
    assert card == ours[:begin] + mine + ours[end:]


def test_child_and_this_process_render_our_templates_alike(
    own: Path, definition: Definition, manifest: Manifest
) -> None:
    (own / "card" / "_unused.md.j2").write_text("nobody includes me")
    context = card_context(definition, manifest)
    names = [f"card/{name}.md.j2" for name in SECTIONS]

    assert render_all(names, context, own) == render_all(names, context, None)


def test_context_is_the_same_after_the_way_to_the_child(
    definition: Definition, manifest: Manifest
) -> None:
    context = card_context(definition, manifest)
    formulas = context["recipe"]["formulas"]  # type: ignore[index,call-overload]

    there = unpacked(packed(context))

    assert there == context
    assert isinstance(formulas[0], Markdown)
    assert isinstance(there["recipe"]["formulas"][0], Markdown)  # type: ignore[index,call-overload]


def test_maker_s_template_includes_his_parts_and_ours(write: Write, own: Path) -> None:
    (own / "card" / "_part.md.j2").write_text("part {{ release.n }}")
    write('{% include "card/_part.md.j2" %}, {% include "card/rehearsal.md.j2" %}')

    context = {"release": {"n": 7, "title": "T", "rehearsal": True}}
    (text,) = render_all([TITLE], context, own)

    assert text.startswith("part 7, > **This is a rehearsal.**")


@pytest.mark.parametrize(
    ("source", "code", "line", "words"),
    [
        ("a\n\n{{ nothing }}", "template", 3, "'nothing' is undefined"),
        ("{{ release.nothing }}", "template", 1, "has no attribute 'nothing'"),
        ("a\n{% if %}", "template", 2, "Expected an expression"),
        ("a\n{{ 1 / 0 }}", "template", 2, "division by zero"),
        ("{{ release }}", "template", 1, "prints a value of type dict"),
        ("{{ release.title.upper }}", "template", 1, "prints a value of type"),
        ("a\n{{ ''.__class__ }}", "template-forbidden", 2, "__class__"),
        ("{{ release.update({'n': 1}) }}", "template-forbidden", 1, "update"),
        ("{{ 10 ** 10 ** 9 }}", "template-forbidden", 1, "too large a number"),
        ("a\n{% include 'x.j2' %}", "template-missing", 2, "includes x.j2"),
        ("{% include '../x.j2' %}", "template-missing", 1, "which is not there"),
        ("{% include '/etc/passwd' %}", "template-missing", 1, "/etc/passwd"),
        (f"a\n{{% include '{TITLE}' %}}", "template-limit", 2, "includes itself"),
        ("\n\n{{ 'a' * 400000000 }}", "template-limit", 3, "takes over 256 MiB"),
        (
            "{% for i in range(99999) %}\n{{ '%0100d' % i }}{% endfor %}",
            "template-limit",
            2,
            "writes over 1,048,576 characters",
        ),
    ],
)
def test_mistake_is_told_with_template_and_line(
    write: Write, source: str, code: str, line: int, words: str
) -> None:
    own = write(source)

    error = refused(own)

    assert str(error).startswith(f"template {own / TITLE}, line {line}: ")
    assert words in str(error)
    assert error.code == code


def test_endless_template_is_over_after_its_time(write: Write) -> None:
    own = write(f"a\n{LOOP}{LOOP}{{% endfor %}}{{% endfor %}}")
    begin = time.monotonic()

    error = refused(own)

    seconds = time.monotonic() - begin
    assert str(error) == f"template {own / TITLE}, line 2: takes over 2 seconds"
    assert error.code == "template-limit"
    assert child.SECONDS_MAX < seconds < child.SECONDS_MAX + confined._START_SECONDS


def test_child_that_is_killed_leaves_an_error_that_names_the_template(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = confined._ended(f"{TITLE}\ncard/files.md.j2\n".encode(), "x", write("a"))

    assert str(ended) == "template card/files.md.j2: x"
    assert ended.code == "template-limit"

    monkeypatch.setattr(confined, "_START_SECONDS", 0.01)
    assert "takes too long" in str(refused(write("a")))


def test_link_that_leads_out_of_the_folder_is_refused(
    own: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    (own / TITLE).symlink_to(tmp_path / "secret.txt")

    error = refused(own)

    assert error.code == "template-file"
    assert "leads out of the template folder" in str(error)
    assert "secret" not in str(error)


def test_link_inside_the_folder_is_followed(own: Path, write: Write) -> None:
    (own / "card" / "_real.md.j2").write_text("real")
    (own / TITLE).symlink_to("_real.md.j2")

    assert render_all([TITLE], CONTEXT, own) == ["real"]


def test_broken_link_is_no_reason_to_take_ours(own: Path) -> None:
    (own / TITLE).symlink_to("gone.md.j2")

    assert "is not a file" in str(refused(own))


def test_template_that_is_no_text_is_refused(own: Path) -> None:
    (own / TITLE).write_bytes(b"ab\xff")

    assert "is not UTF-8 at byte 2" in str(refused(own))


def test_template_of_endless_length_is_not_read_whole(own: Path) -> None:
    (own / TITLE).write_text("a" * (256 * 1024 + 1))

    assert "is over 262,144 bytes" in str(refused(own))


def test_template_that_replaces_nothing_is_named(own: Path) -> None:
    (own / "card" / "titel.md.j2").write_text("a")

    error = refused(own)

    assert error.code == "template-folder"
    assert "card/titel.md.j2 takes the place of no template" in str(error)
    assert "did you mean card/title.md.j2?" in error.hint


@pytest.mark.parametrize("folder", ["card", "none"])
def test_folder_without_templates_is_refused(own: Path, folder: str) -> None:
    assert refused(own / folder).code == "template-folder"


def test_no_token_reaches_the_child(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, str] = {}
    run = confined.subprocess.run

    def spied(*args: object, **options: object) -> object:
        seen.update(options["env"])  # type: ignore[call-overload]
        return run(*args, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(confined.subprocess, "run", spied)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")

    render_all([TITLE], CONTEXT, write("a"))

    assert "PYTHONPATH" in seen
    assert "hf_secret" not in seen.values()
