import type { Message } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import type { NetworkFilterBuilder } from '../net/filter.ts';
import type { ListenerFilterBuilder } from '../net/listener-chain.ts';
import type {
  DownstreamTransportSocket,
  TransportSocketEnvironment,
  UpstreamTransportSocket,
} from '../net/transport-socket.ts';
import type { AccessLogFilter, AccessLogger } from '../pipeline/access-logger.ts';
import type { EarlyHeaderMutation, IpDetection } from '../pipeline/connection-manager-config.ts';
import type { ConnectionContext, WorkerEnvironment } from '../pipeline/environment.ts';
import type { CommandParser } from '../pipeline/format/format-parser.ts';
import type { HttpFilterBuilder } from '../pipeline/http-filter.ts';
import type { RedirectPredicate } from '../pipeline/router/redirect-predicates.ts';
import type { Tracer } from '../pipeline/trace/span.ts';
import type { BalancerPolicy } from '../upstream/load-balancer.ts';
import type { BuildContext } from './build-context.ts';

/** What each kind of extension builds from its configuration. Envoy's category names are in `ENVOY_CATEGORIES`. */
export interface ExtensionProducts {
  /** Builders live per worker: limits are counted there. */
  'listener-filter': (environment: WorkerEnvironment) => ListenerFilterBuilder;
  'network-filter': NetworkFilterBuilder<ConnectionContext>;
  'http-filter': HttpFilterBuilder;
  /** Loggers live per worker: files are opened through the environment. */
  'access-logger': (environment: WorkerEnvironment) => AccessLogger;
  'access-log-filter': AccessLogFilter;
  'load-balancing-policy': BalancerPolicy;
  /** Further operators of format strings. */
  formatter: CommandParser;
  'original-ip-detection': IpDetection;
  'early-header-mutation': EarlyHeaderMutation;
  /** One per filter chain and worker. */
  'downstream-transport-socket': (environment: TransportSocketEnvironment) => DownstreamTransportSocket;
  /** One per cluster (or transport socket match) and worker. */
  'upstream-transport-socket': (environment: TransportSocketEnvironment) => UpstreamTransportSocket;
  'retry-host-predicate': unknown;
  'retry-priority': unknown;
  'internal-redirect-predicate': RedirectPredicate;
  /** One per worker and configuration. */
  tracer: (environment: WorkerEnvironment) => Tracer;
}
export type ExtensionKind = keyof ExtensionProducts;

/** Fields of one message type that are carried out. Anything else that is set is refused (design law 2). */
export interface FieldSupport {
  /** Full message name. */
  readonly message: string;
  /** Proto names of fields that the builder obeys, separated by white space; `*` for all of them. */
  readonly fields: string;
  /** Fields that Envoy itself ignores, or that have no meaning at run time: accepted silently. */
  readonly inert?: string;
  /** Fields that the builder refuses by itself, with a reason of their own. */
  readonly refused?: string;
}

/** An extension's factory: one per process, stateless. */
export interface ExtensionFactory<K extends ExtensionKind = ExtensionKind, C extends Message = Message> {
  readonly kind: K;
  /** Envoy's name, such as `envoy.filters.http.buffer`. */
  readonly name: string;
  /** Legacy names, accepted with a warning as Envoy does. */
  readonly aliases?: readonly string[];
  /** Full name of the configuration message. Factories are found by it. */
  readonly configType: string;
  /** The configuration messages that this factory obeys, nested ones included. */
  readonly support: readonly FieldSupport[];
  /** No side effects beyond the stats of `context.stats`. @returns null when errors were reported */
  build(config: C, context: BuildContext): ExtensionProducts[K] | null;
  /** Full name of the per-route message, for HTTP filters that have one. */
  readonly routeConfigType?: string;
  /** @returns what `FilterStream.routeConfig()` gives; null when errors were reported */
  buildRoute?(config: Message, context: BuildContext): unknown;
}

/** All factories, by type URL and by name. Filled from an explicit array; nothing registers itself. */
export class ExtensionRegistry {
  readonly #byType = new Map<string, ExtensionFactory>();
  readonly #byName = new Map<string, ExtensionFactory>();
  readonly #byRouteType = new Map<string, ExtensionFactory>();
  readonly #all: readonly ExtensionFactory[];

