"""The template environment: sandboxed, strict, and escaping by default.

Data is never rendered as a template. What a template prints is escaped for what it
writes, by the end of its name: Markdown (`.md.j2`), HTML (`.html.j2`), or text for
terminals (`.txt.j2`). What is `Markdown` or `Html` already is printed as it is, so a
forgotten filter cannot let foreign text through.

Templates come from our folder and, where a maker has one, from his, whose files go
before ours of the same name; his are only rendered in a process of their own, see
`release.card.confined`.
"""

import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeAlias

from jinja2 import StrictUndefined, Undefined
from jinja2.exceptions import (
    SecurityError,
    TemplateError,
    TemplateNotFound,
    TemplateRuntimeError,
    TemplateSyntaxError,
)
from jinja2.loaders import BaseLoader, split_template_path
from jinja2.sandbox import ImmutableSandboxedEnvironment

from release.card import hypertext, markdown
from release.card.hypertext import Html
from release.card.markdown import MAX_TEXT, Markdown
from release.errors import CardError, visible

Plain: TypeAlias = "str | int | Sequence[Plain] | Mapping[str, Plain]"
"""What a template may see: plain data, nothing with methods of its own."""

SUFFIX: Final = ".j2"
TEMPLATE_NBYTES_MAX: Final = 256 * 1024

_PACKAGE_ROOT: Final = Path(__file__).resolve().parent.parent
_MARK: Final = "template "
"""What the file name of a compiled template begins with, for tracebacks."""
_NUMBER_BITS_MAX: Final = 256
"""Of a whole number that a template computes; a larger one would only take time."""

_FILTERS: Final[Mapping[str, Mapping[str, Callable[..., str]]]] = {
    "md": {
        "block": markdown.block,
        "code": markdown.code,
        "codes": markdown.codes,
        "link": markdown.link,
    },
    "html": {
        "block": hypertext.block,
        "code": hypertext.code,
        "codes": hypertext.codes,
        "link": hypertext.link,
    },
}
"""Of each kind of text; those of one name do the same in both."""


def template_root() -> Path:
    """Return the folder of our templates.

    An installed package carries it inside; in a checkout it lies beside the package.
    Inside comes first, since beside an installed package lie the folders of others.
    """
    inside = _PACKAGE_ROOT / "templates"
    return inside if inside.is_dir() else _PACKAGE_ROOT.parent / "templates"


def render_template(
    name: str, context: Mapping[str, Plain], *, own: Path | None = None
) -> str:
    """Return a template filled with plain data.

    Args:
        name: Path below the template folder.
        context: Strings are escaped for what the template writes, integers of Markdown
            and HTML have thousands separators.
        own: A folder whose templates go before ours.

    Raises:
        CardError: Codes "template-missing"; "template-forbidden" (it reaches for what
            it may not have); "template" (syntax, or something the context lacks).
    """
    return "".join(stream_template(name, context, own=own))


def stream_template(
    name: str, context: Mapping[str, Plain], *, own: Path | None = None
) -> Generator[str, None, None]:
    """Yield what `render_template` returns, piece by piece.

    Raises:
        CardError: As `render_template`.
    """
    try:
        yield from _environment(_kind(name), own).get_template(name).generate(context)
    except TemplateNotFound as cause:
        raise _missing(name, cause) from cause
    except TemplateError as cause:
        is_forbidden = isinstance(cause, SecurityError)
        raise CardError(
            f"{place_of(cause, name)}: {visible(cause.message or cause)}",
            code="template-forbidden" if is_forbidden else "template",
            hint=template_hint(own),
        ) from cause


def place_of(error: BaseException, name: str) -> str:
    """Return the template and the line in it that an error comes from.

    Args:
        error: From rendering.
        name: What was rendered, where the error does not tell more.
    """
    if isinstance(error, TemplateSyntaxError):
        shown = (error.filename or f"{_MARK}{name}").removeprefix(_MARK)
        return f"{_MARK}{visible(shown, 1024)}, line {error.lineno}"
    frames = traceback.walk_tb(error.__traceback__)
    places = [(frame.f_code.co_filename, line) for frame, line in frames]
    inside = [place for place in places if place[0].startswith(_MARK)]
    if not inside:
        return f"{_MARK}{visible(name)}"
    shown, line = inside[-1]
    return f"{_MARK}{visible(shown.removeprefix(_MARK), 1024)}, line {line}"


def template_hint(own: Path | None) -> str:
    """Return what to do about a template that cannot be rendered."""
    if own is None:
        return "templates and program are of different versions; install again"
    return "correct it, or remove it from --templates: ours then takes its place"


