"""`python -m compare.drift`: what another release of Keras changes; see `compare.cli.drift`."""

from compare.execution.quiet import import_tensorflow_quietly

if __name__ == "__main__":
    import_tensorflow_quietly()

    import typer

    from compare.cli.drift import main

    typer.run(main)
