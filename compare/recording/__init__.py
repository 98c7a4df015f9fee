"""What a training leaves behind, and whether two of them are the same to the last bit."""
