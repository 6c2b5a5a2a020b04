// A control plane on go-control-plane's SnapshotCache that does what a test tells it on its standard input, one JSON object a line,
// and says on its standard output what it was asked and what it answered.
//
//	{"op":"set","node":"n","resources":{"<type URL>":{"version":"1","items":["<base64 of the message>"]}}}
//	                       the whole snapshot of a node: a type that is not named has no resources
//	{"op":"clear","node":"n"}   forgets the snapshot: watches wait
//	{"op":"fail","after":3,"times":2}   the third request from now on ends its stream with UNAVAILABLE, and the third after that
//	{"op":"cut"}                closes every connection
//	{"op":"stop"}, {"op":"start"}   ends listening and all streams; listens again on the same port
//
// Every line is answered by {"event":"done"} in order.
//
// For measurements: -quiet says nothing of requests and answers, -one-group serves every node the snapshot of node "all".
package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"sync"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	clusterservice "github.com/envoyproxy/go-control-plane/envoy/service/cluster/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	endpointservice "github.com/envoyproxy/go-control-plane/envoy/service/endpoint/v3"
	extensionservice "github.com/envoyproxy/go-control-plane/envoy/service/extension/v3"
	listenerservice "github.com/envoyproxy/go-control-plane/envoy/service/listener/v3"
	routeservice "github.com/envoyproxy/go-control-plane/envoy/service/route/v3"
	runtimeservice "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"
	secretservice "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
)

type group struct {
	Version string   `json:"version"`
	Items   []string `json:"items"`
}

type command struct {
	Op        string           `json:"op"`
	Node      string           `json:"node"`
	After     int              `json:"after"`
	Times     int              `json:"times"`
	Resources map[string]group `json:"resources"`
}

type event struct {
	Event   string            `json:"event"`
	Stream  int64             `json:"stream,omitempty"`
	Node    string            `json:"node,omitempty"`
	Type    string            `json:"type,omitempty"`
	Version string            `json:"version,omitempty"`
	Nonce   string            `json:"nonce,omitempty"`
	Names   []string          `json:"names,omitempty"`
	Gone    []string          `json:"gone,omitempty"`
	Initial map[string]string `json:"initial,omitempty"`
	Error   string            `json:"error,omitempty"`
	Count   int               `json:"count,omitempty"`
	Port    int               `json:"port,omitempty"`
}

// plane is the whole program: the cache, its server and the listening socket.
type plane struct {
	cache  cache.SnapshotCache
	server server.Server

	mutex       sync.Mutex
	out         *bufio.Writer
	nodes       map[int64]string
	failAfter   int
	failTimes   int
	requests    int
	address     string
	grpc        *grpc.Server
	connections map[net.Conn]struct{}
}

func (p *plane) say(e event) {
	line, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.out.Write(line)
	p.out.WriteByte('\n')
	p.out.Flush()
}

// hear notes a request and decides whether it ends its stream.
func (p *plane) hear(stream int64, node *core.Node, e event) error {
	p.mutex.Lock()
	if node.GetId() != "" {
		p.nodes[stream] = node.GetId()
	}
	e.Node = p.nodes[stream]
	p.requests++
	fails := p.failTimes > 0 && p.requests == p.failAfter
	if fails {
		p.failTimes--
		p.requests = 0
	}
	p.mutex.Unlock()
	e.Event, e.Stream = "request", stream
	p.say(e)
	if fails {
		return status.Error(codes.Unavailable, "the test said so")
	}
	return nil
}

// oneGroup serves all nodes alike.
type oneGroup struct{}

func (oneGroup) ID(*core.Node) string { return "all" }

func (p *plane) callbacks(quiet bool) server.Callbacks {
	if quiet {
		return server.CallbackFuncs{}
	}
	return server.CallbackFuncs{
		StreamOpenFunc: func(_ context.Context, id int64, url string) error {
			p.say(event{Event: "open", Stream: id, Type: url})
			return nil
		},
		DeltaStreamOpenFunc: func(_ context.Context, id int64, url string) error {
			p.say(event{Event: "open", Stream: id, Type: url})
			return nil
		},
		StreamClosedFunc:      func(id int64, _ *core.Node) { p.say(event{Event: "closed", Stream: id}) },
		DeltaStreamClosedFunc: func(id int64, _ *core.Node) { p.say(event{Event: "closed", Stream: id}) },
		StreamRequestFunc: func(id int64, r *discovery.DiscoveryRequest) error {
			return p.hear(id, r.GetNode(), event{
				Type: r.GetTypeUrl(), Version: r.GetVersionInfo(), Nonce: r.GetResponseNonce(),
				Names: r.GetResourceNames(), Error: r.GetErrorDetail().GetMessage(),
			})
		},
		StreamDeltaRequestFunc: func(id int64, r *discovery.DeltaDiscoveryRequest) error {
			return p.hear(id, r.GetNode(), event{
				Type: r.GetTypeUrl(), Nonce: r.GetResponseNonce(), Names: r.GetResourceNamesSubscribe(),
				Gone: r.GetResourceNamesUnsubscribe(), Initial: r.GetInitialResourceVersions(),
				Error: r.GetErrorDetail().GetMessage(),
			})
		},
		StreamResponseFunc: func(_ context.Context, id int64, _ *discovery.DiscoveryRequest, r *discovery.DiscoveryResponse) {
			p.say(event{
				Event: "response", Stream: id, Type: r.GetTypeUrl(), Version: r.GetVersionInfo(),
				Nonce: r.GetNonce(), Count: len(r.GetResources()),
			})
		},
		StreamDeltaResponseFunc: func(id int64, _ *discovery.DeltaDiscoveryRequest, r *discovery.DeltaDiscoveryResponse) {
			p.say(event{
				Event: "response", Stream: id, Type: r.GetTypeUrl(), Version: r.GetSystemVersionInfo(),
				Nonce: r.GetNonce(), Count: len(r.GetResources()), Gone: r.GetRemovedResources(),
			})
		},
	}
}

