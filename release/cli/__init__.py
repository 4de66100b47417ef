"""The command line: parse, call one function, show.

Only typer, the standard library and modules of ours that need nothing else are imported
at the top; everything heavier is imported inside the commands, so that help is quick.
"""

import sys

try:
    from release.cli.app import app
    from release.cli.audit import audit
    from release.cli.blocks import blocks
    from release.cli.build import build
    from release.cli.card import card
    from release.cli.convert import convert
    from release.cli.extract import extract
    from release.cli.hash import hash_
    from release.cli.inspect import inspect
    from release.cli.licence import licence
    from release.cli.lint import lint
    from release.cli.merge import merge
    from release.cli.new import new
    from release.cli.parity import parity
    from release.cli.presets import presets
    from release.cli.publish import publish
    from release.cli.recipe_files import app as recipe
    from release.cli.releases import releases
    from release.cli.repair import repair
    from release.cli.verify import verify
except KeyboardInterrupt:
    # Ctrl-C before there is a command that could say so.
    sys.stderr.write("stopped by SIGINT\n")
    sys.exit(130)

app.command()(publish)
app.command()(build)
app.command()(merge)
app.command()(extract)
app.command()(convert)
app.command()(inspect)
app.command("hash")(hash_)
app.command()(verify)
app.command()(repair)
app.command()(parity)
app.command()(audit)
app.command()(new)
app.command()(card)
app.command()(lint)
app.command()(licence)
app.command()(blocks)
app.command()(releases)
app.command()(presets)
app.add_typer(recipe)

__all__ = ["app"]
