"""Frozen encoders that the student learns from: frames (B, 1, H, W) -> features (B, C, h, w).

base           Teacher: resizes and normalizes frames, runs one frozen encoder
checkpoint     reading published weights, strictly
medsam2, rad_dino, medclip, lite_medsam   one family of encoders each
backbone       any timm or transformers backbone
convert, onnx_weights   a file's tensors -> the model's
packaged       weights that come inside a Python package
placebo        a teacher that knows nothing
download       where the published weights are
similarity     how alike two teachers' features are
recipes        how the small teachers were trained on the phantom
"""
