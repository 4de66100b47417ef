"""One verification by xxh3, timed without start-up.

Usage: verify_pass.py FILE THREADS; prints the seconds.
"""

import sys
import time
from pathlib import Path

import release.claims.manifest
import release.verify.facts  # noqa: F401  # what verify loads when it needs it
from release.progress import NoProgress
from release.verify.verify import verify

path, threads = sys.argv[1:]
begin = time.perf_counter()
report = verify(Path(path), level="xxh3", threads=int(threads), progress=NoProgress())
seconds = time.perf_counter() - begin
if not report.is_intact:
    sys.exit(f"{path}: not intact")
print(seconds)
