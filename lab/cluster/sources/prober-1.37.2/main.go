// Command prober probes and runs HTTP hooks with kubelet's own code.
//
// It reads JSON lines, one task each, and answers each with one line: what kubelet would make of
// it. A task names the address that kubelet takes for the pod's.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	kubecontainer "k8s.io/kubernetes/pkg/kubelet/container"
	"k8s.io/kubernetes/pkg/kubelet/lifecycle"
	"k8s.io/kubernetes/pkg/probe"
	grpcprobe "k8s.io/kubernetes/pkg/probe/grpc"
	httpprobe "k8s.io/kubernetes/pkg/probe/http"
	tcpprobe "k8s.io/kubernetes/pkg/probe/tcp"
)

// attempts is kubelet's maxProbeRetries: how often it asks when a probe ends with an error.
const attempts = 3

type task struct {
	Name  string               `json:"name"`
	PodIP string               `json:"podIP"`
	Probe *v1.Probe            `json:"probe,omitempty"`
	Hook  *v1.LifecycleHandler `json:"hook,omitempty"`
	// TimeoutMs replaces the probe's whole seconds.
	TimeoutMs int64 `json:"timeoutMs"`

	// Base and Reference: only say where a redirect from one to the other leads.
	Base      string `json:"base"`
	Reference string `json:"reference"`
}

type verdict struct {
	Name   string `json:"name"`
	Result string `json:"result"`
	Output string `json:"output"`
	Error  string `json:"error,omitempty"`
}

type pods struct{ address string }

func (p pods) GetPod(context.Context, types.UID) (*kubecontainer.Pod, error) {
	return &kubecontainer.Pod{}, nil
}

func (p pods) GetPodStatus(context.Context, *kubecontainer.Pod) (*kubecontainer.PodStatus, error) {
	return &kubecontainer.PodStatus{IPs: []string{p.address}}, nil
}

var (
	byHTTP = httpprobe.New(false)
	byTCP  = tcpprobe.New()
	byGRPC = grpcprobe.New()
)

func once(one task) (probe.Result, string, error) {
	timeout := time.Duration(one.TimeoutMs) * time.Millisecond
	container := &v1.Container{}
	switch p := one.Probe; {
	case p.HTTPGet != nil:
		request, err := httpprobe.NewRequestForHTTPGetAction(p.HTTPGet, container, one.PodIP, "probe")
		if err != nil {
			return probe.Unknown, "", err
		}
		return byHTTP.Probe(request, timeout)
	case p.TCPSocket != nil:
		port, err := probe.ResolveContainerPort(p.TCPSocket.Port, container)
		if err != nil {
			return probe.Unknown, "", err
		}
		return byTCP.Probe(one.PodIP, port, timeout)
	case p.GRPC != nil:
		service := ""
		if p.GRPC.Service != nil {
			service = *p.GRPC.Service
		}
		return byGRPC.Probe(one.PodIP, service, int(p.GRPC.Port), timeout, grpcprobe.ProbeOptions{})
	}
	return probe.Unknown, "no action", nil
}

func hook(one task) verdict {
	// As kubelet makes its client for hooks. One for each task: none finds another's connection.
	client := &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
		CheckRedirect: httpprobe.RedirectChecker(false),
	}
	defer client.CloseIdleConnections()
	runner := lifecycle.NewHandlerRunner(client, nil, pods{one.PodIP}, nil)
	ended := make(chan verdict, 1)
	go func() {
		said, err := runner.Run(context.Background(), kubecontainer.ContainerID{}, &v1.Pod{}, &v1.Container{}, one.Hook)
		answer := verdict{Name: one.Name, Result: "success", Output: said}
		if err != nil {
			answer.Result, answer.Error = "failure", err.Error()
		}
		ended <- answer
	}()
	// kubelet does not wait longer than the pod's grace period.
	select {
	case answer := <-ended:
		return answer
	case <-time.After(time.Duration(one.TimeoutMs) * time.Millisecond):
		return verdict{Name: one.Name, Result: "waiting"}
	}
}

func leads(one task) verdict {
	base, err := url.Parse(one.Base)
	if err != nil {
		return verdict{Name: one.Name, Result: "bad base"}
	}
	to, err := base.Parse(one.Reference)
	if err != nil {
		return verdict{Name: one.Name, Result: "failure", Error: err.Error()}
	}
	said := to.Scheme + " " + to.Hostname() + " " + to.Port() + " " + to.RequestURI()
	return verdict{Name: one.Name, Result: "success", Output: said}
}

func judge(one task) verdict {
	if one.Base != "" {
		return leads(one)
	}
	if one.Hook != nil {
		return hook(one)
	}
	var result probe.Result
	var output string
	var err error
	for range attempts {
		if result, output, err = once(one); err == nil {
			return verdict{Name: one.Name, Result: string(result), Output: output}
		}
	}
	return verdict{Name: one.Name, Result: string(probe.Failure), Output: output, Error: err.Error()}
}

func main() {
	klog.InitFlags(nil)
	_ = flag.Set("logtostderr", "false")
	klog.SetOutput(io.Discard)
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<24)
	answers := json.NewEncoder(os.Stdout)
	var lock sync.Mutex
	var open sync.WaitGroup
	for lines.Scan() {
		var one task
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			klog.Fatal(err)
		}
		open.Add(1)
		go func() {
			defer open.Done()
			answer := judge(one)
			lock.Lock()
			defer lock.Unlock()
			_ = answers.Encode(answer)
		}()
	}
	open.Wait()
}
