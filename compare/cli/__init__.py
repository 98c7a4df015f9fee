"""The command line: `glassfit`, or `python -m compare`."""

import sys

import glassfit
from compare.execution.quiet import import_tensorflow_quietly


def main() -> None:
    """Run the command line; the console script `glassfit` calls this."""
    command, arguments = sys.argv[1:2], sys.argv[2:]
    if arguments and not arguments[0].startswith("-"):
        # Before TensorFlow is imported, which this process does not need for it.
        if command == ["run"]:
            glassfit.replace_process(arguments)
        if command == ["explain"]:
            glassfit.replace_process(arguments, ["", ""])
    import_tensorflow_quietly()
    from compare.cli.commands import main as run

    run()
