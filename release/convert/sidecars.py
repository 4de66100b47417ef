"""The small files of a conversion: records, shard indexes, a folder's configurations.

They are opened before the pass, so that what is in the way is found at once, and get
their names just before the checkpoints do: a checkpoint that is there has its record.
"""

from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

from release.convert.files import VariantFiles, index_text
from release.convert.plan import ConvertPlan
from release.formats.folder_files import INDEX_NAME, without_components
from release.formats.input import InputFile
from release.formats.output import OutputFile
from release.formats.space import write_failure
from release.formats.target import check_target


class Sidecars:
    """The open small files of a conversion; a context manager.

    Unless told to keep them, it leaves no folder and no file behind.

    Args:
        plan: The conversion.
        folder: What names are relative to; made if it does not exist.
        overwrite: Whether existing files may be replaced.

    Raises:
        OutputError: A file is in the way, or a folder cannot be made.
        InputError: A configuration of the source cannot be read.
    """

    def __init__(self, plan: ConvertPlan, folder: Path, *, overwrite: bool) -> None:
        self._plan = plan
        self._folder = folder
        self._overwrite = overwrite
        self._inputs = [
            path.stat()
            for ingredient in plan.material.ingredients
            for path in ingredient.checkpoint.files
        ]
        self._made: list[Path] = []
        self._texts: dict[str, OutputFile] = {}
        self._published: list[Path] = []
        self._is_kept = False
        self._stack = ExitStack()
        try:
            for variant in plan.variants:
                self._open(variant.files)
        except BaseException:
            self._undo()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._undo()

    def fill(self, records: Mapping[str, str]) -> None:
        """Write all of them.

        Args:
            records: Name of a record -> its text.
        """
        for name, text in records.items():
            self._write(name, text.encode())
        outputs = {output.name: output for output in self._plan.passes.outputs}
        tensors = {
            name: tuple(entry.name for entry in output.entries)
            for name, output in outputs.items()
        }
        for variant in self._plan.variants:
            for name, parts in variant.files.indexes.items():
                nbytes = sum(outputs[part.name].data_nbytes for part in parts)
                self._write(name, index_text(parts, tensors, nbytes))
            for relative, name in variant.files.copies.items():
                self._write(name, self._small_file(relative))

    def publish(self) -> None:
        """Give all of them their names."""
        for file in self._texts.values():
            file.publish()
            self._published.append(file.path)

    def keep(self) -> None:
        """Let everything stay: the checkpoints are complete."""
        self._is_kept = True

    def _open(self, files: VariantFiles) -> None:
        for part in files.parts:
            path = self._folder / part.name
            self._make_folder(path.parent)
            check_target(path, overwrite=self._overwrite, inputs=self._inputs)
        for name in files.names[len(files.parts) :]:
            path = self._folder / name
            self._make_folder(path.parent)
            self._texts[name] = self._stack.enter_context(
                OutputFile.create(path, None, overwrite=self._overwrite)
            )

    def _make_folder(self, folder: Path) -> None:
        missing = [each for each in (folder, *folder.parents) if not each.exists()]
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_failure(folder, error) from error
        self._made = [*missing, *self._made]

    def _write(self, name: str, data: bytes) -> None:
        file = self._texts[name]
        file.append(data)
        file.sync()

    def _small_file(self, relative: object) -> bytes:
        source = self._plan.source.folder
        if source is None:
            raise AssertionError(relative)
        found = next(each for each in source.small_files if each.relative == relative)
        with InputFile(found.path) as file:
            data = file.read(0, file.nbytes)
        if str(relative) == INDEX_NAME:
            return without_components(data, source.absent)
        return data

    def _undo(self) -> None:
        self._stack.close()
        if self._is_kept:
            return
        if not self._overwrite:
            for path in self._published:
                path.unlink(missing_ok=True)
        for folder in sorted(self._made, key=lambda path: -len(path.parts)):
            with suppress(OSError):  # somebody else has put something there
                folder.rmdir()
