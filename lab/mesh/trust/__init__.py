"""Maintains each namespace's root certificate, the webhook's certificate and its caBundle."""
