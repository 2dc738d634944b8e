"""Trust: the root certificate in every namespace, the webhook's certificate and caBundle."""
