"""The fingerprints of what we mirror: a change in Keras cannot go unnoticed."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from compare.release import mirrors

ROOT = Path(__file__).parents[2]


def test_every_mirrored_function_is_what_it_was_when_it_was_recorded():
    recorded = json.loads(mirrors.RECORDED.read_text())
    assert recorded["keras"] == keras.__version__
    assert sorted(recorded["functions"]) == mirrors.mirrored(), "python -m compare.drift --record"
    assert mirrors.changed() == []
    assert "gone" not in recorded["functions"].values()


def test_a_fingerprint_sees_code_and_neither_layout_nor_words(tmp_path, monkeypatch):
    texts = {
        "plain": "def step(x):\n    return x + 1\n",
        "reworded": 'def step(x):\n    """Words."""\n    # and more\n    return (x + 1)\n',
        "another": "def step(x):\n    return x + 2\n",
    }
    monkeypatch.syspath_prepend(tmp_path)
    for name, text in texts.items():
        (tmp_path / f"{name}_for_a_fingerprint.py").write_text(text)
    plain, reworded, another = (
        mirrors.fingerprint(f"{name}_for_a_fingerprint.step") for name in texts
    )
    assert plain == reworded
    assert plain != another


def test_a_function_that_is_gone_counts_as_changed():
    assert mirrors.fingerprint("keras.Model.no_such_method") == "gone"
    assert mirrors.fingerprint("keras.no_such_module.function") == "gone"


@pytest.mark.long
def test_a_release_without_what_loop_needs_is_named():
    older = "import keras, runpy; del keras.optimizers.Muon; keras.__version__ = '3.0'; "
    run = "runpy.run_module('compare.drift', run_name='__main__')"
    command = [sys.executable, "-W", "ignore", "-c", older + run]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("loop needs more than Keras 3.0 has: ")
    assert "Muon" in ended.stderr
