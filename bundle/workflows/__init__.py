"""Whole runs made of the stages' configs: the demo, and the baselines it is compared with."""
