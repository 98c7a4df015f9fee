"""The fingerprints of what we mirror: a change in Keras cannot go unnoticed."""

import json

import keras

from compare.release import mirrors


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
