"""Training with PyTorch Lightning: experiment files, the global perceived loss, averaged weights, exact resume."""
