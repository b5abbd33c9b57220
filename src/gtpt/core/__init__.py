"""What everything else is built on: arrays, skeletons, geometry. It needs numpy, and imports nothing above it."""
