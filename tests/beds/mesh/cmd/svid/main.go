// Svid asks istiod's certificate authority for the certificate of a workload, as Istio's agent does.
//
//	svid -ca ADDRESS -root ROOT.pem -token FILE -out FOLDER
//
// It writes tls.crt (the chain), tls.key and ca.crt into the folder, and prints the certificate's
// SPIFFE ID.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	authority "istio.io/api/security/v1alpha1"
	"istio.io/istio/security/pkg/pki/util"
)

// name is what the certificate of istiod's server is for.
const name = "istiod.istio-system.svc"

func main() {
	address := flag.String("ca", "127.0.0.1:15012", "where istiod serves its authority")
	root := flag.String("root", "", "the file of the mesh's root certificate")
	token := flag.String("token", "", "the file of the service account's token")
	out := flag.String("out", ".", "where to write the files")
	flag.Parse()
	if err := ask(*address, *root, *token, *out); err != nil {
		log.Fatal(err)
	}
}

func ask(address, root, token, out string) error {
	trusted, err := os.ReadFile(root)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(trusted) {
		return fmt.Errorf("%s has no certificate", root)
	}
	bearer, err := os.ReadFile(token)
	if err != nil {
		return err
	}
	// what the request names is not looked at: the token alone says whose certificate it is
	request, key, err := util.GenCSR(util.CertOptions{Host: "spiffe://ignored/", ECSigAlg: util.EcdsaSigAlg, PKCS8Key: true})
	if err != nil {
		return err
	}
	security := credentials.NewTLS(&tls.Config{RootCAs: pool, ServerName: name})
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(security))
	if err != nil {
		return err
	}
	defer connection.Close()
	scope, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	scope = metadata.AppendToOutgoingContext(scope, "authorization", "Bearer "+strings.TrimSpace(string(bearer)))
	answer, err := authority.NewIstioCertificateServiceClient(connection).CreateCertificate(scope,
		&authority.IstioCertificateRequest{Csr: string(request), ValidityDuration: 3600})
	if err != nil {
		return err
	}
	chain := answer.GetCertChain()
	if len(chain) < 2 {
		return fmt.Errorf("a chain of %d certificates", len(chain))
	}
	// the last one is the root
	files := map[string]string{"tls.crt": join(chain[:len(chain)-1]), "tls.key": string(key), "ca.crt": join(chain[len(chain)-1:])}
	for file, content := range files {
		if err := os.WriteFile(filepath.Join(out, file), []byte(content), 0o600); err != nil {
			return err
		}
	}
	block, _ := pem.Decode([]byte(chain[0]))
	if block == nil {
		return fmt.Errorf("no certificate in %q", chain[0])
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	if len(certificate.URIs) != 1 {
		return fmt.Errorf("a certificate for %v", certificate.URIs)
	}
	fmt.Println(certificate.URIs[0])
	return nil
}

func join(certificates []string) string {
	var all strings.Builder
	for _, certificate := range certificates {
		all.WriteString(strings.TrimSpace(certificate))
		all.WriteString("\n")
	}
	return all.String()
}
