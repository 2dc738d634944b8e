"""Implements `lab kube-inject`: the injector on files, without the cost of click."""
