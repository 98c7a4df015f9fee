"""The command line: `glassfit`, or `python -m compare`."""

import sys

import glassfit
from compare.execution.quiet import import_tensorflow_quietly


def main() -> None:
    """Run the command line; the console script `glassfit` calls this."""
    command, arguments = sys.argv[1:2], sys.argv[2:]
    if command == ["run"] and arguments and not arguments[0].startswith("-"):
        glassfit.replace_process(arguments)  # before TensorFlow is imported, which it does not need
    import_tensorflow_quietly()
    from compare.cli.commands import main as run

    run()
