import { readFileSync } from 'node:fs';
import type { Duration } from '@bufbuild/protobuf/wkt';
import type { DataSource, Metadata } from '../../api/gen/envoy/config/core/v3/base_pb.d.ts';
import type {
  DirectResponseAction as DirectResponseMessage,
  HedgePolicy as HedgePolicyMessage,
  RedirectAction as RedirectMessage,
  RetryPolicy as RetryPolicyMessage,
  RouteAction as RouteActionMessage,
  WeightedCluster as WeightedClusterMessage,
} from '../../api/gen/envoy/config/route/v3/route_components_pb.d.ts';
import type { UriTemplateRewriteConfig } from '../../api/gen/envoy/extensions/path/rewrite/uri_template/v3/uri_template_rewrite_pb.d.ts';
import { type ClusterChoice, NO_CLUSTER, WeightedCluster } from '../../routing/cluster-choice.ts';
import type { PathRewrite } from '../../routing/path-rewrite.ts';
import { RedirectTarget } from '../../routing/redirect.ts';
import { RetryPolicy } from '../../routing/retry-policy.ts';
import {
  DirectResponseAction,
  ForwardAction,
  type HostRewrite,
  NO_HOST_REWRITE,
  RedirectAction,
  type RoutingPriority,
} from '../../routing/route-action.ts';
import { PathKind, type PathMatcher } from '../../routing/route-match.ts';
import {
  HedgePolicy,
  InternalRedirectPolicy,
  type MirrorPolicy,
  StreamDuration,
} from '../../routing/route-policies.ts';
import type { MetadataStruct } from '../../routing/stream-view.ts';
import { UriTemplateRewrite } from '../../routing/uri-template.ts';
import { wireText } from '../../routing/wire-text.ts';
import type { BuildContext } from '../build-context.ts';
import { durationMs, durationMsOr } from './durations.ts';
import { buildSubstitutionFormat, buildTextFormat } from './format.ts';
import { buildFilterConfigs } from './route-config-filters.ts';
import { buildMutations } from './route-config-headers.ts';
import { buildSubstitution } from './route-config-matchers.ts';
import {
  buildHashPolicy,
  buildHedgePolicy,
  buildInternalRedirectPolicy,
  buildMirrorPolicy,
  buildRateLimits,
  buildRetryPolicy,
  buildUpgrades,
  clusterHint,
} from './route-config-policies.ts';
import type { ClusterNames } from './route-reuse.ts';

/** What a route takes over from its virtual host and table. */
export interface RouteDefaults {
  readonly retryPolicy: RetryPolicyMessage | undefined;
  readonly hedgePolicy: HedgePolicyMessage | undefined;
  readonly mirrorPolicies: readonly MirrorPolicy[];
  /** Known clusters; null: names are not checked. */
  readonly clusterNames: ClusterNames | null;
  readonly maxDirectResponseBytes: number;
  /** Context of the virtual host, where its policies are reported. */
  readonly virtualHost: BuildContext;
}

const DEFAULT_TIMEOUT_MS = 15_000;
const NOT_FOUND_STATUS = [503, 404, 500];
const LB_NAMESPACE = 'envoy.lb';
const MAX_WEIGHT = 0xffff_ffff;

function lbMetadata(metadata: Metadata | undefined): MetadataStruct | null {
  const fields = metadata?.filterMetadata[LB_NAMESPACE];
  return fields === undefined ? null : (fields as MetadataStruct);
}

/** Milliseconds without fraction, as Envoy counts them; null when unset. */
function optionalMs(duration: Duration | undefined): number | null {
  return duration === undefined ? null : Math.trunc(durationMs(duration));
}

/** Where a forwarding route finds its cluster; `context` stands at the RouteAction. */
export function buildClusterChoice(
  context: BuildContext,
  message: RouteActionMessage,
  routeName: string,
  defaults: RouteDefaults,
): ClusterChoice {
  const specifier = message.clusterSpecifier;
  switch (specifier.case) {
    case 'cluster':
      checkCluster(context, 'cluster', 'cluster', specifier.value, defaults.clusterNames);
      return { kind: 'cluster', name: specifier.value };
    case 'clusterHeader':
      return { kind: 'header', header: wireText(specifier.value).toLowerCase() };
    case 'weightedClusters':
      return buildWeightedClusters(context.at('weighted_clusters'), specifier.value, routeName, defaults);
    default:
      // A missing specifier and the plugins are left to the checks of constraints and of supported fields.
      return NO_CLUSTER;
  }
}

