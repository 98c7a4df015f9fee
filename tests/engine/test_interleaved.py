"""What users do to one model, in any order: two copies, one engine each, always the same."""

import tempfile
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import loop
from compare.recording.recorder import as_array

X = np.random.default_rng(3).normal(size=(30, 4)).astype("float32")
Y = (X.sum(1) > 0).astype("int64")
SIZES = st.sampled_from([5, 8, 13, 30])
OPTIMIZERS = ["sgd", "adam", "rmsprop"]
COMPILED = [
    {"loss": "binary_crossentropy", "metrics": ["accuracy"]},
    {"loss": "mse", "weighted_metrics": ["mae"], "steps_per_execution": 2},
    {"loss": "binary_crossentropy"},
]


def new_model():
    return keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(3, "relu", kernel_regularizer="l2"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(1, "sigmoid"),
        ]
    )


class Interleaved(RuleBasedStateMachine):
    """Rules are what a user may do; the invariant is that the two models have the same bits."""

    def __init__(self):
        super().__init__()
        self.seed = 0
        self.models = []

    def both(self, act):
        """Acts on each model, from the same seed; what it returns, or raises, must be the same."""
        self.seed += 1
        returned, refused = [], []
        for model, engine in zip(self.models, (keras.Model, loop), strict=True):
            keras.utils.set_random_seed(self.seed)
            try:
                returned.append(repr(act(model, engine)))
            except Exception as error:  # toggled and loaded, a model may not fit its optimizer
                refused.append((type(error), str(error)))
        assert returned[:1] == returned[1:], refused
        assert refused[:1] == refused[1:]
        if refused:
            self.build()

    @initialize()
    def build(self):
        self.models = []
        for _ in range(2):
            keras.backend.clear_session()
            keras.utils.set_random_seed(0)
            self.models.append(new_model())
        self.compile("adam", COMPILED[0])

    @rule(optimizer=st.sampled_from(OPTIMIZERS), arguments=st.sampled_from(COMPILED))
    def compile(self, optimizer, arguments):
        self.both(lambda model, _: model.compile(optimizer, **arguments))

    @rule(samples=SIZES, epochs=st.integers(1, 3), validate=st.booleans())
    def fit(self, samples, epochs, validate):
        data = {"x": X[:samples], "y": Y[:samples], "batch_size": 8}
        if validate:
            data["validation_data"] = (X[:9], Y[:9])
        self.both(lambda model, by: by.fit(model, **data, epochs=epochs, verbose=0).history)

    @rule(samples=SIZES)
    def evaluate(self, samples):
        self.both(lambda model, by: by.evaluate(model, X[:samples], Y[:samples], verbose=0))

    @rule(samples=SIZES)
    def predict(self, samples):
        self.both(lambda model, by: by.predict(model, X[:samples], verbose=0).tobytes())

    @rule(samples=SIZES)
    def train_on_batch(self, samples):
        self.both(lambda model, by: by.train_on_batch(model, X[:samples], Y[:samples, np.newaxis]))

    @rule(samples=SIZES)
    def test_on_batch(self, samples):
        self.both(lambda model, by: by.test_on_batch(model, X[:samples], Y[:samples, np.newaxis]))

    @rule(layer=st.integers(0, 3))
    def toggle_trainable(self, layer):
        def toggle(model, _):
            model.layers[layer].trainable = not model.layers[layer].trainable

        self.both(toggle)

    @rule(rate=st.sampled_from([0.5, 0.01]))
    def change_learning_rate(self, rate):
        def change(model, _):
            model.optimizer.learning_rate = rate

        self.both(change)

    @rule()
    def save_and_load(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.keras"
            for place, model in enumerate(self.models):
                keras.utils.set_random_seed(self.seed)
                model.save(path)
                self.models[place] = keras.models.load_model(path)

    @invariant()
    def the_two_are_the_same(self):
        if self.models:
            theirs, ours = map(state, self.models)
            assert theirs == ours


def state(model):
    optimizer = model.optimizer.variables if model.optimizer else []
    everything = [*model.variables, *optimizer, *model.metrics_variables]
    return [as_array(one).tobytes() for one in everything]


@pytest.mark.timeout(0)
@pytest.mark.filterwarnings("ignore:Skipping variable loading:UserWarning")  # saved untrained
@pytest.mark.filterwarnings("ignore:The model does not have any trainable:UserWarning")
class TestInterleaved(Interleaved.TestCase):
    # Each example is a dozen acts, some of them fits.
    # A sequence is a dozen acts on two models, some of them fits: 50 of them under `make fuzz`.
    settings = settings(stateful_step_count=12, max_examples=max(1, settings().max_examples // 5))
