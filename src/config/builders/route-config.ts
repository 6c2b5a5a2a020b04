import type { Metadata } from '../../api/gen/envoy/config/core/v3/base_pb.d.ts';
import type {
  RouteAction_RequestMirrorPolicy,
  RouteMatch as RouteMatchMessage,
  Route as RouteMessage,
  VirtualHost,
} from '../../api/gen/envoy/config/route/v3/route_components_pb.d.ts';
import type { RouteConfiguration, Vhds } from '../../api/gen/envoy/config/route/v3/route_pb.d.ts';
import type { UriTemplateMatchConfig } from '../../api/gen/envoy/extensions/path/match/uri_template/v3/uri_template_match_pb.d.ts';
import { assert } from '../../base/assert.ts';
import { NO_CLUSTER } from '../../routing/cluster-choice.ts';
import type { RouteSpec } from '../../routing/route.ts';
import { NonForwardingAction } from '../../routing/route-action.ts';
import { PathMatcher, RouteMatch, TlsContextMatch } from '../../routing/route-match.ts';
import { type ConfigMetadata, Decorator, type MirrorPolicy, NO_METADATA } from '../../routing/route-policies.ts';
import { RouteTable, type RouteTableSpec } from '../../routing/route-table.ts';
import type { MetadataStruct } from '../../routing/stream-view.ts';
import { UriTemplate } from '../../routing/uri-template.ts';
import { type TlsRequirement, VirtualCluster, type VirtualHostSpec } from '../../routing/virtual-host.ts';
import { wireText } from '../../routing/wire-text.ts';
import type { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';
import { buildConfigSource } from './config-source.ts';
import { CORS_SUPPORT } from './cors-policy.ts';
import { FORMAT_SUPPORT } from './format.ts';
import {
  buildClusterChoice,
  buildDirectResponse,
  buildForwardAction,
  buildRedirect,
  type RouteDefaults,
} from './route-config-action.ts';
import { buildFilterConfigs } from './route-config-filters.ts';
import { buildMutations, HEADER_MUTATION_SUPPORT } from './route-config-headers.ts';
import {
  buildCookieMatchers,
  buildFilterStateMatcher,
  buildHeaderMatchers,
  buildMetadataMatcher,
  buildQueryParameterMatchers,
  buildRegex,
  buildRuntimeFraction,
  MATCHER_SUPPORT,
} from './route-config-matchers.ts';
import { buildMirrorPolicy, buildRateLimits, ROUTE_POLICY_SUPPORT } from './route-config-policies.ts';
import { type RoutePieces, type UnbuiltHost, type UnbuiltTable, wholeTable } from './route-pieces.ts';
import { type ClusterNames, EachBuilt, type PieceBuilds, RouteReuse } from './route-reuse.ts';
import { buildRouteTracing, ROUTE_TRACING_SUPPORT } from './tracing.ts';

const MUTATION_FIELDS =
  'request_headers_to_add request_headers_to_remove response_headers_to_add response_headers_to_remove';

/**
 * What the builders of route tables obey. Built as data, and to be named here when the pipeline carries them out:
 * RouteAction.hedge_policy.
 */
export const ROUTE_CONFIG_SUPPORT: readonly FieldSupport[] = [
  ...FORMAT_SUPPORT,
  ...MATCHER_SUPPORT,
  ...HEADER_MUTATION_SUPPORT,
  ...ROUTE_POLICY_SUPPORT,
  ...CORS_SUPPORT,
  { message: 'envoy.config.core.v3.Metadata', fields: 'filter_metadata', inert: 'typed_filter_metadata' },
  {
    message: 'envoy.config.route.v3.RouteConfiguration',
    fields: `name virtual_hosts internal_only_headers ${MUTATION_FIELDS} most_specific_header_mutations_wins
      validate_clusters max_direct_response_body_size_bytes ignore_port_in_host_matching vhost_header
      ignore_path_parameters_in_path_matching typed_per_filter_config request_mirror_policies vhds`,
    // Only extensions that are not supported look at it.
    inert: 'metadata',
  },
  {
    message: 'envoy.config.route.v3.VirtualHost',
    fields: `name domains routes require_tls rate_limits ${MUTATION_FIELDS} typed_per_filter_config
      include_request_attempt_count include_attempt_count_in_response include_is_timeout_retry_header retry_policy
      per_request_buffer_limit_bytes request_body_buffer_limit metadata virtual_clusters cors request_mirror_policies`,
  },
  {
    message: 'envoy.config.route.v3.Route',
    fields: `name match route redirect direct_response non_forwarding_action metadata typed_per_filter_config
      ${MUTATION_FIELDS} per_request_buffer_limit_bytes request_body_buffer_limit stat_prefix decorator tracing`,
  },
  { message: 'envoy.config.route.v3.Vhds', fields: '*' },
  { message: 'envoy.config.route.v3.Decorator', fields: '*' },
  ...ROUTE_TRACING_SUPPORT,
  { message: 'envoy.config.route.v3.VirtualCluster', fields: '*' },
  { message: 'envoy.config.route.v3.NonForwardingAction', fields: '*' },
  { message: 'envoy.config.route.v3.RouteMatch', fields: '*' },
  { message: 'envoy.config.route.v3.RouteMatch.GrpcRouteMatchOptions', fields: '*' },
  { message: 'envoy.config.route.v3.RouteMatch.TlsContextMatchOptions', fields: '*' },
  { message: 'envoy.config.route.v3.RouteMatch.ConnectMatcher', fields: '*' },
  { message: 'envoy.config.core.v3.TypedExtensionConfig', fields: 'name typed_config' },
  { message: 'envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig', fields: '*' },
  { message: 'envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig', fields: '*' },
  { message: 'envoy.config.route.v3.FilterConfig', fields: '*' },
  {
    message: 'envoy.config.route.v3.RouteAction',
    fields: `cluster cluster_header weighted_clusters cluster_not_found_response_code metadata_match prefix_rewrite
      regex_rewrite path_rewrite_policy path_rewrite host_rewrite_literal auto_host_rewrite host_rewrite_header
      host_rewrite_path_regex host_rewrite append_x_forwarded_host timeout idle_timeout flush_timeout retry_policy priority rate_limits
      include_vh_rate_limits hash_policy upgrade_configs max_stream_duration max_grpc_timeout grpc_timeout_offset cors request_mirror_policies internal_redirect_policy
      internal_redirect_action max_internal_redirects`,
  },
  { message: 'envoy.config.route.v3.RouteAction.MaxStreamDuration', fields: '*' },
  {
    message: 'envoy.config.route.v3.WeightedCluster',
    fields: 'clusters runtime_key_prefix header_name use_hash_policy',
    // Deprecated; Envoy takes the sum.
    inert: 'total_weight',
  },
  {
    message: 'envoy.config.route.v3.WeightedCluster.ClusterWeight',
    fields: `name cluster_header weight metadata_match ${MUTATION_FIELDS} typed_per_filter_config host_rewrite_literal`,
  },
  { message: 'envoy.config.route.v3.RedirectAction', fields: '*' },
  { message: 'envoy.config.route.v3.DirectResponseAction', fields: '*' },
];

function checkVhds(context: BuildContext, message: Vhds, discovered: boolean): void {
  if (!discovered) {
    context.refuse('', 'virtual hosts are discovered only for route tables that are discovered, too', 'use rds');
    return;
  }
  const source = buildConfigSource(context, 'config_source', message.configSource);
  // Envoy asks for the same.
  if (source === null || source.kind === 'ads' || (source.kind === 'api' && source.api.isDelta)) return;
  context.refuse(
    'config_source',
    "vhds: only 'DELTA_GRPC' or 'ADS' (which uses Delta xDS) is supported as a config source.",
  );
}

const DEFAULT_MAX_DIRECT_RESPONSE_BYTES = 4096;

/**
 * A route table from its message; `context` stands at the RouteConfiguration. All that is wrong is reported.
 * @param discovered by RDS: its virtual hosts may be discovered, too
 * @returns null when errors were reported
 */
export function buildRouteTable(
  context: BuildContext,
  message: RouteConfiguration,
  discovered = false,
): RouteTable | null {
  const each = new EachBuilt(context, namesFor(context, message));
  const spec = buildTableSpec(context, wholeTable(message), discovered, each);
  return spec === null ? null : new RouteTable(spec, context.shared.runtime);
}

/**
 * A discovered route table of which pieces were built before.
 * @param table where pieces were built, it may have nothing
 */
export function buildFromPieces(context: BuildContext, table: UnbuiltTable, pieces: RoutePieces): RouteTable | null {
  const reuse = new RouteReuse(context, pieces, namesFor(context, table.head), true);
  const spec = buildTableSpec(context, table, true, reuse);
  return spec === null ? null : new RouteTable(spec, context.shared.runtime);
}

/** Whether a discovered route table can be built. All that is wrong is reported. */
export function checkPieces(context: BuildContext, message: RouteConfiguration, pieces: RoutePieces): boolean {
  const reuse = new RouteReuse(context, pieces, namesFor(context, message), false);
  return buildTableSpec(context, wholeTable(message), true, reuse) !== null;
}

/** Null: clusters are not checked. */
function namesFor(context: BuildContext, { validateClusters }: RouteConfiguration): ReadonlySet<string> | null {
  return validateClusters === false ? null : context.shared.clusterNames;
}

function buildTableSpec(
  context: BuildContext,
  { head: message, hosts: unbuilt }: UnbuiltTable,
  discovered: boolean,
  builds: PieceBuilds,
): RouteTableSpec | null {
  const errorsBefore = context.errorCount;
  if (message.vhds !== undefined) checkVhds(context.at('vhds'), message.vhds, discovered);
  const { clusterNames } = builds;
  const mirrors = buildMirrors(context, message.requestMirrorPolicies, clusterNames);
  const domains = new Map<string, string>();
  const virtualHosts: VirtualHostSpec[] = [];
  unbuilt.forEach((host, i) => {
    // Where it is missing, main has looked at it.
    if (host !== null) checkDomains(context, i, host.head, message.name, domains);
    const spec = builds.host(i, () => {
      assert(host !== null, 'a virtual host that is not built has a message');
      const at = builds.context.at(`virtual_hosts[${i}]`);
      const defaults: RouteDefaults = {
        retryPolicy: host.head.retryPolicy,
        hedgePolicy: host.head.hedgePolicy,
        mirrorPolicies: mirrors,
        clusterNames,
        maxDirectResponseBytes: message.maxDirectResponseBodySizeBytes ?? DEFAULT_MAX_DIRECT_RESPONSE_BYTES,
        virtualHost: at,
      };
      return buildVirtualHost(at, host, defaults, i, builds);
    });
    if (spec !== null) virtualHosts.push(spec);
  });
  const mutations = buildMutations(context, message);
  const filterConfigs = buildFilterConfigs(context, message.typedPerFilterConfig);
  if (context.errorCount > errorsBefore) return null;
  return {
    name: message.name,
    virtualHosts,
    ...mutations,
    filterConfigs,
    metadata: configMetadata(message.metadata),
    mostSpecificHeaderMutationsWins: message.mostSpecificHeaderMutationsWins,
    ignorePathParametersInPathMatching: message.ignorePathParametersInPathMatching,
    ignorePortInHostMatching: message.ignorePortInHostMatching,
    virtualHostHeader: wireText(message.vhostHeader).toLowerCase(),
    internalOnlyHeaders: message.internalOnlyHeaders.map((header) => wireText(header).toLowerCase()),
    usesVhds: message.vhds !== undefined,
  };
}

/** Domains are unique in a table, without regard to case; names of virtual hosts need not be (Envoy 1.40 takes them). */
function checkDomains(
  context: BuildContext,
  hostIndex: number,
  host: VirtualHost,
  tableName: string,
  seen: Map<string, string>,
): void {
  host.domains.forEach((domain, i) => {
    const key = domain.toLowerCase();
    const field = `virtual_hosts[${hostIndex}].domains[${i}]`;
    const first = seen.get(key);
    if (first === undefined) {
      seen.set(key, field);
      return;
    }
    context.refuse(
      field,
      key === '*'
        ? `Only a single wildcard domain is permitted in route ${tableName}`
        : `Only unique values for domains are permitted. Duplicate entry of domain ${key} in route ${tableName}`,
      `it stands at ${context.resolve(first)} too`,
    );
  });
}

function buildMirrors(
  context: BuildContext,
  messages: readonly RouteAction_RequestMirrorPolicy[],
  clusterNames: ClusterNames | null,
): MirrorPolicy[] {
  return messages
    .map((each, i) => buildMirrorPolicy(context, `request_mirror_policies[${i}]`, each, clusterNames))
    .filter((each) => each !== null);
}

function configMetadata(message: Metadata | undefined): ConfigMetadata {
  return message === undefined
    ? NO_METADATA
    : new Map(Object.entries(message.filterMetadata) as [string, MetadataStruct][]);
}

/** Bytes; null when neither field is set. The newer field wins. */
function bufferLimit(limit: bigint | undefined, deprecated: number | undefined): number | null {
  return limit !== undefined ? Number(limit) : (deprecated ?? null);
}

function buildVirtualHost(
  context: BuildContext,
  { head: message, routes: unbuilt }: UnbuiltHost,
  inherited: RouteDefaults,
  index: number,
  builds: PieceBuilds,
): VirtualHostSpec {
  const own = buildMirrors(context, message.requestMirrorPolicies, inherited.clusterNames);
  const defaults: RouteDefaults = own.length === 0 ? inherited : { ...inherited, mirrorPolicies: own };
  if (message.matcher !== undefined && unbuilt.length > 0) {
    context.refuse('matcher', 'cannot set both matcher and routes on virtual host');
  }
  const routes: RouteSpec[] = [];
  unbuilt.forEach((route, i) => {
    const spec = builds.route(index, i, () => {
      assert(route !== null, 'a route that is not built has a message');
      return buildRoute(context.at(`routes[${i}]`), route, defaults);
    });
    if (spec !== null) routes.push(spec);
  });
  const virtualClusters = message.virtualClusters.map((each, i) => {
    if (each.headers.length === 0) {
      context.refuse(`virtual_clusters[${i}].headers`, "virtual clusters must define 'headers'");
    }
    return new VirtualCluster(each.name, buildHeaderMatchers(context, `virtual_clusters[${i}].headers`, each.headers));
  });
  return {
    name: message.name,
    domains: message.domains.map(wireText),
    routes,
    requireTls: message.requireTls as TlsRequirement,
    virtualClusters,
    rateLimits: buildRateLimits(context, 'rate_limits', message.rateLimits),
    ...buildMutations(context, message),
    filterConfigs: buildFilterConfigs(context, message.typedPerFilterConfig, message.cors),
    metadata: configMetadata(message.metadata),
    includeRequestAttemptCount: message.includeRequestAttemptCount,
    includeAttemptCountInResponse: message.includeAttemptCountInResponse,
    includeIsTimeoutRetryHeader: message.includeIsTimeoutRetryHeader,
    requestBodyBufferLimit: bufferLimit(message.requestBodyBufferLimit, message.perRequestBufferLimitBytes),
  };
}

/** `context` stands at the Route. Null: too much is missing; it was reported here or by the check of constraints. */
function buildRoute(context: BuildContext, message: RouteMessage, defaults: RouteDefaults): RouteSpec | null {
  if (message.match === undefined) {
    context.refuse('match', 'a match is missing', 'match: { prefix: "/" } matches every path');
    return null;
  }
  const match = buildRouteMatch(context.at('match'), message.match);
  const path = match?.path ?? PathMatcher.prefix('/');
  const action = message.action;
  const spec: RouteSpec = {
    name: message.name,
    match: match ?? RouteMatch.ofPath(path),
    action: new NonForwardingAction(),
    cluster: NO_CLUSTER,
    ...buildMutations(context, message),
    filterConfigs: buildFilterConfigs(
      context,
      message.typedPerFilterConfig,
      action.case === 'route' ? action.value.cors : undefined,
      'route.cors',
    ),
    metadata: configMetadata(message.metadata),
    decorator:
      message.decorator === undefined
        ? null
        : new Decorator(wireText(message.decorator.operation), message.decorator.propagate ?? true),
    tracing: message.tracing === undefined ? null : buildRouteTracing(context.at('tracing'), message.tracing),
    statPrefix: message.statPrefix,
    requestBodyBufferLimit: bufferLimit(message.requestBodyBufferLimit, message.perRequestBufferLimitBytes),
  };
  switch (action.case) {
    case 'route':
      spec.action = buildForwardAction(context.at('route'), action.value, path, defaults);
      spec.cluster = buildClusterChoice(context.at('route'), action.value, message.name, defaults);
      break;
    case 'redirect':
      spec.action = buildRedirect(context.at('redirect'), action.value);
      break;
    case 'directResponse':
      spec.action = buildDirectResponse(context.at('direct_response'), action.value, defaults.maxDirectResponseBytes);
      break;
    case 'nonForwardingAction':
      break;
    default:
      // A missing action and filter_action are left to the checks of constraints and of supported fields.
      return null;
  }
  return match === null ? null : spec;
}

function buildPathMatcher(context: BuildContext, message: RouteMatchMessage): PathMatcher | null {
  const specifier = message.pathSpecifier;
  const caseSensitive = message.caseSensitive ?? true;
  switch (specifier.case) {
    case 'prefix':
      return PathMatcher.prefix(wireText(specifier.value), caseSensitive);
    case 'path':
      return PathMatcher.exact(wireText(specifier.value), caseSensitive);
    case 'pathSeparatedPrefix':
      return PathMatcher.separatedPrefix(wireText(specifier.value), caseSensitive);
    case 'safeRegex': {
      const regex = buildRegex(context, 'safe_regex', specifier.value);
      return regex === null ? null : PathMatcher.regex(regex);
    }
    case 'connectMatcher':
      return PathMatcher.connect();
    case 'pathMatchPolicy': {
      const field = 'path_match_policy.typed_config';
      const config = context.unpack(field, specifier.value.typedConfig);
      if (config === null) return null;
      if (config.$typeName !== 'envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig') {
        context.refuse(field, `path matcher ${config.$typeName} is not supported yet`);
        return null;
      }
      const text = (config as UriTemplateMatchConfig).pathTemplate;
      const template = UriTemplate.compile(text);
      if (template.ok) return PathMatcher.template(template.value);
      context.refuse(`${field}.path_template`, `path_match_policy.path_template ${text} is invalid: ${template.error}`);
      return null;
    }
    default:
      context.refuse('', 'a path specifier is missing', 'set prefix, path, safe_regex or path_separated_prefix');
      return null;
  }
}

function buildRouteMatch(context: BuildContext, message: RouteMatchMessage): RouteMatch | null {
  const path = buildPathMatcher(context, message);
  const tls = message.tlsContext;
  const fields = {
    runtimeFraction:
      message.runtimeFraction === undefined ? null : buildRuntimeFraction(context, message.runtimeFraction),
    grpc: message.grpc !== undefined,
    headers: buildHeaderMatchers(context, 'headers', message.headers),
    queryParameters: buildQueryParameterMatchers(context, 'query_parameters', message.queryParameters),
    cookies: buildCookieMatchers(context, 'cookies', message.cookies),
    tlsContext: tls === undefined ? null : new TlsContextMatch(tls.presented ?? null, tls.validated ?? null),
    dynamicMetadata: message.dynamicMetadata
      .map((each, i) => buildMetadataMatcher(context, `dynamic_metadata[${i}]`, each))
      .filter((each) => each !== null),
    filterState: message.filterState
      .map((each, i) => buildFilterStateMatcher(context, `filter_state[${i}]`, each))
      .filter((each) => each !== null),
  };
  return path === null ? null : new RouteMatch({ path, ...fields });
}
