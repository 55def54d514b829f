"""Single experiments beside the studies."""
