"""What to change, as commands with their effect: on the pod's side and on the webhook's. Pure."""
