"""Writing an imported recipe as a recipe file."""

from collections.abc import Iterator

from release.formats.toml_write import toml_comment, toml_value
from release.recipe.imports.imported import OUTPUT, Imported, ImportedIngredient


def to_toml(imported: Imported) -> str:
    """Return the recipe as the TOML that `release.recipe.file` reads.

    The same recipe always gives the same text. What the origin did not record is said
    in comments.
    """
    return "\n".join([*_lines(imported), ""])


def _lines(imported: Imported) -> Iterator[str]:
    yield toml_comment(f"Imported from {imported.origin}.")
    yield from (toml_comment(f"Note: {note}") for note in imported.notes)
    yield from (toml_comment(f"Warning: {warning}") for warning in imported.warnings)
    if imported.dtype_hint:
        yield toml_comment(f"The origin stored the result as {imported.dtype_hint}.")
    yield from ("", "[recipe]", "schema = 1", 'arch = "sdxl"')
    yield f"convention = {toml_value(imported.convention)}"
    yield f"vae = {toml_value(imported.vae)}"
    yield f"missing = {toml_value(imported.missing)}"
    yield from ("", "[ingredients]")
    for ingredient in imported.ingredients:
        yield from _ingredient(ingredient)
    yield from ("", "[steps]")
    yield from (f"{name} = {toml_value(text)}" for name, text in imported.steps)
    yield from ("", "[output]", f"from = {toml_value(OUTPUT)}")


def _ingredient(ingredient: ImportedIngredient) -> Iterator[str]:
    if not (ingredient.sha256 or ingredient.autov2):
        known = f"; its AutoV1 is {ingredient.autov1}" if ingredient.autov1 else ""
        yield toml_comment(f"{ingredient.name}: no SHA-256 is known{known}.")
    facts = {
        "title": "" if ingredient.title == ingredient.file else ingredient.title,
        "file": ingredient.file,
        "hub": ingredient.hub,
        "sha256": ingredient.sha256,
        "autov2": ingredient.autov2,
    }
    pairs = ", ".join(
        f"{key} = {toml_value(text)}" for key, text in facts.items() if text
    )
    yield f"{ingredient.name} = {{ {pairs} }}" if pairs else f"{ingredient.name} = {{}}"
