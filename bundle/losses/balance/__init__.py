"""Balancers: how the teachers' losses become one, one class per file.

Each is called as ``balancer(losses, embedding)`` with the teachers' losses of every image ``(K, B)``, in the order of
the teachers, and the student's features ``(B, C, h, w)`` or summary ``(B, C)``; it returns :class:`Balanced`. The
weights of an image multiply its own losses and depend on no other image.
"""

from bundle.losses.balance.attention import Attention
from bundle.losses.balance.attention_entropy_floor import AttentionEntropyFloor
from bundle.losses.balance.balanced import Balanced
from bundle.losses.balance.equal import Equal
from bundle.losses.balance.highest_loss_first import HighestLossFirst
from bundle.losses.balance.mlp import Mlp
from bundle.losses.balance.static import Static
from bundle.losses.balance.teacher_dropping import TeacherDropping
from bundle.losses.balance.uncertainty import Uncertainty

__all__ = [
    "Attention",
    "AttentionEntropyFloor",
    "Balanced",
    "Equal",
    "HighestLossFirst",
    "Mlp",
    "Static",
    "TeacherDropping",
    "Uncertainty",
]
