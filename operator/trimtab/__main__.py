"""Runs the command line as `python -m trimtab`."""

from trimtab.cli.main import app

app()
