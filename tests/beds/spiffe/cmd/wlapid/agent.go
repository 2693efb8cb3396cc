package main

import (
	"fmt"
	"net/url"
	"sync"
	"time"
)

// setting is what the agent gives, as the tests say it.
type setting struct {
	// SVIDs are ours, in order.
	SVIDs []wanted `json:"svids"`
	// Federated names the trust domains whose bundles are given beside those of the SVIDs.
	Federated []string `json:"federated"`
	// Spoiled names what is wrong with the bundles of trust domains: `unreadable`, `large`, or, of keys, `manyKeys`.
	Spoiled map[string]string `json:"spoiled"`
	// JWTTTL is how long JWT-SVIDs last.
	JWTTTL duration `json:"jwtTtl"`
	// JWTIssuer is their issuer; empty: they have none.
	JWTIssuer string `json:"jwtIssuer"`
	// Errors are answered by the calls named so, instead of what was asked for: a gRPC code by name.
	Errors map[string]string `json:"errors"`
}

// agent is the state of the Workload API.
type agent struct {
	lock        sync.Mutex
	setting     setting
	authorities map[string]*authority
	current     []issued
	jwts        map[string]cached
	counts      map[string]int
	// changed is closed with each change, and ended where streams are to end well.
	changed chan struct{}
	ended   chan struct{}
}

// cached is a JWT-SVID that is given again until half of its life is over, as SPIRE's agent does.
type cached struct {
	token string
	until time.Time
}

func newAgent() *agent {
	return &agent{
		authorities: map[string]*authority{},
		jwts:        map[string]cached{},
		counts:      map[string]int{},
		changed:     make(chan struct{}),
		ended:       make(chan struct{}),
	}
}

// change alters the state under the lock and tells every stream.
func (a *agent) change(alter func() error) error {
	a.lock.Lock()
	defer a.lock.Unlock()
	if err := alter(); err != nil {
		return err
	}
	close(a.changed)
	a.changed = make(chan struct{})
	return nil
}

// set gives what the tests say from now on.
func (a *agent) set(s setting) error {
	return a.change(func() error {
		before := a.setting
		a.setting = s
		if err := a.issue(); err != nil {
			a.setting = before
			return err
		}
		a.jwts = map[string]cached{}
		return nil
	})
}

// issue makes new certificates for every SVID.
func (a *agent) issue() error {
	current := make([]issued, 0, len(a.setting.SVIDs))
	for _, svid := range a.setting.SVIDs {
		authority, err := a.authorityOf(svid.ID)
		if err != nil {
			return err
		}
		one, err := authority.sign(svid)
		if err != nil {
			return err
		}
		current = append(current, one)
	}
	a.current = current
	return nil
}

// authority gives that of a trust domain, which is made where there is none.
func (a *agent) authority(domain string) (*authority, error) {
	if known, ok := a.authorities[domain]; ok {
		return known, nil
	}
	made, err := newAuthority(domain)
	if err == nil {
		a.authorities[domain] = made
	}
	return made, err
}

func (a *agent) authorityOf(id string) (*authority, error) {
	parsed, err := url.Parse(id)
	if err != nil || parsed.Host == "" {
		return nil, fmt.Errorf("%q is no SPIFFE ID", id)
	}
	return a.authority(parsed.Host)
}

// domains are those whose bundles are given.
func (a *agent) domains() ([]string, error) {
	var domains []string
	seen := map[string]bool{}
	add := func(domain string) {
		if !seen[domain] {
			seen[domain] = true
			domains = append(domains, domain)
		}
	}
	for _, svid := range a.setting.SVIDs {
		authority, err := a.authorityOf(svid.ID)
		if err != nil {
			return nil, err
		}
		add(authority.domain)
	}
	for _, domain := range a.setting.Federated {
		if _, err := a.authority(domain); err != nil {
			return nil, err
		}
		add(domain)
	}
	return domains, nil
}

// jwt gives a JWT-SVID, the same until half of its life is over.
func (a *agent) jwt(svid wanted, audience []string) (string, error) {
	key := fmt.Sprint(svid.ID, audience)
	if known, ok := a.jwts[key]; ok && time.Now().Before(known.until) {
		return known.token, nil
	}
	authority, err := a.authorityOf(svid.ID)
	if err != nil {
		return "", err
	}
	ttl := a.setting.JWTTTL.or(5 * time.Minute)
	token, err := authority.jwtSVID(svid.ID, audience, ttl, a.setting.JWTIssuer)
	if err == nil {
		a.jwts[key] = cached{token: token, until: time.Now().Add(ttl / 2)}
	}
	return token, err
}
