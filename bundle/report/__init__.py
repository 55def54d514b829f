"""One self-contained HTML page per study: the cine with its masks, curves over time, key frames, measures."""

from bundle.report.write import write_report

__all__ = ["write_report"]
