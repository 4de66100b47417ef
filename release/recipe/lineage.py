"""The models that a checkpoint was made of, as its metadata says, as a tree.

Metadata can claim anything. Whatever is unreadable or endless in it becomes a remark in
the tree, never an error: a lineage is for looking at.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from release.errors import RecipeError, visible
from release.metadata import INGREDIENTS_KEY, RECIPE_KEY
from release.recipe.imports.embedded import MODELS_KEY
from release.recipe.imports.embedded import RECIPE_KEY as MERGE_RECIPE_KEY
from release.recipe.imports.foreign import Value, nested_object, read_object
from release.recipe.imports.imported import file_name
from release.recipe.imports.mecha import METADATA_KEY as MECHA_KEY
from release.recipe.imports.mecha_lines import read_lines

DEPTH_MAX: Final = 12
"""Generations that are shown."""
NODES_MAX: Final = 500
"""Models that are shown."""

PROMPT_KEY: Final = "prompt"
"""ComfyUI's workflow."""
MERGED_FROM_KEY: Final = "modelspec.merged_from"
TITLE_KEY: Final = "modelspec.title"

_SHORT: Final = 10
_TEXT_LENGTH_MAX: Final = 80
_HASH: Final = re.compile(r"[0-9a-f]{8,64}")
_MODEL_LIST_KEY: Final = "models"
_HASH_KEYS: Final = (
    "primary_model_hash",
    "secondary_model_hash",
    "tertiary_model_hash",
    "model_a",
    "model_b",
    "model_c",
)
_FILE_INPUTS: Final = ("ckpt_name", "unet_name", "lora_name", "vae_name", "model_name")
_METHOD_KEYS: Final = ("expression", "interp_method", "mode", "merge_method")
_WEIGHT_KEYS: Final = ("multiplier", "base_alpha", "alpha_info", "weights_alpha_orig")


@dataclass(frozen=True, slots=True)
class Lineage:
    """A model, and what it was made of. All texts are foreign.

    Attributes:
        title: Its name, or what its source is called.
        digest: Its hash as the metadata writes it, or "".
        remark: How it was made, or why nothing more is shown; or "".
        parents: What it was made of.
    """

    title: str
    digest: str = ""
    remark: str = ""
    parents: tuple["Lineage", ...] = ()


def lineage_of(metadata: Mapping[str, str], *, title: str) -> Lineage:
    """Return the tree of a checkpoint; without parents where its metadata has none.

    Args:
        metadata: Of the header; foreign.
        title: For a checkpoint that does not name itself, such as its file's name.
    """
    readers = (
        (MERGE_RECIPE_KEY, _merged),
        (RECIPE_KEY, _own),
        (MECHA_KEY, _mecha),
        (PROMPT_KEY, _workflow),
        (MERGED_FROM_KEY, _titles),
    )
    sources = []
    for key, reader in readers:
        if key in metadata:
            try:
                sources.append(reader(metadata))
            except RecipeError as error:
                sources.append(Lineage(key, remark=f"unreadable: {error}"))
    return Lineage(metadata.get(TITLE_KEY) or title, parents=tuple(sources))


def tree_lines(lineage: Lineage) -> list[str]:
    """Return the tree as lines for a terminal, foreign text escaped."""
    lines = [_described(lineage)]
    waiting = [(parent, "", last) for parent, last in _children(lineage)]
    waiting.reverse()
    while waiting:
        node, indent, is_last = waiting.pop()
        lines.append(f"{indent}{'└─' if is_last else '├─'} {_described(node)}")
        below = indent + ("   " if is_last else "│  ")
        waiting += reversed([(each, below, last) for each, last in _children(node)])
    return lines


def _children(node: Lineage) -> Iterator[tuple[Lineage, bool]]:
    for index, parent in enumerate(node.parents, 1):
        yield parent, index == len(node.parents)


def _described(node: Lineage) -> str:
    text = visible(node.title, _TEXT_LENGTH_MAX)
    if node.digest:
        text += f" [{visible(node.digest[:_SHORT])}]"
    if node.remark:
        text += f": {visible(node.remark, 2 * _TEXT_LENGTH_MAX)}"
    return text


