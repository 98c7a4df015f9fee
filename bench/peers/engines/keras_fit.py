"""`keras.Model.fit` with its defaults, on the backend that KERAS_BACKEND names."""

import keras

from bench.peers.workload import FEATURES, SEED, UNITS, Train, data, initial_weights


def build_model() -> keras.Model:
    """Return the compiled model; its optimizer is Keras's Adam with its defaults."""
    keras.utils.set_random_seed(SEED)
    layers = [
        keras.Input((FEATURES,)),
        keras.layers.Dense(UNITS, "relu"),
        keras.layers.Dense(1, "sigmoid"),
    ]
    model = keras.Sequential(layers)
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    model.set_weights(initial_weights())
    return model


def prepare(samples: int, epochs: int, batch_size: int) -> Train:
    """Prepare a fit by Keras 3."""
    x, y = data(samples)
    model = build_model()

    def train() -> float:
        history = model.fit(x, y, batch_size=batch_size, epochs=epochs, verbose=0)
        return float(history.history["loss"][-1])  # a float: the device has finished

    return train
