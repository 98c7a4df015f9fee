"""The pictures of the docs: drawn by the committed code, and true of real trainings."""

import xml.etree.ElementTree as ET
from pathlib import Path

import keras
import numpy as np
import pytest
from pictures import BATCH_SIZE, DOCS, HOOKS, PICTURES, SHAPES, batches_of

import loop
from compare import Recorder

ENGINES = pytest.mark.parametrize("fit", [keras.Model.fit, loop.fit], ids=["keras", "loop"])


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_what_its_code_draws(name):
    assert (DOCS / name).read_text() == PICTURES[name](), "run `python docs/site/pictures.py`"


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_says_in_words_what_it_shows_and_needs_no_network(name):
    root = ET.fromstring(PICTURES[name]())
    (title,) = root.findall("{*}title")
    assert len(title.text) > 30
    assert root.get("aria-labelledby") == title.get("id")
    addresses = [value for tag in root.iter() for key, value in tag.attrib.items() if "href" in key]
    assert addresses == []


def test_every_picture_is_on_a_page():
    shown = "".join(path.read_text() for path in Path(DOCS).rglob("*.md"))
    assert [name for name in PICTURES if f"]({name})" not in shown] == []


def column(samples, width=1):
    return np.ones((samples, width), "float32")


@pytest.mark.sampled
@ENGINES
def test_the_hooks_are_those_of_a_fit(fit):
    recorder = Recorder()
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    data = {"x": column(2), "y": column(2), "validation_data": (column(1), column(1))}
    fit(model, batch_size=1, callbacks=[recorder], verbose=0, **data)
    called = [(event.hook, event.index, tuple(event.logs)) for event in recorder.events]
    assert called == [(hook.name, hook.index, hook.logs) for hook in HOOKS]


@pytest.mark.sampled
@ENGINES
@pytest.mark.parametrize("samples", SHAPES)
def test_the_shapes_are_those_of_a_trace(fit, samples):
    traced = []

    class Traced(keras.Sequential):
        def train_step(self, data):
            traced.append(list(data[0].shape))
            return super().train_step(data)

    model = Traced([keras.Input((10,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    for _ in range(2):
        fit(model, column(samples, 10), column(samples), batch_size=BATCH_SIZE, verbose=0)
    assert {str(shape) for shape in traced} == {SHAPES[samples]}
    assert sum(batches_of(samples)) == samples
