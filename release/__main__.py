"""`python -m release`, the same as the command `krelease`."""

from release.cli import app

app(prog_name="krelease")
