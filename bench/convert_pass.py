"""One pass of a conversion, timed without start-up, planning and record.

Usage: convert_pass.py SOURCE FOLDER PRESET ...; prints the seconds.
"""

import sys
import time
from pathlib import Path

import release.engine.stream  # noqa: F401 - loads torch before the clock starts
from release.convert.options import ConvertOptions
from release.convert.plan import plan_convert
from release.convert.source import SourceOptions, open_source
from release.engine.execute import PassOptions, execute
from release.threads import choose_threads
from release.variants.preset import find_preset

source, folder, *presets = sys.argv[1:]
options = ConvertOptions(presets=tuple(find_preset(name) for name in presets))
with open_source(Path(source), SourceOptions()) as opened:
    plan = plan_convert(opened, options).passes
    begin = time.perf_counter()
    execute(
        plan,
        Path(folder),
        threads=choose_threads(),
        advance=lambda _: None,
        options=PassOptions(identifies=options.identifies),
    )
    print(time.perf_counter() - begin)
