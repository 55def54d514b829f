"""Data lists of public films and scans."""
