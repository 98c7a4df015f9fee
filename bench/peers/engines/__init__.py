"""One module a framework; each has `prepare(samples, epochs, batch_size) -> train`.

Each is written as somebody who knows the framework would write it; of equivalent ways the fastest
is taken. All accumulate loss and accuracy over an epoch and read them once, at its end.
"""
