"""Run an unmodified Keras script on this engine: `python -m loop script.py [arguments]`.

Use `glassfit run script.py` where the current folder has a `loop.py` or a folder `loop`: Python
looks there first, so `python -m loop` would run that module instead of this package. The script
itself may have a `loop.py` under both commands, if it is in another folder than the current one.
"""

import sys

import glassfit


def main() -> None:
    """Run the script that the command line names, as `python script.py` would.

    Raises:
        SystemExit: The command line names no script (status 2), or the script exits.
    """
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print("usage: python -m loop script.py [arguments]\n\n" + str(__doc__))
        raise SystemExit(0 if sys.argv[1:] else 2)
    glassfit.run(sys.argv[1:])


if __name__ == "__main__":
    main()
