"""Kubelet's prober beside the agent's, on a table of odd servers."""
