"""Training: the loop and its learning rate, the order of batches, several processes, checkpoints, log and device."""
