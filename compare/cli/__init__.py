"""The command line, `glassfit` or `python -m compare`."""


def main() -> None:
    """Run the command line; the console script `glassfit` calls this."""
    from compare.cli.commands import main as run

    run()
