"""The command line: commands, what they work in, what they print."""

from .commands import main as main
