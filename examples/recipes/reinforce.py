"""Learn a policy without data: the environment is part of the graph.

For an environment that can be written with TensorFlow: here 32 poles to balance on carts, played at
once. A step plays an episode, then makes likelier what went better (Williams, 1992, REINFORCE).
"""

import sys

import keras
import tensorflow as tf

import loop

CARTS, LONGEST, MOMENT = 32, 200, 0.02  # environments; moments of an episode; seconds of a moment

CLAIM = (
    "poles stand for {before:.0f} moments in the first epoch, for {after:.0f} of 200 in the last"
)
HOLDS = {"before": (10, 60), "after": (180, 200)}


def build():
    """Return the policy `[carts, 4] -> [carts, 1]`, the logit of a push to the right."""
    layers = [keras.layers.Dense(32, "tanh"), keras.layers.Dense(1)]
    policy = keras.Sequential([keras.Input((4,)), *layers])
    optimizer = keras.optimizers.Adam(0.01)
    dice = keras.random.SeedGenerator(0)
    return loop.State(policy=policy, opt=(optimizer, "policy"), dice=dice)


def data():
    """Return no data, but the number of steps."""
    return {"steps_per_epoch": 10, "epochs": 2}


class Carts:
    """The environment: poles to balance on carts, pushed left or right by 10 N at each moment.

    The physics are those of Barto, Sutton and Anderson (1983), as in Gymnasium's CartPole.
    """

    @staticmethod
    def moved(carts, right):
        """Return place, speed, angle and turning speed, `[carts, 4]`, a moment after a push."""
        _, speed, angle, turn = tf.unstack(carts, axis=1)
        pushed = (tf.where(right, 10.0, -10.0) + 0.05 * turn**2 * tf.sin(angle)) / 1.1
        falling = 9.8 * tf.sin(angle) - tf.cos(angle) * pushed
        faster_turn = falling / (0.5 * (4 / 3 - 0.1 * tf.cos(angle) ** 2 / 1.1))
        faster = pushed - 0.05 * faster_turn * tf.cos(angle) / 1.1
        return carts + MOMENT * tf.stack([speed, faster, turn, faster_turn], axis=1)

    @classmethod
    def play(cls, policy, dice):
        """Return carts `[time, carts, 4]`, pushes to the right, and what stands after them.

        The last two are `[time, carts]`, bool, and float32: 1 until the pole has fallen, then 0.
        """
        start = keras.random.uniform((CARTS, 4), -0.05, 0.05, seed=dice)
        draws = keras.random.uniform((LONGEST, CARTS), seed=dice)

        def next_moment(before, draw):
            carts, *_, stands = before
            right = draw < tf.sigmoid(policy(carts)[:, 0])
            new = cls.moved(carts, right)
            within = (tf.abs(new[:, 0]) < 2.4) & (tf.abs(new[:, 2]) < 0.2095)  # meters, radians
            return new, carts, right, stands * tf.cast(within, "float32")

        first = start, start, draws[0] < 0.5, tf.ones(CARTS)
        return tf.scan(next_moment, draws, first)[1:]


def regret(policy, carts, right, stands):
    """Return a scalar whose gradient makes pushes likelier that were followed by a longer stand."""
    playing = tf.concat([tf.ones_like(stands[:1]), stands[:-1]], axis=0)
    to_come = tf.cumsum(stands, axis=0, reverse=True)
    carts_left = tf.maximum(tf.reduce_sum(playing, axis=1, keepdims=True), 1.0)
    usual = tf.reduce_sum(to_come, axis=1, keepdims=True) / carts_left  # at this moment
    better = playing * (to_come - usual)
    logits = tf.reshape(policy(tf.reshape(carts, (-1, 4))), right.shape)
    unlikely = tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(right, "float32"), logits)
    return tf.reduce_sum(better * unlikely) / tf.reduce_sum(playing)


def step(state, _):
    """Play an episode in all environments, then update the policy; there is no batch."""
    carts, right, stands = Carts.play(state.policy, state.dice)
    loop.minimize(
        lambda: regret(state.policy, carts, right, stands),
        state.optimizer,
        state.trained_by("opt"),
    )
    return {"stands": loop.mean(tf.reduce_sum(stands) / CARTS)}


def claim(plot=None):
    """Train for 20 epochs of 10 episodes each; print how long the poles stand in each."""
    keras.utils.set_random_seed(0)
    arguments = {"steps_per_epoch": 10, "epochs": 20, "verbose": 0}
    stands = loop.fit(build(), train_step=step, **arguments).history["stands"]
    for epoch, moments in enumerate(stands):
        print(f"epoch {epoch + 1:2}  {moments:5.1f}  {'#' * round(moments / 4)}")
    if plot:
        draw(stands, plot)
    return {"before": stands[0], "after": stands[-1]}


def draw(stands, path):
    """Draw how long the poles stand, by epoch."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(range(1, len(stands) + 1), stands)
    axes.axhline(LONGEST, linestyle=":", color="gray")
    axes.set(xlabel="epoch of ten episodes", ylabel="moments until the pole falls")
    figure.savefig(path)


if __name__ == "__main__":
    print(CLAIM.format(**claim(*sys.argv[1:])))
