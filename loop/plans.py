"""From the name of a plan to the call that runs by it."""

from collections.abc import Callable

from loop.fastest import fastest_way
from loop.function import StepByStep, StepGraphs
from loop.fused import Fused
from loop.types import Call, Source


def make_call(plan: str, graphs: StepGraphs, source: Source, say: Callable[[str], None]) -> Call:
    """The call that runs a step on the batches of a source.

    Args:
        plan: One of `loop.types.PLANS`.
        graphs: The step.
        source: Where the batches come from.
        say: Tells the user what `fastest` has measured.
    """
    if plan == "step":
        return StepByStep(graphs)
    way, must_fuse = _WAY_OF[plan], plan != "auto"
    return Fused(graphs, source, way, way is exact_way, must_fuse, say)


def exact_way(_: Fused) -> str:
    """Never other bits than those of Keras."""
    return "fused"


def xla_way(fused: Fused) -> str:
    """Loop and all in XLA, or its steps only."""
    ways, _ = fused.ways()
    return ways[-1]


_WAY_OF = {"auto": exact_way, "fused": exact_way, "xla": xla_way, "fastest": fastest_way}
