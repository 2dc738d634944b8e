//go:build components

// Package components names the commands of real Istio that the lab compares
// itself with, so that `go mod tidy` keeps exactly their dependencies in go.sum.
package components

import (
	_ "istio.io/istio/istioctl/cmd/istioctl"
	_ "istio.io/istio/pilot/cmd/pilot-agent"
	_ "istio.io/istio/pilot/cmd/pilot-discovery"
)
