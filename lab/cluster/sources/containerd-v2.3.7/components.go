//go:build components

// Package components names the commands the lab is built from, so that
// `go mod tidy` keeps exactly their dependencies in go.sum.
package components

import (
	_ "github.com/containerd/containerd/v2/cmd/containerd"
	_ "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"
	_ "github.com/containerd/containerd/v2/cmd/ctr"
)
