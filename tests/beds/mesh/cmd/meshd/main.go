// Meshd is istiod's generator of Envoy configuration without a cluster: it reads Istio's objects
// and what they refer to from YAML files, and serves xDS to any Envoy that asks.
//
//	meshd -mesh mesh.yaml -objects FOLDER -ports ports.json
//
// It serves on free ports of 127.0.0.1 and writes their addresses to -ports once it is ready. Objects
// of Istio and EndpointSlices are read again when their files change; all others (Service, Pod,
// Namespace) once, at the start. An object that Istio's own validation refuses stops the start; in a
// file that changed it is reported as REFUSED, and all objects stay as they were.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"istio.io/istio/pilot/pkg/config/kube/crd"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/mesh"
	"istio.io/istio/pkg/kube"
	endpoints "k8s.io/api/discovery/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// interval is the time between two looks at the files.
const interval = 100 * time.Millisecond

var (
	meshFile = flag.String("mesh", "mesh.yaml", "the file of the MeshConfig")
	folder   = flag.String("objects", "objects", "the folder of the objects' files, *.yaml")
	ports    = flag.String("ports", "ports.json", "where to write the addresses")
)

func main() {
	flag.Parse()
	meshConfig, err := mesh.ReadMeshConfig(*meshFile)
	if err != nil {
		log.Fatal("the mesh config: ", err)
	}
	text, err := read(*folder)
	if err != nil {
		log.Fatal(err)
	}
	known, err := parse(text.istio)
	if err != nil {
		log.Fatal("REFUSED: ", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := xds.NewFakeDiscoveryServer(process{}, xds.FakeOptions{
		ConfigString:           text.istio,
		KubernetesObjectString: text.others,
		MeshConfig:             meshConfig,
		DebounceTime:           50 * time.Millisecond,
		ListenerBuilder:        func() (net.Listener, error) { return listener, nil },
	})
	debug, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go func() { log.Fatal(http.Serve(debug, server.DiscoveryDebug)) }()
	if err := announce(listener.Addr(), debug.Addr()); err != nil {
		log.Fatal(err)
	}
	log.Printf("READY with %d objects", len(known))
	follow(text, known, server)
}

// objects are the documents of the files: those of Istio's kinds, and all others.
type objects struct{ istio, others string }

var separator = regexp.MustCompile(`(?m)^---[ \t]*$`)

var ofIstio = regexp.MustCompile(`(?m)^apiVersion: *["']?[a-z]+\.istio\.io/`)

func read(folder string) (objects, error) {
	var all objects
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil {
		return all, err
	}
	slices.Sort(files)
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return all, err
		}
		for _, document := range separator.Split(string(content), -1) {
			document = strings.TrimSpace(document)
			if document == "" {
				continue
			}
			if ofIstio.MatchString(document) {
				all.istio += document + "\n---\n"
			} else {
				all.others += document + "\n---\n"
			}
		}
	}
	return all, nil
}

// parse gives the objects by their kind, namespace and name, checked as the admission webhook does.
func parse(text string) (map[string]config.Config, error) {
	parsed, unknown, err := crd.ParseInputs(text)
	if err != nil {
		return nil, err
	}
	if len(unknown) > 0 {
		return nil, fmt.Errorf("%s %s is no kind of Istio", unknown[0].APIVersion, unknown[0].Kind)
	}
	known := map[string]config.Config{}
	for _, object := range parsed {
		// the older of two that contradict each other wins, which must not depend on the clock
		object.CreationTimestamp = time.Unix(1_700_000_000, 0)
		key := fmt.Sprint(object.GroupVersionKind, "/", object.Namespace, "/", object.Name)
		if _, twice := known[key]; twice {
			return nil, fmt.Errorf("%s is there twice", key)
		}
		known[key] = object
	}
	return known, nil
}

// announce writes the addresses, whole or not at all.
func announce(xds, debug net.Addr) error {
	content, err := json.Marshal(map[string]string{"xds": xds.String(), "debug": debug.String()})
	if err != nil {
		return err
	}
	unfinished := *ports + ".unfinished"
	if err := os.WriteFile(unfinished, content, 0o644); err != nil {
		return err
	}
	return os.Rename(unfinished, *ports)
}

// follow keeps what the server knows as the files say.
func follow(last objects, known map[string]config.Config, server *xds.FakeDiscoveryServer) {
	for ; ; time.Sleep(interval) {
		now, err := read(*folder)
		if err != nil || now == last {
			continue
		}
		if now.others != last.others {
			if err := applyEndpoints(now.others, server.KubeClient()); err != nil {
				log.Print("REFUSED: ", err)
			}
		}
		last = now
		next, err := parse(now.istio)
		if err != nil {
			log.Print("REFUSED: ", err)
			continue
		}
		apply(known, next, server.Store())
		known = next
		log.Printf("RELOADED %d objects", len(known))
	}
}

func apply(old, next map[string]config.Config, store model.ConfigStoreController) {
	for key, object := range next {
		var err error
		if there := store.Get(object.GroupVersionKind, object.Name, object.Namespace); there == nil {
			_, err = store.Create(object)
		} else {
			object.ResourceVersion = there.ResourceVersion
			_, err = store.Update(object)
		}
		if err != nil {
			log.Printf("%s: %v", key, err)
		}
	}
	for key, object := range old {
		if _, stays := next[key]; !stays {
			if err := store.Delete(object.GroupVersionKind, object.Name, object.Namespace, nil); err != nil {
				log.Printf("%s: %v", key, err)
			}
		}
	}
}

// applyEndpoints updates the EndpointSlices among these documents.
func applyEndpoints(text string, client kube.Client) error {
	for _, document := range strings.Split(text, "\n---\n") {
		if !strings.Contains(document, "kind: EndpointSlice") {
			continue
		}
		var slice endpoints.EndpointSlice
		if err := yaml.UnmarshalStrict([]byte(document), &slice); err != nil {
			return err
		}
		slices := client.Kube().DiscoveryV1().EndpointSlices(slice.Namespace)
		if _, err := slices.Update(context.Background(), &slice, meta.UpdateOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// process is what Istio's server for tests takes for a test: a failure ends the process.
type process struct{}

func (process) Fail()                          { os.Exit(1) }
func (process) FailNow()                       { os.Exit(1) }
func (process) Fatal(what ...any)              { log.Fatal(what...) }
func (process) Fatalf(form string, all ...any) { log.Fatalf(form, all...) }
func (process) Log(what ...any)                { log.Print(what...) }
func (process) Logf(form string, all ...any)   { log.Printf(form, all...) }
func (process) Helper()                        {}
func (process) Cleanup(func())                 {}
func (process) Skip(...any)                    {}

func (process) TempDir() string {
	folder, err := os.MkdirTemp("", "meshd")
	if err != nil {
		log.Fatal(err)
	}
	return folder
}
