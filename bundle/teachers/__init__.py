"""Frozen encoders that the student learns from: frames (B, 1, H, W) -> features (B, C, h, w).

base           Teacher: resizes and normalizes frames, runs one frozen encoder
medsam2, rad_dino, medclip, lite_medsam, efficientnet_lite0   one family of encoders each
backbone       any timm or transformers backbone; convert: a file's tensors -> the model's
derived        a teacher on a coarser grid, or with random weights
find, download where weights are on this machine, and where they are published
similarity     how alike two teachers' features are
"""
