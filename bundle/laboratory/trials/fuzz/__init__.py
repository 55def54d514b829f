"""Damaged files by the thousand: what is no clip must be refused, and never crash, hang or fill the memory."""
