// grpc-go as it meets a control plane.
//
//	xds-peer backend NAME ADDRESS    a plain server that answers with its name
//	xds-peer server NAME ADDRESS     the same, managed by xDS: it serves what its Listener says
//	xds-peer client TARGET           calls TARGET (`xds:///…`, or an address) once for every line `header value` (or an empty one)
//
// It says on its standard output, one JSON object a line: the port, changes of the serving mode, and the outcome of every call.
// GRPC_XDS_BOOTSTRAP_CONFIG tells where the control plane is.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	xdscredentials "google.golang.org/grpc/credentials/xds"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/xds"
)

type event struct {
	Event string `json:"event"`
	Port  int    `json:"port,omitempty"`
	Mode  string `json:"mode,omitempty"`
	Code  string `json:"code,omitempty"`
	Host  string `json:"host,omitempty"`
	Error string `json:"error,omitempty"`
}

var mutex sync.Mutex

func say(e event) {
	mutex.Lock()
	defer mutex.Unlock()
	json.NewEncoder(os.Stdout).Encode(e)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

type service struct {
	grpc_testing.UnimplementedTestServiceServer
	name string
}

func (s service) UnaryCall(context.Context, *grpc_testing.SimpleRequest) (*grpc_testing.SimpleResponse, error) {
	return &grpc_testing.SimpleResponse{Hostname: s.name}, nil
}

func backend(name, address string) {
	socket, err := net.Listen("tcp", address)
	if err != nil {
		fail(err)
	}
	server := grpc.NewServer()
	grpc_testing.RegisterTestServiceServer(server, service{name: name})
	say(event{Event: "listening", Port: socket.Addr().(*net.TCPAddr).Port})
	fail(server.Serve(socket))
}

func managed(name, address string) {
	socket, err := net.Listen("tcp", address)
	if err != nil {
		fail(err)
	}
	creds, err := xdscredentials.NewServerCredentials(xdscredentials.ServerOptions{
		FallbackCreds: insecure.NewCredentials(),
	})
	if err != nil {
		fail(err)
	}
	mode := func(_ net.Addr, args xds.ServingModeChangeArgs) {
		text := ""
		if args.Err != nil {
			text = args.Err.Error()
		}
		say(event{Event: "mode", Mode: args.Mode.String(), Error: text})
	}
	server, err := xds.NewGRPCServer(grpc.Creds(creds), xds.ServingModeCallback(mode))
	if err != nil {
		fail(err)
	}
	grpc_testing.RegisterTestServiceServer(server, service{name: name})
	say(event{Event: "listening", Port: socket.Addr().(*net.TCPAddr).Port})
	fail(server.Serve(socket))
}

func client(target string) {
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		fail(err)
	}
	defer conn.Close()
	stub := grpc_testing.NewTestServiceClient(conn)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		if name, value, found := strings.Cut(lines.Text(), " "); found {
			ctx = metadata.AppendToOutgoingContext(ctx, name, value)
		}
		answer, err := stub.UnaryCall(ctx, &grpc_testing.SimpleRequest{})
		cancel()
		text := ""
		if err != nil {
			text = status.Convert(err).Message()
		}
		say(event{Event: "call", Code: status.Code(err).String(), Host: answer.GetHostname(), Error: text})
	}
}

func main() {
	switch args := os.Args[1:]; {
	case len(args) == 3 && args[0] == "backend":
		backend(args[1], args[2])
	case len(args) == 3 && args[0] == "server":
		managed(args[1], args[2])
	case len(args) == 2 && args[0] == "client":
		client(args[1])
	default:
		fail(fmt.Errorf("how: xds-peer backend NAME ADDRESS | server NAME ADDRESS | client TARGET"))
	}
}
