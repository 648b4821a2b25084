"""Training: the loop, the order of its batches, checkpoints, the device."""
