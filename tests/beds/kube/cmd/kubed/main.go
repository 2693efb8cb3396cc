// Kubed is a Kubernetes API server with its etcd in one process: no controllers, no nodes.
//
//	kubed -folder FOLDER -port PORT
//
// It listens on PORT of 127.0.0.1, its etcd on the two ports after that. Before it serves it writes
// FOLDER/kubeconfig, by which one is allowed everything. SIGTERM stops it.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"flag"
	"fmt"
	"log"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

const kubeconfig = `apiVersion: v1
kind: Config
current-context: kubed
clusters: [{ name: kubed, cluster: { server: "https://127.0.0.1:%d", certificate-authority: %q } }]
users: [{ name: admin, user: { token: test-admin } }]
contexts: [{ name: kubed, context: { cluster: kubed, user: admin } }]
`

func main() {
	folder := flag.String("folder", "", "where to keep everything")
	port := flag.Int("port", 16443, "the port of the API server")
	flag.Parse()
	place := &place{folder: must(filepath.Abs(*folder))}
	if err := os.MkdirAll(place.folder, 0o700); err != nil {
		log.Fatal(err)
	}
	place.certificates()
	place.write("tokens.csv", []byte("test-admin,admin,admin,system:masters\n"))
	place.write("kubeconfig", fmt.Appendf(nil, kubeconfig, *port, place.path("ca.crt")))
	store := place.etcd(*port + 1)
	defer store.Close()
	command := app.NewAPIServerCommand()
	command.SetArgs([]string{
		"--etcd-servers=" + store.Config().ListenClientUrls[0].String(),
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", *port),
		"--tls-cert-file=" + place.path("tls.crt"),
		"--tls-private-key-file=" + place.path("tls.key"),
		"--client-ca-file=" + place.path("ca.crt"),
		"--token-auth-file=" + place.path("tokens.csv"),
		"--authorization-mode=RBAC",
		"--anonymous-auth=false",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + place.path("sa.key"),
		"--service-account-signing-key-file=" + place.path("sa.key"),
		"--service-cluster-ip-range=10.96.0.0/16",
		// the accounts that this plugin waits for are made by controllers, and there are none
		"--disable-admission-plugins=ServiceAccount",
		"--shutdown-delay-duration=0s",
		"--endpoint-reconciler-type=none",
	})
	os.Exit(cli.Run(command))
}

// place is a folder and what is written there.
type place struct{ folder string }

func (p *place) path(name string) string { return filepath.Join(p.folder, name) }

func (p *place) write(name string, content []byte) {
	if err := os.WriteFile(p.path(name), content, 0o600); err != nil {
		log.Fatal(err)
	}
}

func (p *place) key(name string) *ecdsa.PrivateKey {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	der := must(x509.MarshalECPrivateKey(key))
	p.write(name, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
	return key
}

func (p *place) certificate(name string, template, issuer *x509.Certificate, key, issuerKey *ecdsa.PrivateKey) {
	der := must(x509.CreateCertificate(rand.Reader, template, issuer, &key.PublicKey, issuerKey))
	p.write(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// certificates makes an authority, the server's certificate and the key of service accounts' tokens.
func (p *place) certificates() {
	from, until := time.Now().Add(-time.Hour), time.Now().Add(240*time.Hour)
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kubed"}, NotBefore: from, NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "kube-apiserver"}, NotBefore: from, NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost", "kubernetes.default.svc"},
	}
	authorityKey := p.key("ca.key")
	p.certificate("ca.crt", authority, authority, authorityKey, authorityKey)
	p.certificate("tls.crt", server, authority, p.key("tls.key"), authorityKey)
	p.key("sa.key")
}

// etcd starts the store on this port and the next one.
func (p *place) etcd(port int) *embed.Etcd {
	config := embed.NewConfig()
	config.Dir, config.LogLevel, config.UnsafeNoFsync = p.path("etcd"), "error", true
	at := func(port int) []url.URL {
		return []url.URL{*must(url.Parse(fmt.Sprintf("http://127.0.0.1:%d", port)))}
	}
	config.ListenClientUrls, config.AdvertiseClientUrls = at(port), at(port)
	config.ListenPeerUrls, config.AdvertisePeerUrls = at(port+1), at(port+1)
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	store := must(embed.StartEtcd(config))
	<-store.Server.ReadyNotify()
	return store
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}
