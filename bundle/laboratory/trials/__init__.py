"""Killing runs and damaging files, to see that nothing is lost."""
