"""OpenPGP messages and keys (RFC 9580, RFC 4880): a streaming packet layer over `cryptography`."""