function checkCluster(
  context: BuildContext,
  field: string,
  kind: string,
  name: string,
  names: ClusterNames | null,
): void {
  if (name === '' || names === null || names.has(name)) return;
  context.refuse(field, `route: unknown ${kind} '${name}'`, clusterHint(name, names));
}

function buildWeightedClusters(
  context: BuildContext,
  message: WeightedClusterMessage,
  routeName: string,
  defaults: RouteDefaults,
): ClusterChoice {
  const clusters: WeightedCluster[] = [];
  let total = 0;
  message.clusters.forEach((each, i) => {
    const at = context.at(`clusters[${i}]`);
    if ((each.name === '') === (each.clusterHeader === '')) {
      at.refuse(
        '',
        each.name === ''
          ? 'At least one of name or cluster_header need to be specified'
          : 'Only one of name or cluster_header can be specified',
      );
    }
    if (each.weight === undefined) at.refuse('weight', "Field 'weight' is missing");
    checkCluster(at, 'name', 'weighted cluster', each.name, defaults.clusterNames);
    total += each.weight ?? 0;
    const { requestMutations, responseMutations } = buildMutations(at, each);
    clusters.push(
      new WeightedCluster(
        each.name,
        wireText(each.clusterHeader).toLowerCase(),
        each.weight ?? 0,
        lbMetadata(each.metadataMatch),
        requestMutations,
        responseMutations,
        buildFilterConfigs(at, each.typedPerFilterConfig),
        wireText(each.hostRewriteSpecifier.value ?? ''),
      ),
    );
  });
  if (total === 0 && clusters.length > 0) {
    context.refuse('clusters', 'Sum of weights in the weighted_cluster must be greater than 0.');
  }
  if (total > MAX_WEIGHT) {
    context.refuse(
      'clusters',
      `The sum of weights of all weighted clusters of route ${routeName} exceeds ${MAX_WEIGHT}`,
    );
  }
  const random = message.randomValueSpecifier;
  return {
    kind: 'weighted',
    clusters,
    runtimeKeyPrefix: message.runtimeKeyPrefix,
    randomHeader: random.case === 'headerName' ? wireText(random.value).toLowerCase() : '',
    useHashPolicy: random.case === 'useHashPolicy' && random.value.value,
  };
}

/** `context` stands at the RouteAction. */
export function buildForwardAction(
  context: BuildContext,
  message: RouteActionMessage,
  path: PathMatcher,
  defaults: RouteDefaults,
): ForwardAction {
  let retryPolicy = RetryPolicy.NONE;
  if (message.retryPolicy !== undefined) {
    retryPolicy = buildRetryPolicy(context.at('retry_policy'), message.retryPolicy);
  } else if (defaults.retryPolicy !== undefined) {
    retryPolicy = buildRetryPolicy(defaults.virtualHost.at('retry_policy'), defaults.retryPolicy);
  }
  const hedge = message.hedgePolicy ?? defaults.hedgePolicy;
  const mirrors = message.requestMirrorPolicies
    .map((each, i) => buildMirrorPolicy(context, `request_mirror_policies[${i}]`, each, defaults.clusterNames))
    .filter((each) => each !== null);
  const duration = message.maxStreamDuration;
  return new ForwardAction({
    clusterNotFoundStatus: NOT_FOUND_STATUS[message.clusterNotFoundResponseCode] ?? 503,
    metadataMatch: lbMetadata(message.metadataMatch),
    pathRewrite: buildPathRewrite(context, message, path),
    hostRewrite: buildHostRewrite(context, message),
    appendXForwardedHost: message.appendXForwardedHost,
    timeoutMs: Math.trunc(durationMsOr(message.timeout, DEFAULT_TIMEOUT_MS)),
    idleTimeoutMs: optionalMs(message.idleTimeout),
    flushTimeoutMs: optionalMs(message.flushTimeout),
    streamDuration:
      duration === undefined
        ? StreamDuration.UNSET
        : new StreamDuration(
            true,
            optionalMs(duration.maxStreamDuration),
            optionalMs(duration.grpcTimeoutHeaderMax),
            optionalMs(duration.grpcTimeoutHeaderOffset),
          ),
    maxGrpcTimeoutMs: optionalMs(message.maxGrpcTimeout),
    grpcTimeoutOffsetMs: optionalMs(message.grpcTimeoutOffset),
    retryPolicy,
    hedgePolicy: hedge === undefined ? HedgePolicy.NONE : buildHedgePolicy(hedge),
    mirrorPolicies: mirrors.length > 0 ? mirrors : defaults.mirrorPolicies,
    hashPolicies: message.hashPolicy
      .map((each, i) => buildHashPolicy(context, `hash_policy[${i}]`, each))
      .filter((each) => each !== null),
    priority: message.priority as RoutingPriority,
    rateLimits: buildRateLimits(context, 'rate_limits', message.rateLimits),
    includeVirtualHostRateLimits: message.includeVhRateLimits ?? false,
    upgrades: buildUpgrades(context, message.upgradeConfigs),
    internalRedirect: buildInternalRedirects(context, message),
  });
}

