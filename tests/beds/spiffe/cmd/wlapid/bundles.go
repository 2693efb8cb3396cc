package main

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

// tooLarge is what a bundle that is spoiled so has at least, in bytes.
const tooLarge = 5 << 20

// x509Bundle is what a trust domain is verified by, or what the tests make of it; the lock is held.
func (a *agent) x509Bundle(of *authority) ([]byte, error) {
	root := of.root.Raw
	switch wrong := a.setting.Spoiled[of.domain]; wrong {
	case "", "manyKeys":
		return root, nil
	case "unreadable":
		return root[:len(root)/2], nil
	case "large":
		return bytes.Repeat(root, tooLarge/len(root)+1), nil
	default:
		return nil, fmt.Errorf("no bundle is spoiled by %q", wrong)
	}
}

// jwtBundle is the same of the keys of JWT-SVIDs.
func (a *agent) jwtBundle(of *authority) ([]byte, error) {
	keys, err := of.jwks()
	if err != nil {
		return nil, err
	}
	switch wrong := a.setting.Spoiled[of.domain]; wrong {
	case "":
		return keys, nil
	case "unreadable":
		return keys[:len(keys)/2], nil
	case "large":
		return append(keys, bytes.Repeat([]byte(" "), tooLarge)...), nil
	case "manyKeys":
		var set jose.JSONWebKeySet
		for at := range 101 {
			set.Keys = append(set.Keys, of.publicKey(fmt.Sprint(of.jwtID, at)))
		}
		return json.Marshal(set)
	default:
		return nil, fmt.Errorf("no bundle is spoiled by %q", wrong)
	}
}