def _missing(name: str, cause: TemplateNotFound) -> CardError:
    wanted = cause.name or name
    if wanted != name:  # of an include
        return CardError(
            f"{place_of(cause, name)}: includes {visible(wanted)}, which is not there",
            code="template-missing",
            hint="an include names a file below the template folder",
        )
    return CardError(
        f"template {visible(name)}: not found in {visible(template_root())}",
        code="template-missing",
        hint="install krelease again",
    )


class _Loader(BaseLoader):
    """Loads from our folder, and before it from a maker's.

    No path leads out of the folder it is in, neither by its parts nor by a link.
    """

    def __init__(self, own: Path | None) -> None:
        self._own = own

    def get_source(
        self, environment: Any, template: str
    ) -> tuple[str, str, Callable[[], bool]]:
        """Return source and name; as `BaseLoader.get_source`."""
        del environment
        parts = split_template_path(template)
        if self._own is not None:
            path = self._own.joinpath(*parts)
            if path.is_symlink() or path.exists():
                return _read(self._own, path), f"{_MARK}{path}", lambda: True
        path = template_root().joinpath(*parts)
        if not path.is_file():
            raise TemplateNotFound(template)
        return path.read_text(encoding="utf-8"), f"{_MARK}{template}", lambda: True


def _read(folder: Path, path: Path) -> str:
    """Return the text of a maker's template.

    Raises:
        CardError: It is no file in the folder, too large, or not UTF-8.
    """
    if not path.resolve().is_relative_to(folder.resolve()):
        raise _unusable(path, "leads out of the template folder")
    if not path.is_file():
        raise _unusable(path, "is not a file")
    with path.open("rb") as file:
        data = file.read(TEMPLATE_NBYTES_MAX + 1)
    if len(data) > TEMPLATE_NBYTES_MAX:
        raise _unusable(path, f"is over {TEMPLATE_NBYTES_MAX:,} bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as cause:
        raise _unusable(path, f"is not UTF-8 at byte {cause.start:,}") from cause


def _unusable(path: Path, reason: str) -> CardError:
    return CardError(
        f"template {visible(path, 1024)}: {reason}",
        code="template-file",
        hint="put a UTF-8 text file there, or remove it",
    )


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, without whole numbers that only take time to compute."""

    intercepted_binops = frozenset({"**", "*"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Return the result; as the method of the base class."""
        if isinstance(left, int) and isinstance(right, int):
            factor = abs(right) if operator == "**" else 1
            bits = left.bit_length() * factor + right.bit_length()
            if bits > _NUMBER_BITS_MAX:
                raise SecurityError(f"a result of {operator} is too large a number")
        return super().call_binop(context, operator, left, right)


def _kind(name: str) -> str:
    return name.removesuffix(SUFFIX).rpartition(".")[2]


@cache
def _environment(kind: str, own: Path | None) -> ImmutableSandboxedEnvironment:
    """Return the environment; what is printed is escaped by `finalize`.

    Jinja's own escaping is for HTML alone and gives way to a filter, so it is off.
    """
    environment = _Sandbox(
        loader=_Loader(own),
        undefined=StrictUndefined,
        autoescape=False,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize={"md": _as_markdown, "html": _as_html}.get(kind, _as_text),
    )
    environment.filters.update(_FILTERS.get(kind, {}))
    return environment


def _as_markdown(value: object) -> object:
    shown = _scalar(value)
    if isinstance(shown, int):
        return f"{shown:,}"
    if isinstance(shown, str) and not isinstance(shown, Markdown):
        return markdown.plain(shown)
    return shown


def _as_html(value: object) -> object:
    shown = _scalar(value)
    if isinstance(shown, int):
        return f"{shown:,}"
    if isinstance(shown, str) and not isinstance(shown, Html):
        return hypertext.plain(shown)
    return shown


def _as_text(value: object) -> object:
    """Return text whose control characters are visible.

    For terminals and editors backslashes and entities would be noise.
    """
    shown = _scalar(value)
    return visible(shown, MAX_TEXT) if isinstance(shown, str) else shown


def _scalar(value: object) -> object:
    """Return a value that may be printed.

    Python's own words for a list or an object would be unescaped, and some differ from
    run to run. What is undefined complains itself when it is printed.
    """
    if isinstance(value, str | int | float | Undefined):
        return value
    kind = type(value).__name__
    raise TemplateRuntimeError(f"prints a value of type {kind}, not text or a number")
