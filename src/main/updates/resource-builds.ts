import { create, fromBinary, fromJson, type JsonObject, type Message, toBinary } from '@bufbuild/protobuf';
import type { ApiRegistry } from '../../api/api-registry.ts';
import type { Cluster } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.d.ts';
import type { ConfigSource } from '../../api/gen/envoy/config/core/v3/config_source_pb.d.ts';
import type { TypedExtensionConfig } from '../../api/gen/envoy/config/core/v3/extension_pb.d.ts';
import type { ClusterLoadAssignment } from '../../api/gen/envoy/config/endpoint/v3/endpoint_pb.d.ts';
import type { Listener } from '../../api/gen/envoy/config/listener/v3/listener_pb.d.ts';
import type { RouteConfiguration } from '../../api/gen/envoy/config/route/v3/route_pb.d.ts';
import type { ScopedRouteConfiguration } from '../../api/gen/envoy/config/route/v3/scoped_route_pb.d.ts';
import type { Rds } from '../../api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.d.ts';
import type { Secret } from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.d.ts';
import { err, ok, type Result } from '../../base/result.ts';
import { BuildContext, type BuildScope } from '../../config/build-context.ts';
import { buildCluster } from '../../config/builders/cluster.ts';
import { buildStaticHosts } from '../../config/builders/cluster-endpoints.ts';
import {
  buildConfigSource,
  digestOf,
  type RouteDependency,
  type SourceSpec,
} from '../../config/builders/config-source.ts';
import { buildExtension, type ExtensionDependency } from '../../config/builders/discovered-extension.ts';
import { buildListener, type ListenerSpec } from '../../config/builders/listener.ts';
import { buildRds } from '../../config/builders/rds.ts';
import { buildRouteTable, checkPieces } from '../../config/builders/route-config.ts';
import type { RoutePieces } from '../../config/builders/route-pieces.ts';
import type { ScopeDependency } from '../../config/builders/scoped-routes.ts';
import { errorLine } from '../../config/diagnostics/render.ts';
import type { ExtensionRegistry } from '../../config/extension-registry.ts';
import type { FieldSupportTable } from '../../config/field-support.ts';
import { AnyMessages } from '../../config/load/any-messages.ts';
import { buildCertificate } from '../../config/secrets/build-certificate.ts';
import { buildValidation } from '../../config/secrets/build-validation.ts';
import type { SecretDependency, SecretKind } from '../../config/secrets/secret-dependency.ts';
import type { TlsBuild } from '../../config/secrets/tls-build.ts';
import { supportedFields } from '../../config/supported-fields.ts';
import type { RuntimeReader } from '../../routing/runtime-fraction.ts';
import { StatsStore } from '../../stats/store.ts';
import type { ClusterSpec } from '../../upstream/cluster-spec.ts';
import type { HostUpdate } from '../../upstream/host-update.ts';
import { locate } from '../../xds/resource-decoder.ts';
import type { DiscoveredResource, ResourceOrigin } from '../../xds/resource-source.ts';
import type { Needs } from './needs.ts';

const RDS = 'envoy.extensions.filters.network.http_connection_manager.v3.Rds';
const NOWHERE: ResourceOrigin = { positions: null, path: '', anys: null };

export interface BuiltCluster {
  readonly spec: ClusterSpec;
  readonly secrets: readonly SecretDependency[];
}

export interface BuiltListener {
  readonly spec: ListenerSpec;
  readonly needs: Needs;
}

/** Takes down which secrets one resource needs: each once. */
class NeededSecrets implements TlsBuild {
  readonly staticSecrets: TlsBuild['staticSecrets'];
  readonly refusal: TlsBuild['refusal'];
  readonly #found = new Map<string, SecretDependency>();

  constructor({ staticSecrets, refusal }: Omit<TlsBuild, 'require'>) {
    this.staticSecrets = staticSecrets;
    this.refusal = refusal;
  }

  require(dependency: SecretDependency): void {
    this.#found.set(dependency.key, dependency);
  }

  get all(): readonly SecretDependency[] {
    return [...this.#found.values()];
  }
}

/** Builds resources dry, as workers will build them: what is accepted here cannot fail there. */
export class ResourceBuilds {
  readonly #api: ApiRegistry;
  readonly #extensions: ExtensionRegistry;
  readonly #runtime: RuntimeReader;
  readonly #fields: FieldSupportTable;
  #tls: Omit<TlsBuild, 'require'>;
  /** Messages of route tables in which all fields are supported. */
  readonly #supported = new WeakSet<Message>();

