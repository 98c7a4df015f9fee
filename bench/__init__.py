"""What a fit costs: workloads under engines, measured with the clocks of `compare.timing`."""
