"""Pictures of poses, and of what the network looked at."""

from gtpt.viz.picture import Picture
from gtpt.viz.poses import draw_poses
from gtpt.viz.pruning import draw_kept_patches, explain

__all__ = ["Picture", "draw_kept_patches", "draw_poses", "explain"]
