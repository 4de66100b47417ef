"""The stored records of a checkpoint: read by position, each verified once by its CRC.

The CRC of a record is of all its bytes in order, and tensors are read in ascending
parts. So what continues where the last reading of a record ended is added on the way;
what was never read in order is read at the end.
"""

import threading
import zlib
from collections.abc import Sequence

from release.errors import CheckpointError, first_names
from release.formats.input import InputFile
from release.formats.pickled.faults import FAULTS
from release.formats.pickled.plan import Plan, Record
from release.formats.scan import blocks


class VerifiedRecords:
    """The records of one plan; several threads may read at once.

    Args:
        file: The file they lie in.
        plan: Where they lie, and which tensors use them.
    """

    def __init__(self, file: InputFile, plan: Plan) -> None:
        self._file = file
        names: list[list[str]] = [[] for _ in plan.records]
        for view in plan.views:
            names[view.record].append(view.name)
        self._checks = [
            _Check(record, users)
            for record, users in zip(plan.records, names, strict=True)
        ]

    def read_into(self, record: int, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset` bytes inside a record.

        Raises:
            InputError: The file changed or cannot be read.
            CheckpointError: `crc`, by the reading that completes a damaged record.
        """
        check = self._checks[record]
        self._file.read_into(check.record.begin + offset, buffer)
        if check.add(offset, buffer) and not check.is_right:
            raise self._damage([check])

    def verify_rest(self) -> None:
        """Read what no reading has covered, and compare the CRC of every record.

        Raises:
            InputError: The file changed or cannot be read.
            CheckpointError: `crc`, naming the tensors of all damaged records.
        """
        for check in self._checks:
            begin = check.record.begin
            offset = check.position
            for block in blocks(
                self._file, begin + offset, begin + check.record.nbytes
            ):
                check.add(offset, block)
                offset += len(block)
        damaged = [check for check in self._checks if not check.is_right]
        if damaged:
            raise self._damage(damaged)

    def _damage(self, checks: "Sequence[_Check]") -> CheckpointError:
        self._file.check_unchanged()  # a file that was written to is another finding
        names = [name for check in checks for name in check.users]
        first = checks[0]
        fault = FAULTS["crc"]
        return fault.error(
            self._file.path,
            f"data of {first_names(names)}: CRC-32 is {first.crc:08x}, "
            f"expected {first.record.crc:08x}",
            code="crc",
            hint=fault.hint,
        )


class _Check:
    """The CRC of one record, as far as its bytes were seen in order."""

    def __init__(self, record: Record, users: Sequence[str]) -> None:
        self.record = record
        self.users = users
        self.position = record.nbytes if record.crc is None else 0
        self.crc = 0
        self._lock = threading.Lock()

    @property
    def is_right(self) -> bool:
        """Whether the whole record was seen and is what was saved."""
        if self.record.crc is None:
            return True
        return self.position == self.record.nbytes and self.crc == self.record.crc

    def add(self, offset: int, data: memoryview) -> bool:
        """Take bytes that were read into account; return whether they complete it."""
        with self._lock:
            end = offset + data.nbytes
            if not offset <= self.position < end:
                return False
            self.crc = zlib.crc32(data.cast("B")[self.position - offset :], self.crc)
            self.position = end
            return end == self.record.nbytes