  constructor(api: ApiRegistry, extensions: ExtensionRegistry, runtime: RuntimeReader, tls: Omit<TlsBuild, 'require'>) {
    this.#tls = tls;
    this.#api = api;
    this.#extensions = extensions;
    this.#runtime = runtime;
    this.#fields = supportedFields(extensions);
  }

  /** The configuration file's own secrets are others from now on. */
  useStaticSecrets(staticSecrets: TlsBuild['staticSecrets']): void {
    this.#tls = { ...this.#tls, staticSecrets };
  }

  cluster(resource: DiscoveredResource, viaApi: boolean): Result<BuiltCluster, string> {
    const secrets = new NeededSecrets(this.#tls);
    const more = { tls: secrets };
    const built = this.#build(resource, more, (context) => buildCluster(context, resource.message as Cluster, viaApi));
    return built.ok ? ok({ spec: built.value, secrets: secrets.all }) : built;
  }

  /** @param clusterNames that exist, for routes that are checked against them */
  listener(resource: DiscoveredResource, clusterNames: ReadonlySet<string>): Result<BuiltListener, string> {
    const collected = this.#collected();
    const more = { clusterNames, ...collected.scope };
    const built = this.#build(resource, more, (context) => buildListener(context, resource.message as Listener));
    return built.ok ? ok({ spec: built.value, needs: collected.needs() }) : built;
  }

  /** What a listener of the bootstrap needs. Its secrets are not among it: the bootstrap's are held for the life of the process. */
  needsOf(message: Listener, anys: AnyMessages): Needs {
    const collected = this.#collected();
    buildListener(this.#context({ anys, ...collected.scope }), message);
    return { ...collected.needs(), secrets: [] };
  }

  /**
   * A discovered extension, in one of the places that ask for it.
   * @returns what it needs in its turn
   */
  extension(
    resource: DiscoveredResource,
    place: ExtensionDependency,
    clusterNames: ReadonlySet<string>,
  ): Result<Needs, string> {
    const collected = this.#collected();
    const { typedConfig } = resource.message as TypedExtensionConfig;
    const built = this.#build(resource, { clusterNames, ...collected.scope }, (context) =>
      buildExtension(context, place.kind, place, 'typed_config', typedConfig),
    );
    return built.ok ? ok(collected.needs()) : built;
  }

  /** Takes down what a resource under construction needs. */
  #collected(): { readonly scope: Partial<BuildScope>; needs(): Needs } {
    const routes: RouteDependency[] = [];
    const scopes: ScopeDependency[] = [];
    const extensions: ExtensionDependency[] = [];
    const secrets = new NeededSecrets(this.#tls);
    return {
      scope: {
        routeDependencies: routes,
        scopeDependencies: scopes,
        extensionDependencies: extensions,
        tls: secrets,
      },
      needs: () => ({ routes, scopes, extensions, secrets: secrets.all }),
    };
  }

  /**
   * @param pieces of its encoding
   * @param clusterNames that exist: discovered routes are checked against them only when they ask for it
   */
  routeTable(
    resource: DiscoveredResource,
    pieces: RoutePieces,
    clusterNames: ReadonlySet<string>,
  ): Result<true, string> {
    const message = resource.message as RouteConfiguration;
    const more = message.validateClusters === true ? { clusterNames } : {};
    const built = this.#build(resource, more, (context) => (checkPieces(context, message, pieces) ? true : null));
    if (built.ok) this.#noteSupported(message);
    return built;
  }

  /**
   * What is wrong with a table to which virtual hosts were added; empty: nothing.
   * @param pieces of its encoding
   */
  routesFault(message: RouteConfiguration, pieces: RoutePieces, clusterNames: ReadonlySet<string>): string {
    const context = this.#context({ ...(message.validateClusters === true ? { clusterNames } : {}) });
    this.#fields.check(context, this.#api.message(message.$typeName)!, message, this.#supported);
    checkPieces(context, message, pieces);
    const { errors } = context.shared;
    if (errors.length === 0) this.#noteSupported(message);
    return errors.map((issue) => `${issue.path}: ${issue.reason}`).join('\n');
  }

  /** Versions of a table share what is equal in them: it need not be looked through again. */
  #noteSupported({ virtualHosts }: RouteConfiguration): void {
    for (const host of virtualHosts) {
      if (this.#supported.has(host)) continue;
      for (const route of host.routes) this.#supported.add(route);
      this.#supported.add(host);
    }
  }

  /** Where the virtual hosts of a table come from; null: from nowhere. */
  hostSource(message: RouteConfiguration): SourceSpec | null {
    return this.source(message.vhds?.configSource);
  }

  /** Null: there is none, or it is no good. */
  source(message: ConfigSource | undefined): SourceSpec | null {
    return message === undefined ? null : buildConfigSource(this.#context({}), '', message);
  }

  /** The route table that a scope brings. */
  scope(resource: DiscoveredResource, clusterNames: ReadonlySet<string>): Result<true, string> {
    const message = (resource.message as ScopedRouteConfiguration).routeConfiguration!;
    const more = message.validateClusters === true ? { clusterNames } : {};
    const built = this.#build(resource, more, (context) => buildRouteTable(context.at('route_configuration'), message));
    return built.ok ? ok(true) : built;
  }

  /** Where a scope's route table comes from. Null: the source is no good, which the listener's builder has said. */
  routeDependency(configSource: ConfigSource, name: string, statPrefix: string): RouteDependency | null {
    const rds = create(this.#api.message(RDS)!, { configSource, routeConfigName: name }) as Rds;
    const dependency = buildRds(this.#context({}), rds, '');
    return dependency === null ? null : { ...dependency, statPrefix };
  }

  /** Equal for equal messages. */
  digestOf(message: Message): string {
    return digestOf(this.#context({}), message);
  }

  encode<M extends Message>(message: M): Uint8Array {
    return toBinary(this.#api.message(message.$typeName)!, message);
  }

  assignment(resource: DiscoveredResource, cluster: string): Result<readonly HostUpdate[], string> {
    return this.#build(resource, {}, (context) =>
      buildStaticHosts(context, cluster, resource.message as ClusterLoadAssignment),
    );
  }

  /** What is wrong with a secret whose files are inline; empty: nothing. */
  secretFault(kind: SecretKind, secret: Secret): string {
    const context = this.#context({});
    const { type } = secret;
    if (type.case === 'tlsCertificate') buildCertificate(context, type.value);
    else if (type.case === 'validationContext') buildValidation(context, type.value);
    else context.refuse('', `no ${kind}`);
    return context.shared.errors.map((issue) => issue.reason).join('; ');
  }

  /** Where the endpoints of an EDS cluster come from; null: it is none. */
  endpointSource(message: Cluster): SourceSpec | null {
    const { edsClusterConfig } = message;
    if (edsClusterConfig === undefined) return null;
    return buildConfigSource(this.#context({}), 'eds_config', edsClusterConfig.edsConfig);
  }

  /** A cluster that was built before, again: main keeps its bytes alone. @throws Error when it cannot be built: a bug */
  clusterFrom(bytes: Uint8Array): ClusterSpec {
    const context = this.#context({ tls: new NeededSecrets(this.#tls) });
    const spec = buildCluster(context, this.decode<Cluster>('envoy.config.cluster.v3.Cluster', bytes));
    if (spec === null) throw new Error(context.shared.errors.map((issue) => issue.reason).join('; '));
    return spec;
  }

  /** A cluster of our own making. @throws Error when it cannot be built: a bug */
  clusterOf(json: JsonObject): BuiltCluster {
    const desc = this.#api.message('envoy.config.cluster.v3.Cluster')!;
    const secrets = new NeededSecrets(this.#tls);
    const context = this.#context({ tls: secrets });
    const spec = buildCluster(context, fromJson(desc, json, { registry: this.#api.registry }) as Cluster);
    if (spec === null) throw new Error(context.shared.errors.map((issue) => issue.reason).join('; '));
    return { spec, secrets: secrets.all };
  }

  decode<M extends Message>(typeName: string, bytes: Uint8Array): M {
    return fromBinary(this.#api.message(typeName)!, bytes) as M;
  }

  #context(more: Partial<BuildScope>): BuildContext {
    return new BuildContext({
      api: this.#api,
      anys: new AnyMessages(this.#api),
      extensions: this.#extensions,
      runtime: this.#runtime,
      errors: [],
      warnings: [],
      stats: new StatsStore().root,
      clusterNames: null,
      ...more,
    });
  }

  #build<T>(
    resource: DiscoveredResource,
    more: Partial<BuildScope>,
    build: (context: BuildContext) => T | null,
  ): Result<T, string> {
    const origin = resource.origin ?? NOWHERE;
    const context = this.#context({
      ...(origin.anys === null ? {} : { anys: origin.anys }),
      checksFiles: true,
      ...more,
    });
    const { message } = resource;
    this.#fields.check(context, this.#api.message(message.$typeName)!, message, this.#supported);
    const built = build(context);
    const { errors } = context.shared;
    if (built !== null && errors.length === 0) return ok(built);
    return err(errors.map((issue) => errorLine(locate(issue, origin))).join('\n'));
  }
}
