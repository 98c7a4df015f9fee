"""`python -m loop script.py [arguments]`: an unmodified Keras script on this engine."""

import runpy
import sys
from pathlib import Path

from loop.install import install


def main() -> None:
    """Runs a script as Python would, with `model.fit` and its friends on this engine."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print("usage: python -m loop script.py [arguments]\n\n" + str(__doc__))
        raise SystemExit(0 if sys.argv[1:] else 2)
    script = sys.argv[1]
    if not Path(script).is_file():
        print(f"python -m loop: there is no file {script!r}", file=sys.stderr)
        raise SystemExit(2)
    sys.argv = sys.argv[1:]  # as the script would see it
    sys.path[0] = str(Path(script).resolve().parent)
    install()
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
