"""The table of peers: other engines that train the same model."""

from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAIN = ROOT / ".venv/bin/python"
PEERS = ROOT / ".venv-peers/bin/python"


@dataclass(frozen=True)
class Peer:
    """An engine and the environment it runs in.

    Attributes:
        name: What `--only` calls it.
        title: What the table calls it.
        engine: Its `prepare`, as `module:function` below `bench.peers.engines`.
        python: The interpreter that has its framework.
        packages: Distributions whose versions are recorded; the table shows the first.
        variables: Environment variables for this peer only.
    """

    name: str
    title: str
    engine: str
    python: Path
    packages: tuple[str, ...]
    variables: dict[str, str] = field(default_factory=dict)


ON_TF, ON_JAX = {"KERAS_BACKEND": "tensorflow"}, {"KERAS_BACKEND": "jax"}
KERAS, OURS = ("keras", "tensorflow", "numpy"), ("glassfit", "keras", "tensorflow", "numpy")
LEGACY = ("tf_keras", "tensorflow-cpu", "numpy")
ORBIT = ("tf-models-official", *LEGACY)
JAX, TORCH = ("jax", "jaxlib", "numpy"), ("torch", "numpy")

ALL = (
    Peer("keras", "keras fit", "keras_fit:prepare", MAIN, KERAS, ON_TF),
    Peer("auto", "loop.fit auto", "glassfit:prepare_auto", MAIN, OURS, ON_TF),
    Peer("fastest", "loop.fit fastest", "glassfit:prepare_fastest", MAIN, OURS, ON_TF),
    Peer("tf_keras", "tf_keras fit", "legacy_keras:prepare", PEERS, LEGACY),
    Peer("orbit", "Orbit", "orbit_loop:prepare", PEERS, ORBIT),
    Peer("keras_jax", "keras fit, JAX", "keras_fit:prepare", PEERS, ("keras", *JAX), ON_JAX),
    Peer("jax", "JAX lax.scan", "jax_scan:prepare", PEERS, JAX),
    Peer("torch", "PyTorch eager", "torch_eager:prepare", PEERS, TORCH),
    Peer("lightning", "Lightning", "lightning_fit:prepare", PEERS, ("pytorch-lightning", *TORCH)),
)
REFERENCE = ALL[0]


def find(names: list[str]) -> list[Peer]:
    """Return the peers of these names, all for an empty list; the reference always comes first.

    Raises:
        KeyError: There is no such peer; the message lists them.
    """
    known = [peer.name for peer in ALL]
    for name in names:
        if name not in known:
            raise KeyError(f"Unknown peer: expected some of {known}, got {name!r}.")
    return [peer for peer in ALL if not names or peer.name in names or peer is REFERENCE]
