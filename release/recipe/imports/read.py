"""Importing a file: what it is is told by its content, not by its name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from release.errors import RecipeError, visible
from release.formats.input import InputFile
from release.formats.open import open_safetensors
from release.recipe.file import parse_recipe
from release.recipe.imports.chattiori import TYPE as CHATTIORI_TYPE
from release.recipe.imports.chattiori import import_chattiori
from release.recipe.imports.embedded import MODELS_KEY, RECIPE_KEY
from release.recipe.imports.foreign import (
    TEXT_NBYTES_MAX,
    Value,
    nested_object,
    read_object,
)
from release.recipe.imports.imported import Imported
from release.recipe.imports.mecha import METADATA_KEY, import_mecha
from release.recipe.imports.mergekit import import_mergekit
from release.recipe.imports.supermerger import TYPE as SUPERMERGER_TYPE
from release.recipe.imports.supermerger import import_supermerger
from release.recipe.imports.to_toml import to_toml
from release.recipe.imports.webui import TYPE as WEBUI_TYPE
from release.recipe.imports.webui import import_webui

_IMPORTERS: Final = {
    WEBUI_TYPE: import_webui,
    SUPERMERGER_TYPE: import_supermerger,
    CHATTIORI_TYPE: import_chattiori,
}
_SHOW_HINT: Final = "krelease recipe show FILE prints what the file does say"


def import_recipe(path: Path) -> Imported:
    """Return the recipe that a file of another program carries.

    Args:
        path: A safetensors file, a `.mecha` text, a mergekit configuration, or JSON
            with the metadata of a header.

    Raises:
        RecipeError: It has no recipe, or one that cannot be said exactly in our
            language; the message names the file and the place in it. Code
            "import-nothing", "import-origin", "import-text", or those of the origins.
        InputError: The file cannot be read.
        CheckpointError: It is a damaged safetensors file.
    """
    with InputFile(path) as file:
        begin = file.read(0, min(9, file.nbytes))
        is_safetensors = len(begin) == 9 and begin[8:] == b"{" and b"\0" in begin[:8]
        text = b""
        if not is_safetensors:
            if file.nbytes > TEXT_NBYTES_MAX:
                reason = f"holds {file.nbytes:,} bytes and is no safetensors file"
                raise _text_error(reason).within(str(path))
            text = file.read(0, file.nbytes)
    try:
        if is_safetensors:
            with open_safetensors(path) as checkpoint:
                imported = import_metadata(checkpoint.metadata)
        else:
            imported = import_text(_decoded(text))
        # A merge can be right in another program and beyond what ours takes: then it
        # is refused now, not when it is merged.
        parse_recipe(to_toml(imported), origin="as a recipe of ours")
    except RecipeError as error:
        raise error.within(str(path)) from error
    return imported


def import_text(text: str) -> Imported:
    """Return the recipe of a `.mecha` text, a mergekit configuration or JSON.

    Raises:
        RecipeError: As `import_recipe`.
    """
    if text.startswith("version"):
        return import_mecha(text)
    if text.lstrip().startswith("{"):
        members = read_object(text.strip(), place="the JSON text")
        if RECIPE_KEY in members or METADATA_KEY in members:
            return _imported(members)
        if "type" in members:
            return _imported({RECIPE_KEY: members})
    return import_mergekit(text)


def import_metadata(metadata: Mapping[str, str]) -> Imported:
    """Return the recipe that the metadata of a header carries.

    Raises:
        RecipeError: As `import_recipe`.
    """
    return _imported(dict(metadata))


def _imported(metadata: Mapping[str, Value]) -> Imported:
    recipe = nested_object(metadata.get(RECIPE_KEY), place=RECIPE_KEY)
    if recipe is not None:
        kind = recipe.get("type")
        importer = _IMPORTERS.get(kind) if isinstance(kind, str) else None
        if importer is None:
            raise RecipeError(
                f"{RECIPE_KEY}.type: got '{visible(kind, 60)}', expected"
                f" {', '.join(_IMPORTERS)}",
                code="import-origin",
                hint=_SHOW_HINT,
            )
        models = nested_object(metadata.get(MODELS_KEY), place=MODELS_KEY)
        return importer(recipe, models or {})
    text = metadata.get(METADATA_KEY)
    if isinstance(text, str):
        return _from_header(text)
    raise RecipeError(
        f"has no recipe: neither {RECIPE_KEY} nor {METADATA_KEY} is in its metadata",
        code="import-nothing",
        hint=_SHOW_HINT,
    )


def _from_header(text: str) -> Imported:
    try:
        return import_mecha(text)
    except RecipeError as error:
        raise error.within(METADATA_KEY) from error


def _decoded(raw: bytes) -> str:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _text_error(f"is not UTF-8 at byte {error.start:,}") from error
    if "\0" in text:
        raise _text_error("holds a NUL character")
    return text


def _text_error(reason: str) -> RecipeError:
    return RecipeError(
        reason,
        code="import-text",
        hint="an import is a safetensors file, or a text of at most 1 MiB in UTF-8",
    )
