"""Rendering with a maker's templates: in a process of its own, which has limits.

A template is a program. A maker's may loop for ever, or ask for all the memory there
is, by mistake; it must not take this process down, nor read what is not its business.
"""

import json
import os
import subprocess  # only this interpreter is started, with our module
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from release.card.environment import (
    SUFFIX,
    Plain,
    render_template,
    template_hint,
    template_root,
)
from release.card.packing import packed
from release.errors import CardError, visible
from release.recipe.names import suggestion

TEMPLATE_CODE: Final = "template"
"""What the code of every error about a template begins with."""

_MODULE: Final = "release.card.child"
_START_SECONDS: Final = 15.0
"""For the process to start and to end, on a busy machine."""
_PARTIAL: Final = "_"
"""What a template's name begins with that only others include."""
_KEPT_VARIABLES: Final = (
    "HOME",
    "LD_LIBRARY_PATH",
    "PATH",
    "PYTHONHOME",
    "PYTHONUSERBASE",
)
"""Of the environment: what an interpreter may need; no token is among them."""


def render_all(
    names: Sequence[str], context: Mapping[str, Plain], own: Path | None
) -> list[str]:
    """Return the texts of templates, in their order.

    Args:
        names: Paths below the template folder.
        context: What they are filled with.
        own: A maker's folder. Where there is one, all are rendered in a process of
            their own, with limits of time, memory and length.

    Raises:
        CardError: As `release.card.environment.render_template`; "template-file" (a
            maker's template cannot be read, or leads out of its folder),
            "template-folder" (see `check_folder`), "template-limit".
    """
    if own is None:
        return [render_template(name, context) for name in names]
    check_folder(own)
    request = {
        "own": str(own.resolve()),
        "names": list(names),
        "context": packed(context),
    }
    return _answer(json.dumps(request).encode(), own)


def check_folder(own: Path) -> None:
    """Refuse a folder with templates that would never be used.

    A name that begins with an underscore is for others to include.

    Raises:
        CardError: Code "template-folder": no folder, no template in it, or one that
            takes no template's place.
    """
    if not own.is_dir():
        raise _folder_error(own, "is not a folder", _layout_hint())
    ours = _names(template_root())
    found = _names(own)
    for name in found:
        if name not in ours and not Path(name).name.startswith(_PARTIAL):
            reason = f"{visible(name)} takes the place of no template"
            advice = f"{suggestion(name, ours)}; to include it, begin its name with _"
            raise _folder_error(own, reason, advice)
    if not found:
        raise _folder_error(own, f"has no {SUFFIX} file in it", _layout_hint())


def _layout_hint() -> str:
    ours = visible(template_root(), 1024)
    return f"put card/title.md.j2 there, or another of those in {ours}, and change it"


def _folder_error(own: Path, reason: str, hint: str) -> CardError:
    message = f"templates {visible(own, 1024)}: {reason}"
    return CardError(message, code="template-folder", hint=hint)


def _names(folder: Path) -> list[str]:
    """Return the templates of a folder and of those in it, no deeper; sorted."""
    paths = [*folder.glob(f"*{SUFFIX}"), *folder.glob(f"*/*{SUFFIX}")]
    return sorted(path.relative_to(folder).as_posix() for path in paths)


def _answer(request: bytes, own: Path) -> list[str]:
    """Return the texts that a child answers a request with."""
    command = [sys.executable, "-P", "-m", _MODULE]
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    root = str(Path(__file__).resolve().parents[2])
    try:
        done = subprocess.run(  # noqa: S603  # no part of the command is a user's
            command,
            input=request,
            capture_output=True,
            check=False,
            timeout=_START_SECONDS,
            env={**kept, "LC_ALL": "C.UTF-8", "PYTHONPATH": root},
        )
    except subprocess.TimeoutExpired as error:
        raise _ended(error.stderr or b"", "takes too long", own) from error
    if done.returncode != 0:
        raise _ended(done.stderr, _ending(done.returncode), own)
    answer = json.loads(done.stdout)
    if "texts" in answer:
        texts: list[str] = answer["texts"]
        return texts
    raise CardError(answer["message"], code=answer["code"], hint=answer["hint"])


def _ending(code: int) -> str:
    if code < 0:
        return f"takes too much time or memory; signal {-code} ended it"
    return f"takes too much memory, or ended with exit code {code}"


def _ended(log: bytes, reason: str, own: Path) -> CardError:
    """Return the error for a child that could not say itself what was wrong."""
    known = _names(template_root())
    begun = [
        line for line in log.decode("utf-8", "replace").splitlines() if line in known
    ]
    place = f"template {begun[-1]}" if begun else f"templates {visible(own, 1024)}"
    return CardError(
        f"{place}: {reason}", code="template-limit", hint=template_hint(own)
    )
