"""Which metadata tells more than its maker may want to publish.

Programs write into a header what they have at hand: whole workflows with their prompts,
and paths that hold the names of people and machines. What is looked for is plain
accident; who hides a name on purpose is not found.
"""

import json
import re
from collections.abc import Iterator
from typing import Final

_WORKFLOW_KEYS: Final = frozenset({"prompt", "workflow", "extra_pnginfo"})
_PROMPT_KEYS: Final = frozenset(
    {"parameters", "negative_prompt", "invokeai_metadata", "ss_sample_prompts"}
)
_WORKFLOW_FIELDS: Final = ({"class_type", "inputs"}, {"nodes", "links"})
"""Fields of a node in ComfyUI's `prompt`, and of its whole `workflow`."""

_ROOTS: Final = (
    "home|Users|root|mnt|media|Volumes|private|workspace|content|kaggle|data|tmp|var"
    "|opt|srv|run|usr|storage|scratch|notebooks|runpod-volume"
)
_LOCAL_PATHS: Final = re.compile(
    # Behind a letter or a dot, a slash belongs to an address or a relative path.
    rf"(?<![\w./~-])/(?:[a-z]/)?(?:{_ROOTS})/[\w.@+-]"
    r"|(?<!\w)[A-Za-z]:[\\/]+[^\s\\/]"  # a drive
    r"|(?<![\w\\:])\\\\[\w.$?-]+\\[\w.$]"  # a share
    r"|\bfile:/"
    # A line of its own that begins as a path does, and not as a JPEG in base64 does.
    r"|^/(?!9j/)[\w.@+-]+/[^\s/]",
    re.MULTILINE,
)
_IMAGE_PREFIX: Final = "data:image/"

WORKFLOW: Final = "a workflow with its prompts"
PROMPTS: Final = "prompts"
LOCAL_PATH: Final = "a path of somebody's machine"


def private_reason(key: str, value: str) -> str:
    """Return what an entry of a header's metadata gives away, or "" for nothing.

    JSON is looked into, also where it lies as text within JSON: names and texts count,
    wherever they are.

    Args:
        key: The entry's key; one of ComfyUI's for workflows counts by itself.
        value: Its value, of any length; foreign text.

    Source:
        ComfyUI, `nodes_model_merging.py`: `prompt` and the extra PNG info are saved
        with every checkpoint unless `--disable-metadata` is given.
    """
    if key.lower() in _WORKFLOW_KEYS:
        return WORKFLOW
    if key.lower() in _PROMPT_KEYS and value.strip() not in {"", "{}", "None"}:
        return PROMPTS
    reasons = {_reason(item) for item in (key, *_items(value))}
    return next((each for each in (WORKFLOW, LOCAL_PATH) if each in reasons), "")


def _reason(item: str | frozenset[str]) -> str:
    if isinstance(item, frozenset):
        is_workflow = any(fields <= item for fields in _WORKFLOW_FIELDS)
        return WORKFLOW if is_workflow else ""
    if item.startswith(_IMAGE_PREFIX):
        return ""
    return LOCAL_PATH if _LOCAL_PATHS.search(item) else ""


def _items(text: str) -> Iterator[str | frozenset[str]]:
    """Return every text within a value, and the set of names of every JSON object."""
    stack: list[object] = [text]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            yield frozenset(item)
            yield from item
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, str):
            decoded = _decoded(item)
            if decoded is None:
                yield item
            else:
                stack.append(decoded)


def _decoded(text: str) -> object | None:
    """Return the JSON object or array that `text` is, None for all other texts."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        decoded: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return decoded
