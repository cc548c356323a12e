"""Byte streams: transforms and codecs."""
