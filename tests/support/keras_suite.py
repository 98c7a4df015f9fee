"""`make test-keras`: Keras's own tests, on Keras's engine and on ours.

The wheel of Keras brings the tests of its trainer, callbacks, models and distillation along. A test
that passes without us must pass with us.
"""

import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

SUITES = (
    "trainers/trainer_test.py",
    "trainers/epoch_iterator_test.py",
    "callbacks",
    "distillation",
    "models/model_test.py",
    "models/sequential_test.py",
    "models/functional_test.py",
    "wrappers",
)

_CONFTEST = """
import keras, pytest

def skip_if_backend(given_backend, reason):
    return pytest.mark.skipif(keras.backend.backend() == given_backend, reason=reason)
"""

ENGINE = "GLASSFIT_ENGINE_UNDER_TEST"  # tells the pytest processes which engine to install


def main(
    only: Annotated[str, typer.Option("--only", "-k", help="As of pytest: tests by name.")] = "",
) -> None:
    """Runs Keras's tests under both engines and prints what they lose under ours."""
    console = Console()
    with console.status("a few minutes"), ThreadPoolExecutor() as both:
        without, with_us = both.map(outcomes, ("keras", "loop"), (only, only))
    lost = [name for name in without if without[name] == "passed" and with_us.get(name) != "passed"]
    for title, one in (("model.fit", without), ("loop.fit", with_us)):
        counts = {kind: list(one.values()).count(kind) for kind in ("passed", "failed", "skipped")}
        console.print(f"{title}: " + ", ".join(f"{n} {kind}" for kind, n in counts.items()))
    for name in lost:
        console.print(f"lost: {name}", markup=False, highlight=False)
    raise typer.Exit(0 if without and not lost else 1)


def outcomes(engine: str, only: str) -> dict[str, str]:
    """Runs all suites in a process of their own.

    Args:
        engine: "keras" or "loop".
        only: Tests by name, as of `pytest -k`; "" for all.

    Returns:
        "passed", "failed" or "skipped" for each test, by its name.
    """
    source = Path(find_spec("keras").origin).parent / "src"
    command = [sys.executable, "-m", "pytest", *(str(source / suite) for suite in SUITES)]
    # A module of Keras may itself need a package that is not here: the others run all the same.
    command += ["-q", "-p", "keras_suite", "-p", "no:cacheprovider", "-k", only]
    command += ["--continue-on-collection-errors"]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        # No configuration of ours: these are not our tests. One of them wants Keras's conftest.
        (Path(folder) / "pytest.ini").write_text("[pytest]\n")
        (Path(folder) / "conftest.py").write_text(_CONFTEST)
        command += ["-c", str(Path(folder) / "pytest.ini"), f"--junitxml={report}"]
        path = os.pathsep.join([folder, str(Path(__file__).parent)])
        env = {**os.environ, ENGINE: engine, "KERAS_BACKEND": "tensorflow", "PYTHONPATH": path}
        done = subprocess.run(command, env=env, cwd=folder, capture_output=True, check=False)
        if not report.exists():
            raise RuntimeError(f"pytest ended without a report:\n{done.stdout.decode()[-2000:]}")
        cases = ElementTree.parse(report).iter("testcase")
        return {_name(one): _outcome(one) for one in cases}


def _name(case: ElementTree.Element) -> str:
    """Its name without addresses in memory."""
    return re.sub(r"0x[0-9a-f]+", "", f"{case.get('classname')}::{case.get('name')}")


def _outcome(case: ElementTree.Element) -> str:
    kinds = {child.tag for child in case}
    if kinds & {"failure", "error"}:
        return "failed"
    return "skipped" if "skipped" in kinds else "passed"


def pytest_configure(config: Any) -> None:
    """As a plugin of pytest: puts the engine under test in place."""
    for marker in ("requires_trainable_backend", "multi_device"):
        config.addinivalue_line("markers", f"{marker}: of Keras")
    if os.environ.get(ENGINE) == "loop":
        import loop

        loop.install()


if __name__ == "__main__":
    typer.run(main)
