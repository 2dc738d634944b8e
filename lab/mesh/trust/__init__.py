"""Keeps the root certificate in every namespace, the webhook's certificate and its caBundle."""
