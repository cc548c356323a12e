"""An S3 server cheap enough not to hide the client under test; no signature is checked. `python -m benchmarks.sink`."""