  constructor(factories: readonly ExtensionFactory[]) {
    this.#all = factories;
    for (const factory of factories) {
      this.#byType.set(`${factory.kind}|${factory.configType}`, factory);
      this.#byName.set(`${factory.kind}|${factory.name}`, factory);
      for (const alias of factory.aliases ?? []) this.#byName.set(`${factory.kind}|${alias}`, factory);
      if (factory.routeConfigType !== undefined) this.#byRouteType.set(factory.routeConfigType, factory);
    }
  }

  all(): readonly ExtensionFactory[] {
    return this.#all;
  }

  findByType<K extends ExtensionKind>(kind: K, typeName: string): ExtensionFactory<K> | null {
    return (this.#byType.get(`${kind}|${typeName}`) as ExtensionFactory<K> | undefined) ?? null;
  }

  findByName<K extends ExtensionKind>(kind: K, name: string): ExtensionFactory<K> | null {
    return (this.#byName.get(`${kind}|${name}`) as ExtensionFactory<K> | undefined) ?? null;
  }

  findByRouteType(typeName: string): ExtensionFactory | null {
    return this.#byRouteType.get(typeName) ?? null;
  }

  /** See {@link BuildContext.unpack}. */
  unpack(context: BuildContext, field: string, any: Any | undefined): Message | null {
    if (any === undefined || any.typeUrl === '') {
      context.refuse(field, 'a typed configuration is missing', 'give it a "@type"');
      return null;
    }
    const unpacked = context.shared.anys.unpack(any);
    if (unpacked.ok) return unpacked.message;
    context.refuse(field, unpacked.reason);
    return null;
  }

  /**
   * Finds the factory for `any` (a TypedStruct taken off), and builds. Errors are reported at `field`. As in Envoy 1.40 the
   * type decides, never the name.
   */
  build<K extends ExtensionKind>(
    kind: K,
    context: BuildContext,
    field: string,
    name: string,
    any: Any | undefined,
  ): ExtensionProducts[K] | null {
    if (any === undefined || any.typeUrl === '') {
      const found = this.findByName(kind, name);
      context.refuse(
        field,
        `Didn't find a registered implementation for '${name}' with type URL: ''`,
        found === null
          ? `give it a typed_config; supported: ${this.#namesOf(kind)}`
          : `give it a typed_config with "@type": type.googleapis.com/${found.configType}`,
      );
      return null;
    }
    const config = this.unpack(context, field, any);
    if (config === null) return null;
    const type = config.$typeName;
    const factory = this.findByType(kind, type);
    if (factory === null) {
      const other = this.#all.find((each) => each.configType === type)?.kind ?? kindOfType(type);
      const known = `supported: ${this.#namesOf(kind)}`;
      if (other === '' || other === kind) context.refuse(field, `${kind} ${type} is not supported yet`, known);
      else context.refuse(field, `${type} is not the configuration of a ${kind} but of a ${other}`, known);
      return null;
    }
    return factory.build(config, context.at(field));
  }

  #namesOf(kind: string): string {
    const names = this.#all.filter((factory) => factory.kind === kind).map((factory) => factory.name);
    return names.length === 0 ? 'none' : names.join(', ');
  }
}

const KIND_OF_PACKAGE: readonly (readonly [string, string])[] = [
  ['envoy.extensions.filters.http.', 'http-filter'],
  ['envoy.extensions.filters.network.', 'network-filter'],
  ['envoy.extensions.filters.listener.', 'listener-filter'],
  ['envoy.extensions.access_loggers.', 'access-logger'],
  ['envoy.extensions.transport_sockets.', 'transport-socket'],
  ['envoy.extensions.load_balancing_policies.', 'load-balancing-policy'],
  ['envoy.extensions.upstreams.', 'set of protocol options'],
  ['envoy.config.cluster.', 'cluster'],
  ['envoy.config.listener.', 'listener'],
  ['envoy.config.route.', 'route table'],
  ['envoy.config.trace.', 'tracer'],
];

/** What the package of a type that no factory has says of its kind; empty: nothing. */
function kindOfType(type: string): string {
  return KIND_OF_PACKAGE.find(([start]) => type.startsWith(start))?.[1] ?? '';
}
