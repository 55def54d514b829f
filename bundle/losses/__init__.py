"""Losses of both phases; see ``docs/concepts/losses.md``.

statistics     streaming mean and covariance of a teacher's features
standardize    invertible maps of teacher features to unit variance (PHI-S and its alternatives)
fit            run the teachers once, keep their statistics, build the standardizers
distances      how far the student's features are from a teacher's
balance        how the teachers' losses become one
distillation   phase 1: all of the above in one loss
segmentation   phase 2: masks, IoU prediction and presence; with phase 1's loss beside it
"""
