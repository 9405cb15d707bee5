"""What tells a sensor's fault from the machine's, one concern a file; put together in models/detectors/quality.py."""
