"""Files of pictures: what forbids one is said before any work; SVG is the same always.

Equal heat maps give equal bytes under one version of matplotlib: no date, no random
names, nothing of the machine, and letters as outlines, so no fonts.
"""

import io
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal

from release.errors import ReleaseError, UsageError, visible
from release.formats.output import write_text_file
from release.formats.target import check_target
from release.pictures.heat_map import FONT_SIZE, HeatMap, figure_of, plain

Format = Literal["png", "svg"]

_METADATA: Final[dict[Format, dict[str, Any]]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
}
_DOTS_PER_INCH: Final = 150
_TITLE_LENGTH: Final = 200


class PictureFile:
    """A picture that shall be drawn; what forbids it is said before any work.

    Attributes:
        path: Where it goes.

    Args:
        path: Its name ends in .png or .svg.
        overwrite: Whether a file that is there may be replaced.

    Raises:
        UsageError: `plot-format` for another ending.
        ReleaseError: `plots-extra` where matplotlib is not installed.
        OutputError: The file is there, or its folder is not.
    """

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        self.path = path
        self._overwrite = overwrite
        self._format = _format(path)
        require_plots("--plot")
        check_target(path, overwrite=overwrite, inputs=())

    def write(self, heat_map: HeatMap) -> None:
        """Draw a heat map and write the picture.

        Raises:
            OutputError: It cannot be written.
        """
        picture = picture_bytes(heat_map, self._format)
        write_text_file(self.path, picture, overwrite=self._overwrite)


def require_plots(option: str) -> None:
    """Refuse to go on where no picture can be drawn; matplotlib is not loaded.

    Args:
        option: What was asked for, such as "--plot".

    Raises:
        ReleaseError: `plots-extra` where matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise ReleaseError(
            f"{option}: matplotlib is not installed",
            code="plots-extra",
            hint="run: pip install 'krelease[plots]'",
        )


def picture_bytes(heat_map: HeatMap, kind: Format) -> bytes:
    """Return the file of a picture; matplotlib is there (`require_plots`)."""
    import matplotlib as mpl

    title = plain(" ".join(heat_map.title.split()), _TITLE_LENGTH)
    picture = io.BytesIO()
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({"svg.hashsalt": "krelease", "font.size": FONT_SIZE})
        figure_of(heat_map).savefig(
            picture,
            format=kind,
            dpi=_DOTS_PER_INCH,
            metadata=_METADATA[kind] | {"Title": title},
        )
    return picture.getvalue()


def _format(path: Path) -> Format:
    ending = path.suffix.lower().removeprefix(".")
    for known in _METADATA:
        if ending == known:
            return known
    raise UsageError(
        f"--plot {visible(path, 1024)}: expected a name that ends in .png or .svg",
        code="plot-format",
        hint="for example --plot blocks.svg",
    )
