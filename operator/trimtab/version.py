"""The version of this package, read from its installed metadata."""

from importlib.metadata import version

VERSION: str = version("trimtab")
