"""`tf_keras.Model.fit`: Keras 2 with its defaults."""

import tf_keras

from bench.peers.workload import FEATURES, SEED, UNITS, Train, data, initial_weights


def build_model() -> tf_keras.Model:
    """Return the model, not compiled."""
    tf_keras.utils.set_random_seed(SEED)
    layers = [
        tf_keras.Input((FEATURES,)),
        tf_keras.layers.Dense(UNITS, "relu"),
        tf_keras.layers.Dense(1, "sigmoid"),
    ]
    model = tf_keras.Sequential(layers)
    model.set_weights(initial_weights())
    return model


def prepare(samples: int, epochs: int, batch_size: int) -> Train:
    """Prepare a fit by Keras 2."""
    x, y = data(samples)
    model = build_model()
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])

    def train() -> float:
        history = model.fit(x, y, batch_size=batch_size, epochs=epochs, verbose=0)
        return float(history.history["loss"][-1])

    return train
