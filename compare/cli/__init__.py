"""The command line: `glassfit`, or `python -m compare`."""

from compare.execution.quiet import import_tensorflow_quietly


def main() -> None:
    """Run the command line; the console script `glassfit` calls this."""
    import_tensorflow_quietly()
    from compare.cli.commands import main as run

    run()
