"""What everything else is built on: arrays, skeletons, geometry. It imports nothing above it,
and needs no more than numpy, OpenCV to cut crops out, and YAML and pydantic for skeleton files.
"""
