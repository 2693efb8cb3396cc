// Sdsd gives one Envoy its certificate and its roots by SDS, as Istio's agent does beside it.
//
//	sdsd -socket SOCKET -folder FOLDER
//
// The folder has tls.crt (the chain), tls.key and ca.crt of the mesh, and may have system.crt: what
// stands for the machine's own roots, which Istio asks for as `file-root:system`.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secret "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"
)

func main() {
	socket := flag.String("socket", "", "the path of the socket")
	folder := flag.String("folder", "", "the folder of the files")
	flag.Parse()
	listener, err := net.Listen("unix", *socket)
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	secret.RegisterSecretDiscoveryServiceServer(server, secrets{folder: *folder})
	log.Fatal(server.Serve(listener))
}

type secrets struct {
	secret.UnimplementedSecretDiscoveryServiceServer
	folder string
}

// StreamSecrets answers each request for other names than the last; an acknowledgement needs none.
func (s secrets) StreamSecrets(stream secret.SecretDiscoveryService_StreamSecretsServer) error {
	for last := ""; ; {
		request, err := stream.Recv()
		if err != nil {
			return err
		}
		if request.GetErrorDetail() != nil {
			log.Printf("refused: %s", request.GetErrorDetail().GetMessage())
			continue
		}
		names := fmt.Sprint(request.GetResourceNames())
		if names == last {
			continue
		}
		last = names
		answer, err := s.answer(request)
		if err != nil {
			return err
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
}

func (s secrets) answer(request *discovery.DiscoveryRequest) (*discovery.DiscoveryResponse, error) {
	answer := &discovery.DiscoveryResponse{VersionInfo: "1", Nonce: "1", TypeUrl: request.GetTypeUrl()}
	for _, name := range request.GetResourceNames() {
		resource, err := anypb.New(s.named(name))
		if err != nil {
			return nil, err
		}
		answer.Resources = append(answer.Resources, resource)
	}
	return answer, nil
}

func (s secrets) named(name string) *tls.Secret {
	switch name {
	case "default":
		return &tls.Secret{Name: name, Type: &tls.Secret_TlsCertificate{TlsCertificate: &tls.TlsCertificate{
			CertificateChain: s.file("tls.crt"), PrivateKey: s.file("tls.key")}}}
	case "file-root:system":
		return roots(name, s.file("system.crt"))
	default:
		return roots(name, s.file("ca.crt"))
	}
}

func roots(name string, source *core.DataSource) *tls.Secret {
	return &tls.Secret{Name: name, Type: &tls.Secret_ValidationContext{
		ValidationContext: &tls.CertificateValidationContext{TrustedCa: source}}}
}

// file is the content of a file; one that is not there makes a secret that Envoy refuses.
func (s secrets) file(name string) *core.DataSource {
	content, err := os.ReadFile(filepath.Join(s.folder, name))
	if err != nil {
		log.Print(err)
	}
	return &core.DataSource{Specifier: &core.DataSource_InlineBytes{InlineBytes: content}}
}
