package main

import (
	"context"
	"net"
	"sync"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// api answers the calls of the Workload API.
type api struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	agent *agent
}

// gate opens and closes the socket.
type gate struct {
	agent  *agent
	listen func() (net.Listener, error)

	lock   sync.Mutex
	server *grpc.Server
}

// start listens, and says where.
func (g *gate) start() (string, error) {
	g.lock.Lock()
	defer g.lock.Unlock()
	if g.server != nil {
		return "", nil
	}
	listener, err := g.listen()
	if err != nil {
		return "", err
	}
	server := grpc.NewServer()
	workload.RegisterSpiffeWorkloadAPIServer(server, &api{agent: g.agent})
	g.server = server
	go server.Serve(listener)
	address := listener.Addr()
	if address.Network() == "unix" {
		return "unix://" + address.String(), nil
	}
	return "tcp://" + address.String(), nil
}

// stop cuts every connection and closes the socket, as an agent does that is killed.
func (g *gate) stop() {
	g.lock.Lock()
	defer g.lock.Unlock()
	if g.server != nil {
		g.server.Stop()
		g.server = nil
	}
}

// admit counts a call and answers it where it must not go on: without the header that every call has to
// have (SPIFFE Workload Endpoint, section 6.1), or where the tests want an error.
func (a *agent) admit(ctx context.Context, call string) error {
	a.lock.Lock()
	defer a.lock.Unlock()
	a.counts[call]++
	given, _ := metadata.FromIncomingContext(ctx)
	if values := given.Get("workload.spiffe.io"); len(values) != 1 || values[0] != "true" {
		a.counts["withoutHeader"]++
		return status.Error(codes.InvalidArgument, "security header missing from request")
	}
	return a.failure(call)
}

// failure is what the tests want to be answered; the lock is held.
func (a *agent) failure(call string) error {
	name, ok := a.setting.Errors[call]
	if !ok {
		return nil
	}
	var code codes.Code
	switch name {
	case "PermissionDenied":
		return status.Error(codes.PermissionDenied, "no identity issued")
	case "Unavailable":
		code = codes.Unavailable
	case "InvalidArgument":
		code = codes.InvalidArgument
	case "Unimplemented":
		code = codes.Unimplemented
	default:
		code = codes.Internal
	}
	return status.Error(code, "as the test wants it")
}

// stream sends the complete state at once and with each change, until the tests want it to end.
func (a *agent) stream(ctx context.Context, call string, send func() error) error {
	if err := a.admit(ctx, call); err != nil {
		return err
	}
	for {
		a.lock.Lock()
		changed, ended := a.changed, a.ended
		err := a.failure(call)
		if err == nil {
			err = send()
		}
		a.lock.Unlock()
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ended:
			return nil
		case <-changed:
		}
	}
}

func (s *api) FetchX509SVID(_ *workload.X509SVIDRequest, out grpc.ServerStreamingServer[workload.X509SVIDResponse]) error {
	return s.agent.stream(out.Context(), "x509", func() error {
		if len(s.agent.current) == 0 {
			return status.Error(codes.PermissionDenied, "no identity issued")
		}
		answer := &workload.X509SVIDResponse{FederatedBundles: map[string][]byte{}}
		for at, svid := range s.agent.setting.SVIDs {
			authority, err := s.agent.authorityOf(svid.ID)
			if err != nil {
				return err
			}
			one := s.agent.current[at]
			bundle, err := s.agent.x509Bundle(authority)
			if err != nil {
				return err
			}
			answer.Svids = append(answer.Svids, &workload.X509SVID{
				SpiffeId: svid.ID, X509Svid: one.chain, X509SvidKey: one.key, Bundle: bundle, Hint: svid.Hint,
			})
		}
		for _, domain := range s.agent.setting.Federated {
			authority, err := s.agent.authority(domain)
			if err != nil {
				return err
			}
			bundle, err := s.agent.x509Bundle(authority)
			if err != nil {
				return err
			}
			answer.FederatedBundles["spiffe://"+domain] = bundle
		}
		return out.Send(answer)
	})
}

func (s *api) FetchX509Bundles(_ *workload.X509BundlesRequest, out grpc.ServerStreamingServer[workload.X509BundlesResponse]) error {
	return s.agent.stream(out.Context(), "x509Bundles", func() error {
		bundles, err := s.agent.bundles(s.agent.x509Bundle)
		if err != nil {
			return err
		}
		return out.Send(&workload.X509BundlesResponse{Bundles: bundles})
	})
}

func (s *api) FetchJWTBundles(_ *workload.JWTBundlesRequest, out grpc.ServerStreamingServer[workload.JWTBundlesResponse]) error {
	return s.agent.stream(out.Context(), "jwtBundles", func() error {
		bundles, err := s.agent.bundles(s.agent.jwtBundle)
		if err != nil {
			return err
		}
		return out.Send(&workload.JWTBundlesResponse{Bundles: bundles})
	})
}

// bundles are those of every trust domain that is given; the lock is held.
func (a *agent) bundles(of func(*authority) ([]byte, error)) (map[string][]byte, error) {
	domains, err := a.domains()
	if err != nil {
		return nil, err
	}
	if len(domains) == 0 {
		return nil, status.Error(codes.PermissionDenied, "no identity issued")
	}
	bundles := map[string][]byte{}
	for _, domain := range domains {
		bundle, err := of(a.authorities[domain])
		if err != nil {
			return nil, err
		}
		bundles["spiffe://"+domain] = bundle
	}
	return bundles, nil
}

func (s *api) FetchJWTSVID(ctx context.Context, asked *workload.JWTSVIDRequest) (*workload.JWTSVIDResponse, error) {
	if err := s.agent.admit(ctx, "jwtSvid"); err != nil {
		return nil, err
	}
	if len(asked.Audience) == 0 {
		return nil, status.Error(codes.InvalidArgument, "audience must be specified")
	}
	s.agent.lock.Lock()
	defer s.agent.lock.Unlock()
	answer := &workload.JWTSVIDResponse{}
	for _, svid := range s.agent.setting.SVIDs {
		if asked.SpiffeId != "" && asked.SpiffeId != svid.ID {
			continue
		}
		token, err := s.agent.jwt(svid, asked.Audience)
		if err != nil {
			return nil, err
		}
		answer.Svids = append(answer.Svids, &workload.JWTSVID{SpiffeId: svid.ID, Svid: token, Hint: svid.Hint})
	}
	if len(answer.Svids) == 0 {
		return nil, status.Error(codes.PermissionDenied, "no identity issued")
	}
	return answer, nil
}
