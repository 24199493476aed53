// Command localcluster is a whole Kubernetes cluster in one binary: it runs as
// etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubectl, or,
// for a real node, as kubelet or kube-proxy, according to the name it is called
// by, or else to its first argument. One binary instead of seven because they
// share nearly all their code: it builds in half the time and takes a fifth of
// the disk.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // kubectl: exec and OIDC credentials
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // client metrics on /metrics
	_ "k8s.io/component-base/metrics/prometheus/version"  // kubernetes_build_info
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// programs maps a program's name to its entry point, which gets the arguments
// as the program itself would (args[0] is its name) and returns the exit code.
var programs = map[string]func(args []string) int{
	"etcd":                    runEtcd,
	"kube-apiserver":          runCobra(apiserver.NewAPIServerCommand),
	"kube-controller-manager": runCobra(controllers.NewControllerManagerCommand),
	"kube-scheduler":          runCobra(func() *cobra.Command { return scheduler.NewSchedulerCommand() }),
	"kube-proxy":              runCobra(proxy.NewProxyCommand),
	"kubelet":                 runCobra(func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) }),
	"kubectl":                 runKubectl,
}

func main() {
	args := os.Args
	run, found := programs[filepath.Base(args[0])]
	if !found && len(args) > 1 {
		args = args[1:]
		run, found = programs[args[0]]
	}
	if !found {
		fmt.Fprintf(os.Stderr, "usage: localcluster PROGRAM [FLAGS], or a link to it named as the program\nprograms: %s\n", programNames())
		os.Exit(2)
	}
	// The components read os.Args themselves for their usage texts and defaults.
	os.Args = args
	os.Exit(run(args))
}

func programNames() string {
	names := make([]string, 0, len(programs))
	for name := range programs {
		names = append(names, name)
	}
	sort.Strings(names)
	return strings.Join(names, ", ")
}

func runEtcd(args []string) int {
	etcdmain.Main(args) // exits by itself on failure
	return 0
}

func runCobra(newCommand func() *cobra.Command) func([]string) int {
	return func([]string) int { return cli.Run(newCommand()) }
}

func runKubectl([]string) int {
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		// kubectl prints its own, shorter form of an error, and picks the exit code.
		kubectlutil.CheckErr(err)
	}
	return 0
}
