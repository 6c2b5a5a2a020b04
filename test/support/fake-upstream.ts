import { type Address, ipAddress } from '../../src/net/address.ts';
import type { ConnectSpec, SocketRuntime, TransportHandler } from '../../src/net/transport.ts';
import { NO_SECRETS, NO_TLS } from '../../src/net/transport-socket.ts';
import { StatsStore } from '../../src/stats/store.ts';
import { NO_LOCALITY_SETTINGS } from '../../src/upstream/balancing/host-source-balancer.ts';
import { RoundRobinPolicy } from '../../src/upstream/balancing/round-robin.ts';
import { NO_RUNTIME } from '../../src/upstream/circuit-breaker.ts';
import { Cluster } from '../../src/upstream/cluster.ts';
import { type ClusterSpec, clusterSpec } from '../../src/upstream/cluster-spec.ts';
import { type HostSpec, hostSpec } from '../../src/upstream/host.ts';
import type { HostUpdate } from '../../src/upstream/host-update.ts';
import type { BalancerPolicy } from '../../src/upstream/load-balancer.ts';
import type { UpstreamEnvironment } from '../../src/upstream/upstream-environment.ts';
import { FakeLoop, FakeTransport } from './fake-transport.ts';

/** Hands out scripted transports, in the order in which they were asked for. */
export class FakeConnector implements SocketRuntime {
  readonly features = { socketOptions: true, reusePort: true, originalDestination: false };
  readonly loop: FakeLoop;
  readonly transports: FakeTransport[] = [];
  readonly specs: ConnectSpec[] = [];
  /** Makes `connect` throw. */
  broken = false;

  constructor(loop: FakeLoop) {
    this.loop = loop;
  }

  listen(): never {
    throw new Error('nothing listens here');
  }

  originalDestination(): Address | null {
    return null;
  }

  connect(spec: ConnectSpec, handler: TransportHandler): FakeTransport {
    if (this.broken) throw new Error('EMFILE');
    const transport = new FakeTransport(this.loop);
    transport.remoteAddress = spec.address;
    transport.handler = handler;
    this.transports.push(transport);
    this.specs.push(spec);
    return transport;
  }

  get last(): FakeTransport {
    return this.transports[this.transports.length - 1]!;
  }
}

/** A worker's upstream side on a fake loop, with the real HTTP/1 codec. */
export class FakeUpstream {
  readonly loop = new FakeLoop();
  readonly connector = new FakeConnector(this.loop);
  readonly store = new StatsStore();
  readonly environment: UpstreamEnvironment;

  constructor() {
    this.environment = {
      dispatcher: this.loop.dispatcher,
      stats: this.store.root,
      runtime: NO_RUNTIME,
      sockets: {
        runtime: this.connector,
        services: { dispatcher: this.loop.dispatcher, tls: NO_TLS, secrets: NO_SECRETS },
      },
      sharedCells: () => null,
    };
  }

  cluster(fields: Partial<ClusterSpec> = {}, hosts: readonly HostSpec[] = [hostSpec(hostAddress(1))]): Cluster {
    const initialHosts = fields.initialHosts ?? [hostUpdate('up', 0, hosts)];
    return new Cluster(clusterSpec('up', roundRobin(), { ...fields, initialHosts }), this.environment);
  }
}

export function roundRobin(): BalancerPolicy {
  return new RoundRobinPolicy(NO_LOCALITY_SETTINGS, null);
}

export function hostAddress(n: number): Address {
  return ipAddress(`10.0.${n >> 8}.${n & 255}`, 80);
}

export function hostUpdate(cluster: string, priority: number, hosts: readonly HostSpec[]): HostUpdate {
  return {
    cluster,
    priority,
    hosts,
    localityWeights: [],
    overprovisioningFactor: 140,
    weightedPriorityHealth: false,
  };
}
