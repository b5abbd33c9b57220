"""Where the tokens of each group lie once all groups are one axis of a tensor: plain numbers, read off the config.

A group's tokens are: slots for its coarse keypoints (the largest group fills them; in others the last slots hold zeros that
nobody asks or reads), its fine keypoints, its visual tokens. A prune keeps a number of fine and visual tokens together,
so all groups have the same number of tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from gtpt.core.skeleton import KeypointGroup


@dataclass(frozen=True)
class GroupRows:
    """Where the tokens of one group are.

    Attributes:
        parts, joints: rows of its parts and coarse keypoints among the side tokens of the coarse encoder.
        fine_tokens: its rows of the fine keypoint tokens.
        part_of_fine: row of the side token that each fine keypoint grows from.
        keypoints: its rows, within the group, of coarse and fine keypoints.
        image: row, within the group, of its first visual token.
    """

    parts: range
    joints: range
    fine_tokens: range
    part_of_fine: list[int]
    keypoints: list[int]
    image: int


class Layout:
    """Where the tokens of all groups are.

    Attributes:
        groups: one by one.
        slots: rows at the start of each group for coarse keypoints.
        side: rows at the start of each group within which its keypoints are; the same number in all groups.
        outputs: rows of the keypoints in output order, once G groups of `side` rows are one axis.
    """

    def __init__(self, groups: Sequence[KeypointGroup]):
        fine = [[len(points) for _, points in g.parts] for g in groups]  # of each part
        parts = _ranges(0, [len(f) for f in fine])
        joints = _ranges(parts[-1].stop, [len(g.keypoints) for g in groups])
        fine_tokens = _ranges(0, [sum(f) for f in fine])
        self.slots = max(map(len, joints))
        self.groups = [
            GroupRows(
                parts=parts[i],
                joints=joints[i],
                fine_tokens=fine_tokens[i],
                part_of_fine=[part for part, count in zip(parts[i], fine[i], strict=True) for _ in range(count)],
                keypoints=[*range(len(joints[i])), *range(self.slots, self.slots + sum(fine[i]))],
                image=self.slots + sum(fine[i]),
            )
            for i in range(len(groups))
        ]
        self.side = max(g.image for g in self.groups)
        keypoints = [k for g in groups for k in (*g.keypoints, *g.fine)]
        found = [i * self.side + row for i, g in enumerate(self.groups) for row in g.keypoints]
        self.outputs = [row for _, row in sorted(zip(keypoints, found, strict=True))]

    def answering(self, tokens: int) -> list[int]:
        """Whom each group asks: the coarse keypoints of all groups, then its own other tokens.

        Args:
            tokens: of a group, T.

        Returns:
            Rows of all groups' tokens as one axis (G * T), group by group.
        """
        starts = [i * tokens for i in range(len(self.groups))]
        coarse = [start + slot for start, g in zip(starts, self.groups, strict=True) for slot in range(len(g.joints))]
        return [row for start in starts for row in (*coarse, *range(start + self.slots, start + tokens))]


def _ranges(start: int, counts: Sequence[int]) -> list[range]:
    """Ranges of these lengths, one after the other."""
    return [range(*ends) for ends in pairwise(accumulate(counts, initial=start))]
