"""How the weights in models/ are made."""
