"""What is done with runs once they are there: ``purerl evaluate``, ``plot``, ``play``, ``export``, ``reproduce``."""
