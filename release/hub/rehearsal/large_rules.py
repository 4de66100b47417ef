"""Which files of a commit go to large-file storage, and which are ignored.

The real Hub's rules are not published; these are the patterns it writes into the
`.gitattributes` of a new repository, a size and a look for binary content.
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from io import BytesIO
from typing import Final

from dulwich.ignore import IgnoreFilter, read_ignore_patterns

LARGE_PATTERNS: Final = (
    *("*.7z", "*.arrow", "*.bin", "*.bz2", "*.ckpt", "*.ftz", "*.gguf", "*.gz"),
    *("*.h5", "*.jpeg", "*.jpg", "*.joblib", "*.mlmodel", "*.model", "*.msgpack"),
    *("*.npy", "*.npz", "*.onnx", "*.ot", "*.parquet", "*.pb", "*.pickle", "*.pkl"),
    *("*.png", "*.pt", "*.pth", "*.rar", "*.safetensors", "*.tar", "*.tflite"),
    *("*.tgz", "*.wasm", "*.webp", "*.xz", "*.zip", "*.zst"),
)
"""File names that are always large files."""
LARGE_SIZE_BYTES: Final = 10 * 1024 * 1024
"""Files above this size are large files, whatever their name."""


def is_large(path: str, size: int, *, sample: bytes) -> bool:
    """Return whether a file belongs into large-file storage.

    Args:
        path: Path in the repository; only the file name matters.
        size: Bytes of the whole file.
        sample: Its first bytes; a NUL among them means binary content.
    """
    name = path.rpartition("/")[2]
    by_name = any(fnmatchcase(name, pattern) for pattern in LARGE_PATTERNS)
    return by_name or size > LARGE_SIZE_BYTES or b"\0" in sample


def attributes_text() -> bytes:
    """Return the `.gitattributes` a new repository begins with."""
    lines = (f"{name} filter=lfs diff=lfs merge=lfs -text" for name in LARGE_PATTERNS)
    return ("\n".join(lines) + "\n").encode()


def ignored_paths(rules: bytes, paths: Iterable[str]) -> set[str]:
    """Return those paths that `.gitignore` rules exclude, by themselves or a folder."""
    ignores = IgnoreFilter(read_ignore_patterns(BytesIO(rules)))
    return {path for path in paths if ignores.is_ignored(path)}