class _Ancestry:
    """Walks `sd_merge_models`, within bounds.

    Args:
        known: SHA-256 -> name, and the recipe of that model.
    """

    def __init__(self, known: Mapping[str, Value]) -> None:
        self._known = {key.lower(): value for key, value in known.items()}
        self._shown: set[str] = set()
        self._n_nodes = 0

    def parents(
        self, recipe: Mapping[str, Value], above: tuple[str, ...]
    ) -> tuple[Lineage, ...]:
        """Return the models of a recipe; `above` are the digests that led here."""
        found = []
        for name, digest in _models_of(recipe):
            self._n_nodes += 1
            if self._n_nodes > NODES_MAX:
                found.append(Lineage("…", remark=f"more than {NODES_MAX} models"))
                break
            found.append(self._node(name, digest, above))
        return tuple(found)

    def _node(self, name: str, digest: str, above: tuple[str, ...]) -> Lineage:
        known = self._known.get(digest)
        entry = known if isinstance(known, dict) else {}
        given = entry.get("name")
        title = (given if isinstance(given, str) else "") or name or "unknown model"
        if digest in above:
            return Lineage(title, digest, "is its own ancestor")
        try:
            recipe = nested_object(entry.get(MERGE_RECIPE_KEY), place=MERGE_RECIPE_KEY)
        except RecipeError as error:
            return Lineage(title, digest, f"unreadable: {error}")
        if recipe is None:
            return Lineage(title, digest)
        remark = _method(recipe)
        if digest in self._shown:
            return Lineage(title, digest, f"{remark}, see above")
        if len(above) >= DEPTH_MAX:
            return Lineage(title, digest, f"{remark}, and more generations")
        self._shown.add(digest)
        return Lineage(title, digest, remark, self.parents(recipe, (*above, digest)))


def _merged(metadata: Mapping[str, str]) -> Lineage:
    recipe = nested_object(metadata[MERGE_RECIPE_KEY], place=MERGE_RECIPE_KEY)
    models = nested_object(metadata.get(MODELS_KEY), place=MODELS_KEY)
    if recipe is None:
        return Lineage(MERGE_RECIPE_KEY, remark="is empty")
    parents = _Ancestry(models or {}).parents(recipe, ())
    return Lineage(MERGE_RECIPE_KEY, remark=_method(recipe), parents=parents)


def _models_of(recipe: Mapping[str, Value]) -> list[tuple[str, str]]:
    """Return name and hash of every model of a recipe, each once, in its order."""
    named = recipe.get(_MODEL_LIST_KEY)
    pairs: list[tuple[str, Value]] = []
    if isinstance(named, dict):
        pairs += sorted(named.items())
    pairs += [("", recipe.get(key)) for key in _HASH_KEYS]
    found: dict[tuple[str, str], None] = {}
    digests: set[str] = set()
    for name, value in pairs:
        digest = value.strip().lower() if isinstance(value, str) else ""
        digest = digest if _HASH.fullmatch(digest) else ""
        if (not name and not digest) or digest in digests:
            continue
        digests |= {digest} - {""}
        found[name, digest] = None
    return list(found)


def _method(recipe: Mapping[str, Value]) -> str:
    """Return the program, the formula and the weight of a recipe, in short."""
    words = []
    for keys in (("type",), _METHOD_KEYS, _WEIGHT_KEYS):
        value = next((recipe[key] for key in keys if recipe.get(key)), None)
        if value is not None and not isinstance(value, dict | list):
            words.append(visible(value, _TEXT_LENGTH_MAX))
    return ", ".join(words) or "merged"


def _own(metadata: Mapping[str, str]) -> Lineage:
    text = metadata.get(INGREDIENTS_KEY) or "{}"
    ingredients = read_object(text, place=INGREDIENTS_KEY)
    shown = sorted(ingredients.items())[:NODES_MAX]
    parents = tuple(
        Lineage(name, value if isinstance(value, str) else "") for name, value in shown
    )
    return Lineage(RECIPE_KEY, remark="tensor set digests", parents=parents)


def _mecha(metadata: Mapping[str, str]) -> Lineage:
    paths = [
        line.positional[0]
        for line in read_lines(metadata[MECHA_KEY])
        if line.command == "model" and line.positional
    ]
    return Lineage(MECHA_KEY, remark="sd-mecha", parents=_files(paths))


def _workflow(metadata: Mapping[str, str]) -> Lineage:
    members = read_object(metadata[PROMPT_KEY], place=PROMPT_KEY)
    found: list[object] = []
    for _, node in sorted(members.items()):
        inputs = node.get("inputs") if isinstance(node, dict) else None
        if isinstance(inputs, dict):
            found += [inputs[key] for key in _FILE_INPUTS if key in inputs]
    return Lineage(PROMPT_KEY, remark="ComfyUI workflow", parents=_files(found))


def _titles(metadata: Mapping[str, str]) -> Lineage:
    titles = [each.strip() for each in metadata[MERGED_FROM_KEY].split(",")]
    parents = tuple(Lineage(title) for title in titles[:NODES_MAX] if title)
    return Lineage(MERGED_FROM_KEY, parents=parents)


def _files(paths: Sequence[object]) -> tuple[Lineage, ...]:
    """Return a node for every file, each once; folders are nobody's business."""
    names = [file_name(path) for path in paths if isinstance(path, str)]
    return tuple(Lineage(name) for name in dict.fromkeys(names) if name)[:NODES_MAX]
