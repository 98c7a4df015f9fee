"""Many steps in one compiled call: plans `fused`, `xla`, `auto` and `fastest`."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import tensorflow as tf

from loop._keras import is_distributed
from loop.compiled import (
    concrete,
    flat_call,
    graph,
    kept,
    kinds_of_ops,
    why_not_in_a_loop,
    why_regrouped,
)
from loop.data import ArraySource
from loop.function import StepByStep, StepGraphs
from loop.in_graph import RECORDED, Steps, many_steps
from loop.pace import Pace
from loop.types import Logs, Pass, Source, Structure

Program = Callable[[Structure, tf.Tensor, tf.Tensor], tuple[Logs, Logs]]
"""`program(inputs, place, count)`, place and count int64: the last logs, and those of each step."""

INT64 = tf.TensorSpec([], tf.int64)

WAYS = ("fused", "fused over XLA steps", "xla")
"""How many steps share a call: in a loop of TensorFlow's over steps as Keras compiles them, in one
over steps compiled with XLA, or loop and all in XLA."""


class Fused:
    """Many steps in one compiled call, as many as nobody watches.

    Where steps cannot share a call, it runs one after the other; `why_not` says why.

    Attributes:
        graphs: The step.
        source: Where its batches come from.
        say: Tells the user something.
    """

    def __init__(
        self,
        graphs: StepGraphs,
        source: Source,
        choose_way: Callable[["Fused"], str],
        keeps_bits: bool,
        must_fuse: bool,
        say: Callable[[str], None],
    ):
        self.graphs = graphs
        self.source = source
        self.say = say
        self.choose_way = choose_way
        self._keeps_bits = keeps_bits
        self._must_fuse = must_fuse
        self._one_by_one = StepByStep(graphs)

    @property
    def way(self) -> str:
        """Which of `WAYS` it goes. Traces the step."""
        return self.choose_way(self)

    @property
    def pace(self) -> Pace:
        """How fast such calls have run so far, in this fit and those before."""
        return kept(self.graphs.owner, ("pace", self.graphs.key, self.choose_way), Pace)

    def steps_within(self, seconds: float) -> int:
        """About how many steps take so long: one before the first call, and where none can fuse."""
        return self.pace.steps_within(seconds)

    def __call__(self, batches: Pass, count: int, each: bool = False) -> list[Logs]:
        """Runs `count` batches, or what is left of the pass, in one call.

        Raises:
            ValueError: These steps cannot share a call, and the plan says they must.
        """
        if reason := self.why_not():
            if self._must_fuse:
                raise ValueError(
                    f"This plan needs steps that can share a call, but {reason}. Under "
                    'plan="auto" such steps run one by one.'
                )
            return self._one_by_one(batches, count, each)
        if self.source.num_batches is not None:  # the last execution may reach beyond the pass
            count = min(count, self.source.num_batches - batches.place)
        every: list[Logs] = []
        while count > 0:
            together = min(count, RECORDED) if each else count
            every += self._run(batches, together, each)
            count -= together
        return every

    def _run(self, batches: Pass, count: int, each: bool) -> list[Logs]:
        alone = count == 1 and self.pace.is_quick
        program = self.single(self.way) if alone else self.program(self.way, each)
        started = time.perf_counter()
        last, recorded = program(batches.inputs, _int64(batches.place), _int64(count))
        batches.place += count
        if alone or not each:
            self.pace.measure(count, started, last)
            return [last]
        rows = {name: values.numpy() for name, values in recorded.items()}  # one read for each log
        self.pace.measure(count, started, last)
        return [{name: values[place] for name, values in rows.items()} for place in range(count)]

    def why_not(self) -> str | None:
        """Why these steps cannot share a call; None where they can. Traces the step."""
        model = self.graphs.model
        if model.run_eagerly or tf.config.functions_run_eagerly():
            return "the step runs eagerly, as it was told to"
        if is_distributed(model):
            return "the model runs on replicas"
        if self.source.num_batches == 0:
            return "there is no batch to run"
        if self.source.num_batches is None and not self.source.is_endless:
            return (
                "nobody knows how many batches there are until they run dry "
                "(of a dataset, tf.data.experimental.assert_cardinality can tell)"
            )
        one = self.graphs.compiled().on_batch
        reason = kept(self.graphs.owner, ("why not", one), lambda: why_not_in_a_loop(one))
        if reason or not self._keeps_bits or model.steps_per_execution > 1:
            return reason  # where Keras runs loops itself, sums are added up as in ours
        regrouped = partial(why_regrouped, one, model.jit_compile)
        return kept(self.graphs.owner, ("why regrouped", one), regrouped)

    def program(self, way: str, each: bool = False) -> Program:
        """The compiled call: what `many_steps` says."""
        one, in_xla = self.one(way), way == "xla"
        signature = self.source.signature(static=in_xla)

        def run(inputs: Structure, place: tf.Tensor, count: tf.Tensor) -> tuple[Logs, Logs]:
            return many_steps(Steps(one, self.source), inputs, place, count, each, in_xla)

        def make() -> Program:
            compiled = graph(run, jit_compile=True if in_xla else None)
            return flat_call(concrete(compiled, signature, INT64, INT64))

        key = ("steps", one, each, in_xla, built_in(self.source), repr(signature))
        return kept(self.graphs.owner, key, make)

    def single(self, way: str) -> Program:
        """The same for one step: without the loop, which takes longer than a small step."""
        one = self.one(way)

        def run(inputs: Structure, place: tf.Tensor, count: tf.Tensor) -> tuple[Logs, Logs]:
            del count  # it is 1
            return one(self.source.draw(inputs, place)), {}

        def make() -> Program:
            compiled = graph(run, jit_compile=None)
            return flat_call(concrete(compiled, self.source.signature(), INT64, INT64))

        key = ("step", one, built_in(self.source), self.graphs.key)
        return kept(self.graphs.owner, key, make)

    def one(self, way: str) -> Any:
        """The concrete function of one step: as Keras compiles it, or compiled with XLA."""
        compiled = self.graphs.compiled()
        if way != "fused over XLA steps" or self.graphs.model.jit_compile:
            return compiled.on_batch

        def make() -> Any:
            jitted = graph(lambda batch: compiled.on_batch(batch), jit_compile=True)
            return concrete(jitted, self.graphs.spec)

        return kept(self.graphs.owner, ("xla", compiled.on_batch), make)

    def ways(self) -> tuple[list[str], dict[str, str]]:
        """Which of `WAYS` it could go, and why it could not go the others."""
        left_out: dict[str, str] = {}
        if built_in(self.source) is None:
            left_out["xla"] = "XLA cannot draw from a dataset"
        elif not tf.config.list_logical_devices("GPU"):
            one = self.graphs.compiled().on_batch
            kinds = kept(self.graphs.owner, ("ops", one), lambda: kinds_of_ops(one))
            if any(kind.startswith(("Conv", "DepthwiseConv")) for kind in kinds):
                left_out["xla"] = "on CPU, XLA runs convolutions in a loop ten times slower"
        if self.graphs.model.jit_compile:
            left_out["fused over XLA steps"] = "the steps are compiled with XLA already"
        return [way for way in WAYS if way not in left_out], left_out


def _int64(number: int) -> tf.Tensor:
    return tf.constant(number, tf.int64)


def built_in(source: Source) -> tuple[int, bool] | None:
    """What a graph that draws batches by place has built in; None for a dataset, which it asks."""
    if not isinstance(source, ArraySource):
        return None
    return source.batch_size, source.last_is_short
