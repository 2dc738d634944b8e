"""The changes that `lab explain` proposes for the pod and for the webhook. Pure.

Each change has its commands for a shell and its effect on a Situation.
"""
