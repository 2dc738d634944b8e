"""What a pod looks like now: API, sockets, routes, netfilter, processes, Envoy. Never asserts."""
