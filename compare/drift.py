"""`python -m compare.drift`: what another release of Keras changes; see `compare.cli.drift`."""

from compare.execution.quiet import import_tensorflow_quietly

if __name__ == "__main__":
    import_tensorflow_quietly()

    import keras
    import typer

    try:
        from compare.cli.drift import main
    except (AttributeError, ImportError) as error:  # classes and functions that came later
        raise SystemExit(f"loop needs more than Keras {keras.__version__} has: {error}") from None

    typer.run(main)
