"""MLP balancing, as published in arXiv 2504.02351."""

from torch import Tensor, nn

from bundle.losses.balance.balanced import Balanced, check_teachers, weigh


class Mlp(nn.Module):
    """α = softmax(W₂ σ(W₁ L + b₁) + b₂) over the vector L of an image's losses.

    It has the same incentive to prefer the easiest teacher as :class:`Attention`. What the paper leaves open and we
    chose: σ is ReLU; W₂ and b₂ start at zero, hence equal weights; L is read as numbers, without a gradient.

    Args:
        num_teachers: Number ``K`` of teachers.
        hidden_dim: Length of the hidden layer.
    """

    def __init__(self, num_teachers: int, hidden_dim: int = 16) -> None:
        super().__init__()
        self.num_teachers = num_teachers
        self.hidden = nn.Sequential(nn.Linear(num_teachers, hidden_dim), nn.ReLU())
        self.score = nn.Linear(hidden_dim, num_teachers)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def forward(self, losses: Tensor, embedding: Tensor) -> Balanced:  # (K, B), (B, C, h, w)  # noqa: ARG002 - one call
        check_teachers(losses, self.num_teachers)
        return weigh(losses, self.score(self.hidden(losses.detach().T)).softmax(dim=1).T)
