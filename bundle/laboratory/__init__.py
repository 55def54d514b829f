"""Experiments, benchmarks, trials and recipes: imports the product, never the other way, never packed."""
