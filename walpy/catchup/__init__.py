"""Brings a standby forward that is too far behind to stream: through the archive, or from host to host."""
