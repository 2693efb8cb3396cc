package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// authority is what a trust domain signs with.
type authority struct {
	domain string
	key    *ecdsa.PrivateKey
	root   *x509.Certificate
	jwtKey *ecdsa.PrivateKey
	jwtID  string
	serial int64
}

// wanted is a certificate as a test asks for it. Defects make it what no SVID may be.
type wanted struct {
	ID     string   `json:"id"`
	Hint   string   `json:"hint"`
	TTL    duration `json:"ttl"`
	DNS    []string `json:"dns"`
	Defect string   `json:"defect"`
	// SignedBy is the trust domain that signs, where it is not that of the ID.
	SignedBy string `json:"signedBy"`
}

// issued is a certificate with its key.
type issued struct {
	chain []byte
	key   []byte
}

type duration time.Duration

func (d *duration) UnmarshalJSON(text []byte) error {
	var written string
	if err := json.Unmarshal(text, &written); err != nil {
		return err
	}
	parsed, err := time.ParseDuration(written)
	*d = duration(parsed)
	return err
}

func (d duration) or(usual time.Duration) time.Duration {
	if d == 0 {
		return usual
	}
	return time.Duration(d)
}

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err) // the system has no randomness
	}
	return key
}

func newAuthority(domain string) (*authority, error) {
	a := &authority{domain: domain}
	a.newJWTKey()
	return a, a.newRoot()
}

// newRoot makes another root certificate, with another key.
func (a *authority) newRoot() error {
	id, err := url.Parse("spiffe://" + a.domain)
	if err != nil {
		return err
	}
	a.key = newKey()
	template := &x509.Certificate{
		SerialNumber:          a.next(),
		Subject:               pkix.Name{Organization: []string{"wlapid"}, CommonName: a.domain},
		URIs:                  []*url.URL{id},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		return err
	}
	a.root, err = x509.ParseCertificate(der)
	return err
}

func (a *authority) newJWTKey() {
	a.jwtKey = newKey()
	a.jwtID = fmt.Sprintf("%s-%s", a.domain, a.next())
}

func (a *authority) next() *big.Int {
	a.serial++
	return big.NewInt(time.Now().UnixNano() + a.serial)
}

// sign makes a certificate, or what a defect makes of it.
func (a *authority) sign(w wanted) (issued, error) {
	id, err := url.Parse(w.ID)
	if err != nil {
		return issued{}, err
	}
	key, now := newKey(), time.Now()
	template := &x509.Certificate{
		SerialNumber:          a.next(),
		Subject:               pkix.Name{Organization: []string{"SPIRE"}, Country: []string{"US"}},
		NotBefore:             now.Add(-time.Minute),
		NotAfter:              now.Add(w.TTL.or(time.Hour)),
		URIs:                  []*url.URL{id},
		DNSNames:              w.DNS,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	shown := crypto.Signer(key)
	switch w.Defect {
	case "":
	case "expired":
		template.NotBefore, template.NotAfter = now.Add(-2*time.Hour), now.Add(-time.Hour)
	case "isCA":
		template.IsCA = true
	case "certSign":
		template.KeyUsage |= x509.KeyUsageCertSign
	case "crlSign":
		template.KeyUsage |= x509.KeyUsageCRLSign
	case "noDigitalSignature":
		template.KeyUsage = x509.KeyUsageKeyEncipherment
	case "serverOnly":
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	case "usageNotCritical":
		value, err := asn1.Marshal(asn1.BitString{Bytes: []byte{0x80}, BitLength: 1})
		if err != nil {
			return issued{}, err
		}
		template.KeyUsage = 0
		template.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 15}, Value: value}}
	case "twoURIs":
		other := *id
		other.Path += "-other"
		template.URIs = append(template.URIs, &other)
	case "noURI":
		template.URIs = nil
	case "otherKey":
		shown = newKey()
	default:
		return issued{}, fmt.Errorf("no defect is called %q", w.Defect)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.root, key.Public(), a.key)
	if err != nil {
		return issued{}, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(shown)
	return issued{chain: der, key: pkcs8}, err
}

// jwtSVID makes a token, with further claims and headers where a test asks for them.
func (a *authority) jwtSVID(id string, audience []string, ttl time.Duration, issuer string) (string, error) {
	if len(audience) == 0 {
		return "", errors.New("a token needs an audience")
	}
	key := jose.JSONWebKey{Key: a.jwtKey, KeyID: a.jwtID}
	options := (&jose.SignerOptions{}).WithType("JWT")
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, options)
	if err != nil {
		return "", err
	}
	now := time.Now()
	claims := jwt.Claims{
		Issuer:   issuer,
		Subject:  id,
		Audience: audience,
		IssuedAt: jwt.NewNumericDate(now),
		Expiry:   jwt.NewNumericDate(now.Add(ttl)),
	}
	return jwt.Signed(signer).Claims(claims).Serialize()
}

// jwks is the bundle of the authority's JWT-SVIDs.
func (a *authority) jwks() ([]byte, error) {
	return json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{a.publicKey(a.jwtID)}})
}

func (a *authority) publicKey(id string) jose.JSONWebKey {
	return jose.JSONWebKey{Key: a.jwtKey.Public(), KeyID: id, Use: "jwt-svid"}
}
