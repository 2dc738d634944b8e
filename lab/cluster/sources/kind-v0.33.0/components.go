//go:build components

// Package components names the commands the lab is built from, so that
// `go mod tidy` keeps exactly their dependencies in go.sum.
package components

import (
	_ "sigs.k8s.io/kind"
)
