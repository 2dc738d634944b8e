"""Changes, each with its commands and its effect: to the pod and to the webhook. Pure."""
