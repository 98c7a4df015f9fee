"""`python -m compare`, also called `glassfit`."""

from compare.cli import main

if __name__ == "__main__":
    main()
