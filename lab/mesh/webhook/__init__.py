"""The program webhook: an HTTPS server that injects pods when an API server admits them."""
