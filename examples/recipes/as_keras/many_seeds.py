"""The same as `examples/recipes/many_seeds.py`, as a loop over `model.fit`."""

import keras

from examples.recipes import many_seeds


def fit(_, seeds, **arguments):
    """Train all seeds; return each log of the last epoch, a value for each seed."""
    histories = []
    for seed in seeds:
        keras.utils.set_random_seed(seed)
        histories.append(many_seeds.build().fit(**arguments).history)
    return {name: [history[name][-1] for history in histories] for name in histories[0]}


def build():
    """Return a model that is not trained: `fit` builds its own."""
    return many_seeds.build()
