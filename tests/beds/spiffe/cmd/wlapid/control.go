package main

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"time"
)

// controls is what the tests ask over HTTP. Bodies and answers are JSON.
func controls(agent *agent, gate *gate) http.Handler {
	mux := http.NewServeMux()
	// what the agent gives from now on
	post(mux, "/set", func(s setting) (any, error) { return nil, agent.set(s) })
	// new certificates for the same SVIDs
	post(mux, "/rotate", func(struct{}) (any, error) { return nil, agent.change(agent.issue) })
	// another root, or another key of JWT-SVIDs, for a trust domain
	post(mux, "/authority", func(asked struct{ TrustDomain, Renew string }) (any, error) {
		return nil, agent.change(func() error {
			authority, err := agent.authority(asked.TrustDomain)
			if err != nil || asked.Renew == "" {
				return err
			}
			if asked.Renew == "jwt" {
				authority.newJWTKey()
				agent.jwts = map[string]cached{}
				return nil
			}
			if err := authority.newRoot(); err != nil {
				return err
			}
			return agent.issue()
		})
	})
	// what a trust domain is verified by
	post(mux, "/bundle", func(asked struct{ TrustDomain string }) (any, error) {
		agent.lock.Lock()
		defer agent.lock.Unlock()
		authority, err := agent.authority(asked.TrustDomain)
		if err != nil {
			return nil, err
		}
		keys, err := authority.jwks()
		return map[string]any{"pem": text("CERTIFICATE", authority.root.Raw), "jwks": json.RawMessage(keys)}, err
	})
	// a certificate for somebody else, who is a peer or a caller in a test
	post(mux, "/sign", func(asked wanted) (any, error) {
		agent.lock.Lock()
		defer agent.lock.Unlock()
		of := asked.ID
		if asked.SignedBy != "" {
			of = "spiffe://" + asked.SignedBy
		}
		authority, err := agent.authorityOf(of)
		if err != nil {
			return nil, err
		}
		one, err := authority.sign(asked)
		return map[string]string{"certificate": text("CERTIFICATE", one.chain), "key": text("PRIVATE KEY", one.key)}, err
	})
	// the same as a JWT-SVID
	post(mux, "/sign-jwt", func(asked struct {
		ID       string
		Audience []string
		TTL      duration
		Issuer   string
	}) (any, error) {
		agent.lock.Lock()
		defer agent.lock.Unlock()
		authority, err := agent.authorityOf(asked.ID)
		if err != nil {
			return nil, err
		}
		token, err := authority.jwtSVID(asked.ID, asked.Audience, asked.TTL.or(5*time.Minute), asked.Issuer)
		return map[string]string{"token": token}, err
	})
	// ends every stream well
	post(mux, "/end-streams", func(struct{}) (any, error) {
		agent.lock.Lock()
		defer agent.lock.Unlock()
		close(agent.ended)
		agent.ended = make(chan struct{})
		return nil, nil
	})
	// the agent goes away, and comes back
	post(mux, "/stop", func(struct{}) (any, error) { gate.stop(); return nil, nil })
	post(mux, "/start", func(struct{}) (any, error) { _, err := gate.start(); return nil, err })
	// the private keys of the SVIDs, to look for them where they must not be
	post(mux, "/keys", func(struct{}) (any, error) {
		agent.lock.Lock()
		defer agent.lock.Unlock()
		keys := [][]byte{}
		for _, svid := range agent.current {
			keys = append(keys, svid.key)
		}
		return keys, nil
	})
	// how often each call was asked
	post(mux, "/counts", func(struct{}) (any, error) {
		agent.lock.Lock()
		defer agent.lock.Unlock()
		counts := map[string]int{}
		for call, count := range agent.counts {
			counts[call] = count
		}
		return counts, nil
	})
	return mux
}

func post[T any](mux *http.ServeMux, path string, act func(T) (any, error)) {
	mux.HandleFunc("POST "+path, func(out http.ResponseWriter, request *http.Request) {
		var asked T
		decoder := json.NewDecoder(request.Body)
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&asked); err != nil {
			http.Error(out, err.Error(), http.StatusBadRequest)
			return
		}
		answer, err := act(asked)
		if err != nil {
			http.Error(out, err.Error(), http.StatusBadRequest)
			return
		}
		if answer == nil {
			answer = struct{}{}
		}
		out.Header().Set("content-type", "application/json")
		json.NewEncoder(out).Encode(answer)
	})
}

func text(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
