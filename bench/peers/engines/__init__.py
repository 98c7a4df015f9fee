"""One module a framework; each has `prepare(samples, epochs, batch_size) -> train`.

Each is written as someone who knows the framework would write it. Where two ways do the same, the
faster one is taken. All keep loss and accuracy of an epoch, and read them once, at its end.
"""