// Accept remembers connections, so that they can be cut.
type listener struct {
	net.Listener
	plane *plane
}

func (l listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.plane.mutex.Lock()
		l.plane.connections[conn] = struct{}{}
		l.plane.mutex.Unlock()
	}
	return conn, err
}

func (p *plane) start() error {
	socket, err := net.Listen("tcp", p.address)
	if err != nil {
		return err
	}
	p.address = socket.Addr().String()
	p.grpc = grpc.NewServer(grpc.MaxRecvMsgSize(1<<26), grpc.MaxConcurrentStreams(1000))
	discovery.RegisterAggregatedDiscoveryServiceServer(p.grpc, p.server)
	listenerservice.RegisterListenerDiscoveryServiceServer(p.grpc, p.server)
	routeservice.RegisterRouteDiscoveryServiceServer(p.grpc, p.server)
	routeservice.RegisterScopedRoutesDiscoveryServiceServer(p.grpc, p.server)
	routeservice.RegisterVirtualHostDiscoveryServiceServer(p.grpc, p.server)
	clusterservice.RegisterClusterDiscoveryServiceServer(p.grpc, p.server)
	endpointservice.RegisterEndpointDiscoveryServiceServer(p.grpc, p.server)
	secretservice.RegisterSecretDiscoveryServiceServer(p.grpc, p.server)
	runtimeservice.RegisterRuntimeDiscoveryServiceServer(p.grpc, p.server)
	extensionservice.RegisterExtensionConfigDiscoveryServiceServer(p.grpc, p.server)
	go p.grpc.Serve(listener{socket, p})
	p.say(event{Event: "listening", Port: socket.Addr().(*net.TCPAddr).Port})
	return nil
}

func (p *plane) cut() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for conn := range p.connections {
		conn.Close()
	}
	p.connections = map[net.Conn]struct{}{}
}

func (p *plane) set(c command) error {
	snapshot := &cache.Snapshot{}
	for url, group := range c.Resources {
		kind := cache.GetResponseType(url)
		if kind == types.UnknownType {
			return fmt.Errorf("no snapshot holds resources of %s", url)
		}
		items := make([]types.Resource, 0, len(group.Items))
		for _, text := range group.Items {
			value, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				return err
			}
			message, err := (&anypb.Any{TypeUrl: url, Value: value}).UnmarshalNew()
			if err != nil {
				return err
			}
			items = append(items, message)
		}
		snapshot.Resources[kind] = cache.NewResources(group.Version, items)
	}
	return p.cache.SetSnapshot(context.Background(), c.Node, snapshot)
}

func (p *plane) obey(c command) error {
	switch c.Op {
	case "set":
		return p.set(c)
	case "clear":
		p.cache.ClearSnapshot(c.Node)
	case "fail":
		p.mutex.Lock()
		p.failAfter, p.failTimes, p.requests = c.After, c.Times, 0
		p.mutex.Unlock()
	case "cut":
		p.cut()
	case "stop":
		p.grpc.Stop()
	case "start":
		return p.start()
	default:
		return fmt.Errorf("there is no op %q", c.Op)
	}
	return nil
}

func main() {
	ads := flag.Bool("ads", false, "answer requests for names only once all resources are named, and types in order")
	quiet := flag.Bool("quiet", false, "say nothing of requests and answers")
	alike := flag.Bool("one-group", false, "serve every node the snapshot of node \"all\"")
	address := flag.String("listen", "127.0.0.1:0", "where to listen")
	flag.Parse()
	p := &plane{
		out:         bufio.NewWriter(os.Stdout),
		nodes:       map[int64]string{},
		connections: map[net.Conn]struct{}{},
		address:     *address,
	}
	var hash cache.NodeHash = cache.IDHash{}
	if *alike {
		hash = oneGroup{}
	}
	p.cache = cache.NewSnapshotCache(*ads, hash, nil)
	p.server = server.NewServer(context.Background(), p.cache, p.callbacks(*quiet))
	if err := p.start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	lines := bufio.NewReaderSize(os.Stdin, 1<<20)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var c command
		if err = json.Unmarshal(line, &c); err == nil {
			err = p.obey(c)
		}
		if err != nil {
			p.say(event{Event: "failed", Error: err.Error()})
			continue
		}
		p.say(event{Event: "done"})
	}
}
