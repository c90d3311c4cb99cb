"""The algorithms, one family a folder. Families do not import each other; what they share is a kernel."""
