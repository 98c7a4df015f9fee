"""One process for the suite: TensorFlow takes seconds to import, graphs are what tests wait for."""

import compare  # noqa: F401 - imports TensorFlow quietly, before anything else does