function buildPathRewrite(context: BuildContext, message: RouteActionMessage, path: PathMatcher): PathRewrite | null {
  const given = [
    message.prefixRewrite !== '',
    message.regexRewrite !== undefined,
    message.pathRewritePolicy !== undefined,
    message.pathRewrite !== '',
  ].filter((each) => each).length;
  if (given > 1) {
    context.refuse('', 'Specify only one of prefix_rewrite, regex_rewrite or path_rewrite_policy', 'or path_rewrite');
    return null;
  }
  if (message.prefixRewrite !== '') {
    if (path.kind === PathKind.Template) {
      context.refuse('prefix_rewrite', 'Cannot use prefix_rewrite with matcher extension');
      return null;
    }
    return { kind: 'prefix', replacement: wireText(message.prefixRewrite) };
  }
  if (message.regexRewrite !== undefined) {
    const substitution = buildSubstitution(context, 'regex_rewrite', message.regexRewrite);
    return substitution === null ? null : { kind: 'regex', substitution };
  }
  if (message.pathRewritePolicy !== undefined) return buildTemplateRewrite(context, message, path);
  if (message.pathRewrite === '') return null;
  const formatter = buildTextFormat(context, 'path_rewrite', message.pathRewrite, true);
  return formatter === null ? null : { kind: 'format', formatter };
}

function buildTemplateRewrite(
  context: BuildContext,
  message: RouteActionMessage,
  path: PathMatcher,
): PathRewrite | null {
  const field = 'path_rewrite_policy.typed_config';
  const config = context.unpack(field, message.pathRewritePolicy?.typedConfig);
  if (config === null) return null;
  if (config.$typeName !== 'envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig') {
    context.refuse(field, `path rewriter ${config.$typeName} is not supported yet`);
    return null;
  }
  const text = (config as UriTemplateRewriteConfig).pathTemplateRewrite;
  const rewrite = UriTemplateRewrite.compile(text);
  if (!rewrite.ok) {
    context.refuse(
      `${field}.path_template_rewrite`,
      `path_rewrite_policy.path_template_rewrite ${text} is invalid`,
      'a path with {names} of the match template',
    );
    return null;
  }
  const template = path.template;
  if (template === null) {
    context.refuse(
      'path_rewrite_policy',
      'unable to use envoy.path.rewrite.uri_template.uri_template_rewriter extension without ' +
        'envoy.path.match.uri_template.uri_template_matcher extension',
    );
    return null;
  }
  if (!rewrite.value.variables.every((name) => template.variables.includes(name))) {
    context.refuse(
      `${field}.path_template_rewrite`,
      `mismatch between variables in path_match_policy ${template.text} and path_rewrite_policy ${text}`,
    );
    return null;
  }
  return { kind: 'template', template, rewrite: rewrite.value };
}

function buildHostRewrite(context: BuildContext, message: RouteActionMessage): HostRewrite {
  const specifier = message.hostRewriteSpecifier;
  switch (specifier.case) {
    case 'hostRewriteLiteral':
      return specifier.value === '' ? NO_HOST_REWRITE : { kind: 'literal', host: wireText(specifier.value) };
    case 'autoHostRewrite':
      return specifier.value.value ? { kind: 'auto' } : NO_HOST_REWRITE;
    case 'hostRewriteHeader':
      return specifier.value === ''
        ? NO_HOST_REWRITE
        : { kind: 'header', header: wireText(specifier.value).toLowerCase() };
    case 'hostRewritePathRegex': {
      const substitution = buildSubstitution(context, 'host_rewrite_path_regex', specifier.value);
      return substitution === null ? NO_HOST_REWRITE : { kind: 'path-regex', substitution };
    }
    case 'hostRewrite': {
      if (specifier.value === '') return NO_HOST_REWRITE;
      // Unlike in path_rewrite, an operator without value gives "-" here.
      const formatter = buildTextFormat(context, 'host_rewrite', specifier.value, false);
      return formatter === null ? NO_HOST_REWRITE : { kind: 'format', formatter };
    }
    default:
      return NO_HOST_REWRITE;
  }
}

