import type { JsonObject } from '@bufbuild/protobuf';
import type { Node } from '../../api/gen/envoy/config/core/v3/base_pb.d.ts';
import type { Logger } from '../../base/log.ts';
import type { ApiSourceSpec, RestSourceSpec } from '../../config/builders/api-config-source.ts';
import type { SourceSpec } from '../../config/builders/config-source.ts';
import type { GrpcServiceSpec, GrpcTarget } from '../../config/builders/grpc-service.ts';
import type { SecretDependency } from '../../config/secrets/secret-dependency.ts';
import { ClusterGrpcClient, grpcClientSettings } from '../../grpc/cluster-grpc-client.ts';
import type { GrpcClient } from '../../grpc/grpc-client.ts';
import { GrpcStreamSupervisor } from '../../grpc/grpc-stream-supervisor.ts';
import type { Dispatcher } from '../../net/dispatcher.ts';
import { ipVersion } from '../../net/ip-version.ts';
import type { Scope } from '../../stats/store.ts';
import type { ClusterManager } from '../../upstream/cluster-manager.ts';
import type { ClusterSpec } from '../../upstream/cluster-spec.ts';
import type { HostUpdate } from '../../upstream/host-update.ts';
import { DiscoveryStream } from '../../xds/discovery-stream.ts';
import type { ResourceDecoder } from '../../xds/resource-decoder.ts';
import type { Interest, ResourceSource, ResourceWatcher, Subscription } from '../../xds/resource-source.ts';
import type { ResourceType } from '../../xds/resource-type.ts';
import { RestSource } from '../../xds/rest-source.ts';
import type { SubscriptionStats } from '../../xds/subscription-stats.ts';
import { DnsDiscoveries } from '../dns-discoveries.ts';
import type { ClusterDiscovery } from './cluster-discovery.ts';
import { ClusterRestClient } from './cluster-rest-client.ts';
import type { BuiltCluster } from './resource-builds.ts';

const ADS = 'envoy.service.discovery.v3.AggregatedDiscoveryService';

export interface RemoteSourcesParts {
  readonly dispatcher: Dispatcher;
  /** Main's own clusters: those of the bootstrap that control planes are reached by. */
  readonly clusters: ClusterManager;
  /** Encoded, by name. */
  readonly bootstrapClusters: ReadonlyMap<string, Uint8Array>;
  readonly decoder: ResourceDecoder;
  readonly logger: Logger;
  /** Root of main's store. */
  readonly stats: Scope;
  /** `dynamic_resources.ads_config`; null: none. */
  readonly ads: ApiSourceSpec | null;
  readonly loadReports: ApiSourceSpec | null;
  /** Sources that are known from the start. */
  readonly early: readonly SourceSpec[];
  readonly localAddress: string;
  node(): Node;
  /** One of the bootstrap's. */
  clusterFrom(bytes: Uint8Array): ClusterSpec;
  /** A cluster as it would be built from the configuration. */
  clusterOf(message: JsonObject): BuiltCluster;
  /** Gives main's clusters a secret. */
  acquire(secret: SecretDependency): void;
}

/** A stream that serves one subscription, and ends with it. */
class OwnStream implements ResourceSource {
  readonly #stream: DiscoveryStream;
  readonly #onStopped: () => void;

  constructor(stream: DiscoveryStream, onStopped: () => void) {
    this.#stream = stream;
    this.#onStopped = onStopped;
  }

  watch(interest: Interest, watcher: ResourceWatcher, stats: SubscriptionStats): Subscription {
    const subscription = this.#stream.watch(interest, watcher, stats);
    return {
      start: () => subscription.start(),
      want: (names) => subscription.want(names),
      unwant: (names) => subscription.unwant(names),
      stop: () => {
        subscription.stop();
        this.#stream.stop();
        this.#onStopped();
      },
    };
  }
}

/** Control planes over gRPC: one stream for everything that says `ads`, one for each other subscription, as Envoy. */
export class RemoteSources {
  readonly #parts: RemoteSourcesParts;
  readonly #streams = new Set<DiscoveryStream>();
  readonly #discoveries: ClusterDiscovery[] = [];
  /** Members of the bootstrap's clusters, by cluster and priority: one may be needed here later. */
  readonly #hosts = new Map<string, HostUpdate>();
  #dns: DnsDiscoveries | null = null;
  #ads: DiscoveryStream | null = null;

  constructor(parts: RemoteSourcesParts) {
    this.#parts = parts;
    // They must be there before their hosts are heard of.
    for (const api of [parts.ads, parts.loadReports]) {
      if (api !== null && api.service.target === null) this.#prepareCluster(api.service.cluster);
    }
    for (const source of parts.early) {
      if (source.kind === 'api' && source.api.service.target === null) this.#prepareCluster(source.api.service.cluster);
      else if (source.kind === 'rest') this.#prepareCluster(source.rest.cluster);
    }
  }

