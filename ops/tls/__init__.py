"""tls: the certificate authorities of the transport, what they issue, and whom they took it back from."""
