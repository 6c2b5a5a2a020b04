import type { GrpcServerCall, GrpcServerCallHandler, GrpcServices } from '../../grpc/grpc-server-call.ts';
import { DeltaStream } from './delta-stream.ts';
import type { DiscoveryContext, DiscoveryStream } from './discovery-stream.ts';
import { SotwStream } from './sotw-stream.ts';

const ADS = '/envoy.service.discovery.v3.AggregatedDiscoveryService/';

/** Streams of one type: `service` and the last part of its methods' names, and the type. */
const SINGLE: readonly (readonly [service: string, what: string, typeName: string])[] = [
  ['envoy.service.cluster.v3.ClusterDiscoveryService', 'Clusters', 'envoy.config.cluster.v3.Cluster'],
  ['envoy.service.endpoint.v3.EndpointDiscoveryService', 'Endpoints', 'envoy.config.endpoint.v3.ClusterLoadAssignment'],
  ['envoy.service.listener.v3.ListenerDiscoveryService', 'Listeners', 'envoy.config.listener.v3.Listener'],
  ['envoy.service.route.v3.RouteDiscoveryService', 'Routes', 'envoy.config.route.v3.RouteConfiguration'],
  [
    'envoy.service.route.v3.ScopedRoutesDiscoveryService',
    'ScopedRoutes',
    'envoy.config.route.v3.ScopedRouteConfiguration',
  ],
  ['envoy.service.route.v3.VirtualHostDiscoveryService', 'VirtualHosts', 'envoy.config.route.v3.VirtualHost'],
  ['envoy.service.secret.v3.SecretDiscoveryService', 'Secrets', 'envoy.extensions.transport_sockets.tls.v3.Secret'],
  ['envoy.service.runtime.v3.RuntimeDiscoveryService', 'Runtime', 'envoy.service.runtime.v3.Runtime'],
  [
    'envoy.service.extension.v3.ExtensionConfigDiscoveryService',
    'ExtensionConfigs',
    'envoy.config.core.v3.TypedExtensionConfig',
  ],
];

/** The discovery services of one server, by method. */
export class DiscoveryServices implements GrpcServices {
  readonly #context: DiscoveryContext;
  readonly #types = new Map<string, { readonly delta: boolean; readonly typeUrl: string }>();
  readonly streams = new Set<DiscoveryStream>();

  constructor(context: Omit<DiscoveryContext, 'onClosed'>) {
    this.#context = { ...context, onClosed: (stream) => this.streams.delete(stream) };
    this.#types.set(`${ADS}StreamAggregatedResources`, { delta: false, typeUrl: '' });
    this.#types.set(`${ADS}DeltaAggregatedResources`, { delta: true, typeUrl: '' });
    for (const [service, what, typeName] of SINGLE) {
      const typeUrl = `type.googleapis.com/${typeName}`;
      this.#types.set(`/${service}/Stream${what}`, { delta: false, typeUrl });
      this.#types.set(`/${service}/Delta${what}`, { delta: true, typeUrl });
    }
  }

  /** Nodes may be of other groups than before. */
  regroup(): void {
    for (const stream of [...this.streams]) stream.regroup();
  }

  open(method: string, call: GrpcServerCall): GrpcServerCallHandler | null {
    const found = this.#types.get(method);
    if (found === undefined) return null;
    const stream = found.delta
      ? new DeltaStream(this.#context, call, found.typeUrl)
      : new SotwStream(this.#context, call, found.typeUrl);
    this.#context.counts.streamsOpened.inc();
    this.streams.add(stream);
    return stream;
  }
}
