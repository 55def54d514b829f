"""Masks that hold together: holes filled, specks dropped, and of what is one body one part, chosen along the film."""
