from bundle.data.readers import read_clip
from bundle.export.model_card import load_segmenter
from bundle.inference.run import segment
from bundle.metrics.kinematics import measure_swallow

__all__ = ["load_segmenter", "measure_swallow", "read_clip", "segment"]
