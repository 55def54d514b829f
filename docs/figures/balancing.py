"""Draw ``balancing.png``: each balancer's weights over steps while the three losses stay constant.

Run from the repository's root: ``python docs/figures/balancing.py``. It prints what it measured; takes a few seconds.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import matplotlib  # noqa: E402 - the repository's root comes first

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from bundle.losses import balance  # noqa: E402
from bundle.losses.balance import relative_entropy  # noqa: E402

LOSSES = torch.tensor([0.300, 0.301, 0.302])
NUM_STEPS, LEARNING_RATE, CHANNELS, WINDOW = 800, 1e-3, 64, 50
# Okabe-Ito: told apart by the color-blind, and by dash in print
STYLES = [("#0072B2", "-"), ("#D55E00", "--"), ("#009E73", ":")]


def make_balancers() -> dict[str, nn.Module]:
    """All balancers, by the title of their panel."""
    return {
        "Equal": balance.Equal(),
        "Static (0.5, 0.3, 0.2)": balance.Static([0.5, 0.3, 0.2]),
        "Attention": balance.Attention(CHANNELS, 3),
        "Mlp": balance.Mlp(3),
        "AttentionEntropyFloor (0.8)": balance.AttentionEntropyFloor(CHANNELS, 3, floor=0.8),
        "Uncertainty": balance.Uncertainty(3),
        f"TeacherDropping, mean of {WINDOW} steps": balance.TeacherDropping(0.5),
        "HighestLossFirst": balance.HighestLossFirst(),
    }


def run(balancer: nn.Module) -> Tensor:
    """Shares of the weights (NUM_STEPS, 3) while Adam minimizes the total over the balancer's own parameters."""
    embedding = torch.randn(4, CHANNELS, 8, 8, generator=torch.Generator().manual_seed(0))
    parameters = list(balancer.parameters())
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE) if parameters else None
    history = []
    for _ in range(NUM_STEPS):
        total, weights = balancer(LOSSES[:, None].expand(3, len(embedding)), embedding)
        history.append(weights.mean(dim=1) / weights.mean(dim=1).sum())
        if optimizer is not None:
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
    return torch.stack(history)


def smooth(shares: Tensor) -> Tensor:
    """Running mean over the last steps, for the balancer that draws."""
    sums = shares.cumsum(dim=0)
    lagged = torch.cat([torch.zeros(WINDOW, 3), sums[:-WINDOW]])
    return (sums - lagged) / torch.arange(1, NUM_STEPS + 1).clamp_max(WINDOW)[:, None]


def main() -> None:
    """Measure, print and draw."""
    torch.manual_seed(0)
    figure, axes = plt.subplots(2, 4, figsize=(13, 5.6), sharex=True, sharey=True, layout="constrained")
    for axis, (title, balancer) in zip(axes.flat, make_balancers().items(), strict=True):
        shares = run(balancer)
        drawn = smooth(shares) if "mean of" in title else shares
        for teacher, (color, dash) in enumerate(STYLES):
            axis.plot(drawn[:, teacher], dash, color=color, linewidth=2.2, label=f"loss {LOSSES[teacher]:.3f}")
        axis.axhline(0.95, color="0.6", linewidth=0.8)
        collapsed = (shares.max(dim=1).values > 0.95).nonzero().flatten().tolist()
        if collapsed and list(balancer.parameters()):
            axis.axvline(collapsed[0], color="0.6", linewidth=0.8)
            axis.annotate(f"0.95 at step {collapsed[0]}", (collapsed[0] + 12, 0.5), fontsize=9, color="0.25")
        axis.set_title(title, fontsize=10.5, loc="left")
        axis.spines[["top", "right"]].set_visible(False)
        entropy = relative_entropy(shares[-1]).item()
        print(f"{title:38s} last {shares[-1].tolist()}  entropy {entropy:.3f}  first over 0.95 {collapsed[:1]}")
    axes[0, 0].set_ylim(-0.03, 1.03)
    figure.supxlabel("optimizer step", fontsize=10.5)
    figure.supylabel("share of the weights", fontsize=10.5)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), ncols=3, loc="outside upper center", frameon=False)
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=130)


if __name__ == "__main__":
    main()
