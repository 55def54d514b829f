"""A synthetic videofluoroscopic swallowing study: anatomy, motion, X-ray formation, masks, truth. No patient in it."""

from bundle.phantom.dataset import make_phantom_dataset
from bundle.phantom.study import PhantomStudy, generate_study

__all__ = ["PhantomStudy", "generate_study", "make_phantom_dataset"]
