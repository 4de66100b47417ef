"""Writing an imported recipe as a recipe file."""

from collections.abc import Iterator
from typing import Final

from release.errors import visible
from release.recipe.imports.imported import OUTPUT, Imported, ImportedIngredient

_ESCAPES: Final = {
    "\\": "\\\\",
    '"': '\\"',
    "\b": "\\b",
    "\t": "\\t",
    "\n": "\\n",
    "\f": "\\f",
    "\r": "\\r",
}
_COMMENT_LENGTH_MAX: Final = 500


def to_toml(imported: Imported) -> str:
    """Return the recipe as the TOML that `release.recipe.file` reads.

    The same recipe always gives the same text. What the origin did not record is said
    in comments.
    """
    return "\n".join([*_lines(imported), ""])


def _lines(imported: Imported) -> Iterator[str]:
    yield _comment(f"Imported from {imported.origin}.")
    yield from (_comment(f"Note: {note}") for note in imported.notes)
    yield from (_comment(f"Warning: {warning}") for warning in imported.warnings)
    if imported.dtype_hint:
        yield _comment(f"The origin stored the result as {imported.dtype_hint}.")
    yield from ("", "[recipe]", "schema = 1", 'arch = "sdxl"')
    yield f"convention = {_quoted(imported.convention)}"
    yield f"vae = {_quoted(imported.vae)}"
    yield f"missing = {_quoted(imported.missing)}"
    yield from ("", "[ingredients]")
    for ingredient in imported.ingredients:
        yield from _ingredient(ingredient)
    yield from ("", "[steps]")
    yield from (f"{name} = {_quoted(text)}" for name, text in imported.steps)
    yield from ("", "[output]", f"from = {_quoted(OUTPUT)}")


def _ingredient(ingredient: ImportedIngredient) -> Iterator[str]:
    if not (ingredient.sha256 or ingredient.autov2):
        known = f"; its AutoV1 is {ingredient.autov1}" if ingredient.autov1 else ""
        yield _comment(f"{ingredient.name}: no SHA-256 is known{known}.")
    facts = {
        "title": "" if ingredient.title == ingredient.file else ingredient.title,
        "file": ingredient.file,
        "hub": ingredient.hub,
        "sha256": ingredient.sha256,
        "autov2": ingredient.autov2,
    }
    pairs = ", ".join(f"{key} = {_quoted(text)}" for key, text in facts.items() if text)
    yield f"{ingredient.name} = {{ {pairs} }}" if pairs else f"{ingredient.name} = {{}}"


def _comment(text: str) -> str:
    return f"# {visible(text, _COMMENT_LENGTH_MAX)}"


def _quoted(text: str) -> str:
    """Return a basic string of TOML; whatever is not printable is escaped."""
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char.isprintable():
        return char
    return f"\\U{ord(char):08x}"
