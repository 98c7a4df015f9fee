"""What results depend on: the versions, the machine, and the Keras release that `loop` mirrors."""
