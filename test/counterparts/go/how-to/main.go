// A control plane on go-control-plane: every line on its standard input is what the proxies answer from then on.
package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	router "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

func pack(message proto.Message) *anypb.Any {
	packed, err := anypb.New(message)
	if err != nil {
		panic(err)
	}
	return packed
}

// One listener that asks for its routes over the same stream.
func front() types.Resource {
	manager := &hcm.HttpConnectionManager{
		StatPrefix: "front",
		RouteSpecifier: &hcm.HttpConnectionManager_Rds{Rds: &hcm.Rds{
			RouteConfigName: "front",
			ConfigSource: &core.ConfigSource{
				ResourceApiVersion:    core.ApiVersion_V3,
				ConfigSourceSpecifier: &core.ConfigSource_Ads{Ads: &core.AggregatedConfigSource{}},
			},
		}},
		HttpFilters: []*hcm.HttpFilter{{
			Name:       "envoy.filters.http.router",
			ConfigType: &hcm.HttpFilter_TypedConfig{TypedConfig: pack(&router.Router{})},
		}},
	}
	return &listener.Listener{
		Name: "front",
		Address: &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{
			Address:       "127.0.0.1",
			PortSpecifier: &core.SocketAddress_PortValue{PortValue: 10000},
		}}},
		FilterChains: []*listener.FilterChain{{Filters: []*listener.Filter{{
			Name:       "envoy.filters.network.http_connection_manager",
			ConfigType: &listener.Filter_TypedConfig{TypedConfig: pack(manager)},
		}}}},
	}
}

func routes(body string) types.Resource {
	answer := &route.DirectResponseAction{
		Status: 200,
		Body:   &core.DataSource{Specifier: &core.DataSource_InlineString{InlineString: body + "\n"}},
	}
	return &route.RouteConfiguration{
		Name: "front",
		VirtualHosts: []*route.VirtualHost{{Name: "all", Domains: []string{"*"}, Routes: []*route.Route{{
			Match:  &route.RouteMatch{PathSpecifier: &route.RouteMatch_Prefix{Prefix: "/"}},
			Action: &route.Route_DirectResponse{DirectResponse: answer},
		}}}},
	}
}

func main() {
	snapshots := cache.NewSnapshotCache(true, cache.IDHash{}, nil)
	rpc := grpc.NewServer()
	discovery.RegisterAggregatedDiscoveryServiceServer(rpc, server.NewServer(context.Background(), snapshots, nil))
	socket, err := net.Listen("tcp", "127.0.0.1:18000")
	if err != nil {
		panic(err)
	}
	go rpc.Serve(socket)
	lines := bufio.NewScanner(os.Stdin)
	for version := 1; lines.Scan(); version++ {
		snapshot, err := cache.NewSnapshot(fmt.Sprint(version), map[resource.Type][]types.Resource{
			resource.ListenerType: {front()},
			resource.RouteType:    {routes(lines.Text())},
		})
		if err == nil {
			// `front-1` is `node.id` of the proxy.
			err = snapshots.SetSnapshot(context.Background(), "front-1", snapshot)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
}
