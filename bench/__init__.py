"""What a fit costs: workloads under engines, measured with the clocks of `compare.timing`."""

import compare  # noqa: F401 - keeps TensorFlow quiet while it is imported
