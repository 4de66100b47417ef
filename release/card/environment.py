"""The template environment: sandboxed, strict, and escaping by default.

Templates are ours alone; none is ever taken from a user or a repository. Data is never
rendered as a template. What a template prints is escaped as Markdown unless it is
`Markdown` already, so a forgotten filter cannot let foreign text through.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final, TypeAlias

from jinja2 import FileSystemLoader, StrictUndefined
from jinja2.exceptions import TemplateError, TemplateNotFound
from jinja2.sandbox import ImmutableSandboxedEnvironment

from release.card.markdown import MAX_TEXT, Markdown, block, code, codes, link, plain
from release.errors import CardError, visible

Plain: TypeAlias = "str | int | Sequence[Plain] | Mapping[str, Plain]"
"""What a template may see: plain data, nothing with methods of its own."""

_PACKAGE_ROOT: Final = Path(__file__).resolve().parent.parent
_FILTERS: Final = {"block": block, "code": code, "codes": codes, "link": link}


def template_root() -> Path:
    """Return the folder of the templates.

    An installed package carries it inside; in a checkout it lies beside the package.
    Inside comes first, since beside an installed package lie the folders of others.
    """
    inside = _PACKAGE_ROOT / "templates"
    return inside if inside.is_dir() else _PACKAGE_ROOT.parent / "templates"


def render_template(name: str, context: Mapping[str, Plain]) -> str:
    """Return a template of ours filled with plain data.

    Args:
        name: Path below the template folder.
        context: Strings are printed as Markdown text, integers with thousands
            separators.

    Raises:
        CardError: No such template, or it asks for something the context lacks.
    """
    try:
        environment = _environment(is_markdown=name.endswith(".md.j2"))
        return environment.get_template(name).render(context)
    except TemplateNotFound as cause:
        raise CardError(
            f"template {visible(name)}: not found in {visible(template_root())}",
            code="template-missing",
            hint="install krelease again",
        ) from cause
    except TemplateError as cause:
        raise CardError(
            f"template {visible(name)}: {visible(cause.message or cause)}",
            code="template",
            hint="templates and program are of different versions; install again",
        ) from cause


@cache
def _environment(*, is_markdown: bool) -> ImmutableSandboxedEnvironment:
    """Return the environment; Markdown escapes, so HTML escaping is off.

    A text that is not Markdown is for terminals and editors, where backslashes and
    entities would be noise: its strings only have control characters made visible.
    """
    environment = ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(template_root()),
        undefined=StrictUndefined,
        autoescape=False,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown_as_markdown if is_markdown else _shown_as_text,
    )
    environment.filters.update(_FILTERS)
    return environment


def _shown_as_markdown(value: object) -> object:
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, str) and not isinstance(value, Markdown):
        return plain(value)
    return value


def _shown_as_text(value: object) -> object:
    return visible(value, MAX_TEXT) if isinstance(value, str) else value
