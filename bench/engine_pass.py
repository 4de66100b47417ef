"""One pass of the engine, timed without start-up, planning, card and manifest.

Usage: engine_pass.py DEFINITION FOLDER NAME=PATH ...; prints the seconds.
"""

import sys
import time
from contextlib import ExitStack
from pathlib import Path

import release.engine.stream  # noqa: F401 - loads torch before the clock starts
from release.build import plan_build
from release.catalog.read import read_definition
from release.engine.execute import execute
from release.formats.open import open_checkpoint
from release.threads import choose_threads

definition, folder, *pairs = sys.argv[1:]
with ExitStack() as stack:
    checkpoints = {
        name: stack.enter_context(open_checkpoint(Path(path)))
        for name, _, path in (pair.partition("=") for pair in pairs)
    }
    plan = plan_build(read_definition(Path(definition)), checkpoints)
    begin = time.perf_counter()
    execute(plan.passes, Path(folder), threads=choose_threads(), advance=lambda _: None)
    print(time.perf_counter() - begin)