const REDIRECT_STATUS = [301, 302, 303, 307, 308];

/** `context` stands at the RedirectAction. */
export function buildRedirect(context: BuildContext, message: RedirectMessage): RedirectAction {
  const scheme = message.schemeRewriteSpecifier;
  const path = message.pathRewriteSpecifier;
  return new RedirectAction(
    REDIRECT_STATUS[message.responseCode] ?? 301,
    new RedirectTarget({
      scheme: scheme.case === 'schemeRedirect' ? wireText(scheme.value) : '',
      https: scheme.case === 'httpsRedirect' && scheme.value,
      host: wireText(message.hostRedirect),
      port: message.portRedirect,
      path: path.case === 'pathRedirect' ? wireText(path.value) : '',
      prefixRewrite: path.case === 'prefixRewrite' ? wireText(path.value) : '',
      regexRewrite: path.case === 'regexRewrite' ? buildSubstitution(context, 'regex_rewrite', path.value) : null,
      pathFormat: path.case === 'pathRewrite' ? buildTextFormat(context, 'path_rewrite', path.value, true) : null,
      stripQuery: message.stripQuery,
    }),
    false,
  );
}

/** `context` stands at the DirectResponseAction. */
export function buildDirectResponse(
  context: BuildContext,
  message: DirectResponseMessage,
  maxBytes: number,
): DirectResponseAction {
  const body = message.body === undefined ? '' : (bodyBytes(context, 'body', message.body) ?? '');
  if (body.length > maxBytes) {
    context.refuse(
      'body',
      `response body size is ${body.length} bytes; maximum is ${maxBytes}`,
      'raise max_direct_response_body_size_bytes of the route configuration',
    );
  }
  const format = message.bodyFormat;
  if (format === undefined) return new DirectResponseAction(message.status, body, null, null);
  const formatter = buildSubstitutionFormat(context.at('body_format'), format);
  const fallback = format.format.case === 'jsonFormat' ? 'application/json' : 'text/plain';
  return new DirectResponseAction(message.status, body, formatter, format.contentType || fallback);
}

/** The bytes of a data source, one per character; null when refused. Read once, now. */
function bodyBytes(context: BuildContext, field: string, source: DataSource): string | null {
  const specifier = source.specifier;
  switch (specifier.case) {
    case 'inlineBytes':
      return Buffer.from(specifier.value).toString('latin1');
    case 'inlineString':
      return wireText(specifier.value);
    case 'environmentVariable': {
      const text = process.env[specifier.value];
      if (text !== undefined) return wireText(text);
      context.refuse(`${field}.environment_variable`, `Environment variable doesn't exist: ${specifier.value}`);
      return null;
    }
    case 'filename':
      context.dependsOnOutside();
      try {
        return readFileSync(specifier.value, 'latin1');
      } catch (error) {
        const missing = (error as { code?: string }).code === 'ENOENT';
        context.refuse(
          `${field}.filename`,
          missing ? `file ${specifier.value} does not exist` : `unable to read file: ${specifier.value}`,
        );
        return null;
      }
    default:
      context.refuse(field, 'the data source is empty', 'set inline_string, inline_bytes or filename');
      return null;
  }
}

/** RouteAction.InternalRedirectAction, as it was before there were policies (deprecated): without one of those it still holds. */
const HANDLE_INTERNAL_REDIRECT = 1;

function buildInternalRedirects(context: BuildContext, message: RouteActionMessage): InternalRedirectPolicy | null {
  const policy = message.internalRedirectPolicy;
  if (policy !== undefined) return buildInternalRedirectPolicy(context.at('internal_redirect_policy'), policy);
  if (message.internalRedirectAction !== HANDLE_INTERNAL_REDIRECT) return null;
  return new InternalRedirectPolicy(message.maxInternalRedirects ?? 1, [302], [], false, []);
}
