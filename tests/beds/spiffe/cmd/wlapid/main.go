// wlapid: a SPIFFE Workload API for tests, with authorities of its own. What it gives is said over HTTP
// on the control address, which it prints as its first line.
//
//	wlapid -socket /path/agent.sock [-control 127.0.0.1:0] [-tcp 127.0.0.1:0]
//
// The messages are those of go-spiffe, so that our client is held to a wire format that we did not write.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"time"
)

func main() {
	socket := flag.String("socket", "", "path of the socket of the Workload API")
	tcp := flag.String("tcp", "", "address of the Workload API, instead of a socket")
	control := flag.String("control", "127.0.0.1:0", "address that the tests talk to")
	flag.Parse()
	if (*socket == "") == (*tcp == "") {
		log.Fatal("give -socket or -tcp")
	}
	agent := newAgent()
	listen := func() (net.Listener, error) {
		if *tcp != "" {
			return net.Listen("tcp", *tcp)
		}
		os.Remove(*socket)
		return net.Listen("unix", *socket)
	}
	gate := &gate{agent: agent, listen: listen}
	address, err := gate.start()
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", *control)
	if err != nil {
		log.Fatal(err)
	}
	first, _ := json.Marshal(map[string]string{"control": listener.Addr().String(), "endpoint": address})
	fmt.Println(string(first))
	server := &http.Server{Handler: controls(agent, gate), ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.Serve(listener))
}
