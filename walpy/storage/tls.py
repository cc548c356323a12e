"""TLS on a socket: apart, because importing ssl costs 8 ms that plain connections do not need."""

import socket
import ssl


def secured(plain: socket.socket, host: str, ca_file: str) -> ssl.SSLSocket:
    """The socket with TLS, the server's name verified. ca_file: certificates to trust; empty: the system's.

    Raises OSError (ssl.SSLError is one).
    """
    return ssl.create_default_context(cafile=ca_file or None).wrap_socket(plain, server_hostname=host)
