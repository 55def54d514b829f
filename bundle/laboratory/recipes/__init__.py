"""Recipes that train the small teachers on the synthetic phantom: one file per specialty."""
