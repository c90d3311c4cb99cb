"""The cases of the conformance suite, a file a family. A new algorithm is a new entry of its family's ``CASES``."""
