"""The program pilot-agent: starts and supervises Envoy, forwards xDS, answers kubelet."""