  /** @param scope of the subscription: where streams of its own count */
  sourceOf(spec: Exclude<SourceSpec, { kind: 'file' }>, type: ResourceType, scope: Scope): ResourceSource {
    if (spec.kind === 'rest') return this.#rest(spec.rest);
    if (spec.kind === 'api') {
      const stream = this.#open(spec.api, spec.api.isDelta ? type.deltaMethod : type.sotwMethod, scope);
      return new OwnStream(stream, () => this.#streams.delete(stream));
    }
    const { ads, stats } = this.#parts;
    if (ads === null) throw new Error('a source says ads, and dynamic_resources has no ads_config');
    this.#ads ??= this.#open(
      ads,
      ads.isDelta ? `/${ADS}/DeltaAggregatedResources` : `/${ADS}/StreamAggregatedResources`,
      stats,
    );
    return this.#ads;
  }

  #rest({ cluster, refreshMs, timeoutMs }: RestSourceSpec): ResourceSource {
    const { dispatcher, clusters, decoder, logger, localAddress } = this.#parts;
    this.#prepareCluster(cluster);
    const client = new ClusterRestClient(dispatcher, clusters, { cluster, timeoutMs, localAddress });
    return new RestSource(client, { refreshMs, node: this.#parts.node() }, decoder, logger, dispatcher.random);
  }

  /** Calls to a service. */
  client(service: GrpcServiceSpec): GrpcClient {
    const { dispatcher, clusters, localAddress } = this.#parts;
    this.#prepare(service);
    const settings = grpcClientSettings(service.cluster, {
      authority: service.authority,
      timeoutMs: service.timeoutMs,
      metadata: service.metadata,
      ...(service.maxMessageBytes === 0 ? {} : { maxMessageBytes: service.maxMessageBytes }),
      localAddress: service.skipEnvoyHeaders ? '' : localAddress,
    });
    return new ClusterGrpcClient(clusters, dispatcher, settings);
  }

  #open(api: ApiSourceSpec, method: string, scope: Scope): DiscoveryStream {
    const { dispatcher, decoder, logger } = this.#parts;
    const { service } = api;
    const client = this.client(service);
    const stream = new DiscoveryStream(
      (handler) => new GrpcStreamSupervisor(client, dispatcher, method, handler, service.backoff),
      {
        isDelta: api.isDelta,
        method,
        nodeOnFirstMessageOnly: api.nodeOnFirstMessageOnly,
        rate: api.rate,
        node: this.#parts.node(),
      },
      decoder,
      logger,
      scope,
    );
    this.#streams.add(stream);
    return stream;
  }

  #prepare({ cluster: name, target }: GrpcServiceSpec): void {
    const { clusters } = this.#parts;
    if (target === null) this.#prepareCluster(name);
    else if (clusters.get(name) === null) clusters.set(this.#ownCluster(name, target));
  }

  #prepareCluster(name: string): void {
    const { clusters, bootstrapClusters, clusterFrom } = this.#parts;
    if (clusters.get(name) !== null) return;
    const bytes = bootstrapClusters.get(name);
    if (bytes === undefined) return;
    clusters.set(clusterFrom(bytes));
    for (const update of this.#hosts.values()) if (update.cluster === name) clusters.applyHosts(update);
  }

  /** Workers are told of members: so are main's own clusters. */
  applyHosts(update: HostUpdate): void {
    if (this.#parts.clusters.applyHosts(update) || !this.#parts.bootstrapClusters.has(update.cluster)) return;
    this.#hosts.set(`${update.priority}|${update.cluster}`, update);
  }

  /** What `google_grpc` names becomes a cluster that nobody else sees. */
  #ownCluster(name: string, { host, port, tls }: GrpcTarget): ClusterSpec {
    const { dispatcher, clusters, stats, clusterOf, acquire } = this.#parts;
    const isFixed = port < 0 || ipVersion(host) !== 0;
    const address: JsonObject =
      port < 0 ? { pipe: { path: host } } : { socket_address: { address: host, port_value: port } };
    const { spec, secrets } = clusterOf({
      name,
      type: isFixed ? 'STATIC' : 'STRICT_DNS',
      http2_protocol_options: {},
      ...(tls === null ? {} : { transport_socket: tls }),
      load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint: { address } }] }] },
    });
    for (const secret of secrets) acquire(secret);
    if (spec.dns !== null) {
      this.#dns ??= new DnsDiscoveries(dispatcher, stats);
      const discovery = this.#dns.create(spec, {
        onHosts: (update) => void clusters.applyHosts(update),
        onFirstAnswer: () => {},
      });
      this.#discoveries.push(discovery);
      // Not before the cluster is there.
      queueMicrotask(() => discovery.start());
    }
    return spec;
  }

  stop(): void {
    for (const stream of [...this.#streams]) stream.stop();
    for (const discovery of this.#discoveries) discovery.stop();
  }
}
