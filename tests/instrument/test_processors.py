"""A slice of `make test-processors`: bit-sensitive tests where kernels round as elsewhere.

TensorFlow reads these variables once, as it is loaded: each setting needs a process of its own.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from children import quick_start

from compare.release.environment import FLAGS

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
SETTINGS = re.search(r"^PROCESSORS := (.*)$", MAKEFILE, re.M)[1].split()
SLICE = {
    "test_divergence.py": "by_hand and 5",
    "test_planted_faults.py": "without_their_sizes",
    "test_parity.py": "exact_plan and last_partial_batch",
}
"""By file, the name of one test; the last two compare with the same training of Keras."""


@pytest.mark.sampled
@pytest.mark.parametrize("setting", SETTINGS)
def test_what_is_bit_sensitive_holds_where_kernels_round_otherwise(setting):
    files = [str(path) for name in SLICE for path in (ROOT / "tests").rglob(name)]
    names = " or ".join(SLICE.values())
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", "-p", "no:cacheprovider"]
    variables = {k: v for k, v in quick_start().items() if not k.startswith("PYTEST_")}
    variable, value = setting.split("=")
    done = subprocess.run(
        [*command, "-m", "bits and not slow", "-k", names, *files],
        cwd=ROOT,
        env={**variables, variable: value},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) == len(SLICE)


def test_three_settings_stand_for_other_processors():
    assert SETTINGS == [
        "TF_ENABLE_ONEDNN_OPTS=0",
        "ONEDNN_MAX_CPU_ISA=SSE41",
        "ONEDNN_MAX_CPU_ISA=AVX2",
    ]


def test_what_the_settings_change_is_written_down_with_results():
    assert {setting.split("=")[0] for setting in SETTINGS} <= set(FLAGS)
