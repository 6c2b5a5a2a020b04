import type {
  HedgePolicy as HedgePolicyMessage,
  InternalRedirectPolicy as InternalRedirectPolicyMessage,
  RateLimit,
  RateLimit_Action,
  RetryPolicy as RetryPolicyMessage,
  RouteAction_HashPolicy,
  RouteAction_RequestMirrorPolicy,
  RouteAction_UpgradeConfig,
} from '../../api/gen/envoy/config/route/v3/route_components_pb.d.ts';
import type { MetadataKey as MetadataKeyMessage } from '../../api/gen/envoy/type/metadata/v3/metadata_pb.d.ts';
import {
  parseRetryOnPolicy,
  RETRY_ON_WORDS,
  ResetHeader,
  type ResetHeaderFormat,
  RetryExtension,
  RetryPolicy,
} from '../../routing/retry-policy.ts';
import {
  ConnectConfig,
  type HashPolicy,
  HedgePolicy,
  InternalRedirectPolicy,
  type MetadataKey,
  MirrorPolicy,
  type RateLimitAction,
  RateLimitPolicy,
  UpgradeConfig,
} from '../../routing/route-policies.ts';
import { RuntimeFraction } from '../../routing/runtime-fraction.ts';
import { wireText } from '../../routing/wire-text.ts';
import type { BuildContext } from '../build-context.ts';
import { nearest } from '../diagnostics/nearest.ts';
import type { FieldSupport } from '../extension-registry.ts';
import { buildCidrMatcher } from './cidr-ranges.ts';
import { durationMs, durationMsOr } from './durations.ts';
import { buildHeaderFormatter } from './format.ts';
import { buildHeaderEdits, HEADER_EDIT_SUPPORT } from './header-edits.ts';
import {
  buildFractionalPercent,
  buildHeaderMatchers,
  buildQueryParameterMatchers,
  buildRuntimeFraction,
  buildSubstitution,
} from './route-config-matchers.ts';
import type { ClusterNames } from './route-reuse.ts';

/**
 * What the builders of this file obey. Hedges are built as data but not carried out yet: they are refused where the route names them
 * (see ROUTE_CONFIG_SUPPORT).
 */
export const ROUTE_POLICY_SUPPORT: readonly FieldSupport[] = [
  ...HEADER_EDIT_SUPPORT,
  {
    message: 'envoy.config.route.v3.RetryPolicy',
    fields: `retry_on num_retries per_try_timeout per_try_idle_timeout retry_host_predicate retry_priority
      host_selection_retry_max_attempts retriable_status_codes retry_back_off rate_limited_retry_back_off
      retriable_headers retriable_request_headers`,
    // Of cluster specifier plugins alone, which are refused.
    inert: 'refresh_cluster_on_retry',
  },
  {
    message: 'envoy.config.route.v3.RouteAction.RequestMirrorPolicy',
    fields: `cluster cluster_header runtime_fraction disable_shadow_host_suffix_append request_headers_mutations
      host_rewrite_literal trace_sampled`,
  },
  {
    message: 'envoy.config.route.v3.InternalRedirectPolicy',
    fields:
      'max_internal_redirects redirect_response_codes predicates allow_cross_scheme_redirect response_headers_to_copy',
  },
  { message: 'envoy.config.route.v3.RetryPolicy.RetryBackOff', fields: '*' },
  { message: 'envoy.config.route.v3.RetryPolicy.RateLimitedRetryBackOff', fields: '*' },
  { message: 'envoy.config.route.v3.RetryPolicy.ResetHeader', fields: '*' },
  { message: 'envoy.config.route.v3.RetryPolicy.RetryHostPredicate', fields: 'name typed_config' },
  { message: 'envoy.config.route.v3.RetryPolicy.RetryPriority', fields: 'name typed_config' },
  { message: 'envoy.config.route.v3.RouteAction.HashPolicy', fields: '*' },
  { message: 'envoy.config.route.v3.RouteAction.HashPolicy.Header', fields: '*' },
  { message: 'envoy.config.route.v3.RouteAction.HashPolicy.Cookie', fields: '*' },
  { message: 'envoy.config.route.v3.RouteAction.HashPolicy.CookieAttribute', fields: '*' },
  { message: 'envoy.config.route.v3.RouteAction.HashPolicy.ConnectionProperties', fields: '*' },
  { message: 'envoy.config.route.v3.RouteAction.HashPolicy.QueryParameter', fields: '*' },
  { message: 'envoy.config.route.v3.RouteAction.HashPolicy.FilterState', fields: '*' },
  { message: 'envoy.config.route.v3.RouteAction.UpgradeConfig', fields: 'upgrade_type enabled connect_config' },
  {
    message: 'envoy.config.route.v3.RouteAction.UpgradeConfig.ConnectConfig',
    fields: 'proxy_protocol_config allow_post',
  },
  // Envoy itself passes no TLVs on here.
  { message: 'envoy.config.core.v3.ProxyProtocolConfig', fields: 'version', inert: 'pass_through_tlvs added_tlvs' },
  {
    message: 'envoy.config.route.v3.RateLimit',
    fields: 'stage disable_key actions hits_addend apply_on_stream_done',
    // It speaks to a rate limit service: local limits do not ask for it.
    inert: 'limit',
  },
  {
    message: 'envoy.config.route.v3.RateLimit.Action',
    fields: `source_cluster destination_cluster request_headers query_parameters remote_address generic_key
      header_value_match dynamic_metadata metadata masked_remote_address query_parameter_value_match
      remote_address_match`,
  },
  ...[
    'Action.SourceCluster',
    'Action.DestinationCluster',
    'Action.RequestHeaders',
    'Action.QueryParameters',
    'Action.RemoteAddress',
    'Action.GenericKey',
    'Action.HeaderValueMatch',
    'Action.DynamicMetaData',
    'Action.MetaData',
    'Action.MaskedRemoteAddress',
    'Action.QueryParameterValueMatch',
    'Action.RemoteAddressMatch',
    'HitsAddend',
    'Override.DynamicMetadata',
  ].map((name) => ({ message: `envoy.config.route.v3.RateLimit.${name}`, fields: '*' })),
  { message: 'envoy.config.route.v3.RateLimit.Override', fields: 'dynamic_metadata' },
  { message: 'envoy.type.matcher.v3.AddressMatcher', fields: '*' },
  { message: 'xds.core.v3.CidrRange', fields: '*' },
  { message: 'envoy.type.metadata.v3.MetadataKey', fields: '*' },
  { message: 'envoy.type.metadata.v3.MetadataKey.PathSegment', fields: '*' },
];

/** Below a millisecond Envoy takes one. */
function intervalMs(ms: number): number {
  return Math.max(1, Math.trunc(ms));
}

/** A retry policy; `context` stands at it. */
export function buildRetryPolicy(context: BuildContext, message: RetryPolicyMessage): RetryPolicy {
  for (const word of message.retryOn.split(',').map((each) => each.trim())) {
    if (word === '' || RETRY_ON_WORDS.includes(word)) continue;
    const close = nearest(word, RETRY_ON_WORDS);
    const hint = close === undefined ? `known: ${RETRY_ON_WORDS.join(', ')}` : `did you mean ${close}?`;
    context.warn('retry_on', `${JSON.stringify(word)} is no retry condition and has no effect`, hint);
  }
  const backOff = message.retryBackOff;
  const base = backOff?.baseInterval === undefined ? null : intervalMs(durationMs(backOff.baseInterval));
  const max = backOff?.maxInterval === undefined ? null : intervalMs(durationMs(backOff.maxInterval));
  if (base !== null && max !== null && max < base) {
    context.refuse(
      'retry_back_off.max_interval',
      'retry_policy.max_interval must greater than or equal to the base_interval',
    );
  }
  const rateLimited = message.rateLimitedRetryBackOff;
  return new RetryPolicy({
    retryOn: parseRetryOnPolicy(message.retryOn),
    numRetries: message.numRetries ?? 1,
    perTryTimeoutMs: Math.trunc(durationMsOr(message.perTryTimeout, 0)),
    perTryIdleTimeoutMs: Math.trunc(durationMsOr(message.perTryIdleTimeout, 0)),
    retriableStatusCodes: message.retriableStatusCodes,
    retriableHeaders: buildHeaderMatchers(context, 'retriable_headers', message.retriableHeaders),
    retriableRequestHeaders: buildHeaderMatchers(context, 'retriable_request_headers', message.retriableRequestHeaders),
    baseIntervalMs: base,
    maxIntervalMs: max,
    rateLimitedResetHeaders: (rateLimited?.resetHeaders ?? []).map(
      (each) => new ResetHeader(wireText(each.name).toLowerCase(), each.format as ResetHeaderFormat),
    ),
    rateLimitedMaxIntervalMs: intervalMs(durationMsOr(rateLimited?.maxInterval, 300_000)),
    hostPredicates: buildHostPredicates(context, message),
    priority: buildRetryPriority(context, message),
    optionsPredicates: [],
    hostSelectionMaxAttempts: Number(message.hostSelectionRetryMaxAttempts) || 1,
    refreshClusterOnRetry: message.refreshClusterOnRetry,
  });
}

function buildHostPredicates(context: BuildContext, message: RetryPolicyMessage): RetryExtension[] {
  const out: RetryExtension[] = [];
  message.retryHostPredicate.forEach((predicate, i) => {
    const { name, configType } = predicate;
    const field = `retry_host_predicate[${i}].typed_config`;
    const built = context.shared.extensions.build('retry-host-predicate', context, field, name, configType.value);
    if (built !== null) out.push(new RetryExtension(name, configType.value?.typeUrl ?? '', built));
  });
  return out;
}

function buildRetryPriority(context: BuildContext, message: RetryPolicyMessage): RetryExtension | null {
  const priority = message.retryPriority;
  if (priority === undefined) return null;
  const { name, configType } = priority;
  const any = configType.value;
  const built = context.shared.extensions.build('retry-priority', context, 'retry_priority.typed_config', name, any);
  return built === null ? null : new RetryExtension(name, any?.typeUrl ?? '', built);
}

export function buildHedgePolicy(message: HedgePolicyMessage): HedgePolicy {
  const chance = message.additionalRequestChance;
  return new HedgePolicy(
    message.initialRequests ?? 1,
    chance === undefined ? null : buildFractionalPercent(chance),
    message.hedgeOnPerTryTimeout,
  );
}

/** @returns null when it was refused at `field` */
export function buildMirrorPolicy(
  context: BuildContext,
  field: string,
  message: RouteAction_RequestMirrorPolicy,
  clusterNames: ClusterNames | null,
): MirrorPolicy | null {
  const { cluster, clusterHeader } = message;
  if ((cluster === '') === (clusterHeader === '')) {
    context.refuse(
      field,
      cluster === ''
        ? 'Exactly one of cluster or cluster_header in request mirror policy need to be specified'
        : `Only one of cluster '${cluster}' or cluster_header '${clusterHeader}' in request mirror policy can be specified`,
    );
    return null;
  }
  if (cluster !== '' && clusterNames !== null && !clusterNames.has(cluster)) {
    context.refuse(
      `${field}.cluster`,
      `route: unknown shadow cluster '${cluster}'`,
      clusterHint(cluster, clusterNames),
    );
  }
  return new MirrorPolicy(
    cluster,
    clusterHeader.toLowerCase(),
    message.runtimeFraction === undefined
      ? RuntimeFraction.ALWAYS
      : buildRuntimeFraction(context, message.runtimeFraction),
    message.traceSampled ?? null,
    !message.disableShadowHostSuffixAppend,
    buildHeaderEdits(context, `${field}.request_headers_mutations`, message.requestHeadersMutations),
    wireText(message.hostRewriteLiteral),
  );
}

/** "did you mean", for names of clusters. */
export function clusterHint(name: string, names: ClusterNames): string {
  const close = nearest(name, names);
  if (close !== undefined) return `did you mean ${close}?`;
  const first = [...names].slice(0, 8);
  return first.length === 0 ? 'there are no clusters' : `clusters: ${first.join(', ')}`;
}

/** @returns null when it was refused at `field` */
export function buildHashPolicy(
  context: BuildContext,
  field: string,
  message: RouteAction_HashPolicy,
): HashPolicy | null {
  const { terminal, policySpecifier: policy } = message;
  switch (policy.case) {
    case 'header': {
      const rewrite = policy.value.regexRewrite;
      const substitution =
        rewrite === undefined ? null : buildSubstitution(context, `${field}.header.regex_rewrite`, rewrite);
      if (rewrite !== undefined && substitution === null) return null;
      return { kind: 'header', terminal, name: wireText(policy.value.headerName).toLowerCase(), rewrite: substitution };
    }
    case 'cookie': {
      const { name, ttl, path, attributes } = policy.value;
      return {
        kind: 'cookie',
        terminal,
        name: wireText(name),
        ttlSeconds: ttl === undefined ? null : Number(ttl.seconds),
        path: wireText(path),
        attributes: attributes.map((each) => ({ name: wireText(each.name), value: wireText(each.value) })),
      };
    }
    case 'connectionProperties':
      return policy.value.sourceIp ? { kind: 'source-ip', terminal } : null;
    case 'queryParameter':
      return { kind: 'query-parameter', terminal, name: wireText(policy.value.name) };
    case 'filterState':
      return { kind: 'filter-state', terminal, key: policy.value.key };
    default:
      context.refuse(field, 'a hash policy names no source');
      return null;
  }
}

/** Passed on as if it were any upgrade, CONNECT-UDP would go where its path does not say. */
export function refuseDatagrams(context: BuildContext, field: string, type: string): void {
  if (type === 'connect-udp')
    context.refuse(`${field}.upgrade_type`, 'CONNECT-UDP is not supported: it comes with HTTP/3');
}

/** Upgrades of a route; Envoy compares their types without case. */
export function buildUpgrades(context: BuildContext, messages: readonly RouteAction_UpgradeConfig[]): UpgradeConfig[] {
  const out: UpgradeConfig[] = [];
  messages.forEach((message, i) => {
    const field = `upgrade_configs[${i}]`;
    const type = wireText(message.upgradeType).toLowerCase();
    if (out.some((each) => each.type === type)) {
      context.refuse(`${field}.upgrade_type`, `Duplicate upgrade ${message.upgradeType}`);
      return;
    }
    const connect = message.connectConfig;
    if (connect !== undefined && type !== 'connect' && type !== 'connect-udp') {
      context.refuse(`${field}.connect_config`, `Non-CONNECT upgrade type ${message.upgradeType} has ConnectConfig`);
      return;
    }
    if (message.enabled !== false) refuseDatagrams(context, field, type);
    const config =
      connect === undefined
        ? null
        : new ConnectConfig(
            connect.proxyProtocolConfig === undefined ? 0 : connect.proxyProtocolConfig.version === 0 ? 1 : 2,
            connect.allowPost,
          );
    out.push(new UpgradeConfig(type, message.enabled ?? true, config));
  });
  return out;
}

export function buildInternalRedirectPolicy(
  context: BuildContext,
  message: InternalRedirectPolicyMessage,
): InternalRedirectPolicy {
  const codes = message.redirectResponseCodes.filter((code) => [301, 302, 303, 307, 308].includes(code));
  const headers: string[] = [];
  message.responseHeadersToCopy.forEach((header, i) => {
    const name = wireText(header).toLowerCase();
    if (name.startsWith(':') || name === 'host') {
      context.refuse(`response_headers_to_copy[${i}]`, ':-prefixed headers or Hosts may not be specified here.');
    } else {
      headers.push(name);
    }
  });
  const predicates: { name: string; typeUrl: string; config: unknown }[] = [];
  message.predicates.forEach(({ name, typedConfig }, i) => {
    const field = `predicates[${i}].typed_config`;
    const config = context.shared.extensions.build('internal-redirect-predicate', context, field, name, typedConfig);
    if (config !== null) predicates.push({ name, typeUrl: typedConfig?.typeUrl ?? '', config });
  });
  return new InternalRedirectPolicy(
    message.maxInternalRedirects ?? 1,
    message.redirectResponseCodes.length === 0 ? [302] : codes,
    predicates,
    message.allowCrossSchemeRedirect,
    headers,
  );
}

function metadataKey(message: MetadataKeyMessage | undefined): MetadataKey {
  return {
    namespace: message?.key ?? '',
    path: (message?.path ?? []).map((each) => String(each.segment.value ?? '')),
  };
}

export function buildRateLimits(
  context: BuildContext,
  field: string,
  messages: readonly RateLimit[],
): RateLimitPolicy[] {
  return messages.map((message, i) => {
    const at = `${field}[${i}]`;
    const actions: RateLimitAction[] = [];
    message.actions.forEach((action, j) => {
      const built = buildRateLimitAction(context.at(`${at}.actions[${j}]`), action);
      if (built !== null) actions.push(built);
    });
    const override = message.limit?.overrideSpecifier;
    const addend = message.hitsAddend;
    let hits: RateLimitPolicy['hitsAddend'] = null;
    if (addend?.number !== undefined) hits = Number(addend.number) * (addend.isNegativeHits ? -1 : 1);
    else if (addend !== undefined && addend.format !== '') {
      hits = buildHeaderFormatter(context, `${at}.hits_addend.format`, addend.format);
    }
    return new RateLimitPolicy(
      message.stage ?? 0,
      message.disableKey,
      actions,
      override?.case === 'dynamicMetadata' ? metadataKey(override.value.metadataKey) : null,
      hits,
      message.applyOnStreamDone,
    );
  });
}

const METADATA_SOURCES = ['dynamic', 'route', 'cluster', 'cluster-locality'] as const;

function buildRateLimitAction(context: BuildContext, message: RateLimit_Action): RateLimitAction | null {
  const action = message.actionSpecifier;
  switch (action.case) {
    case 'sourceCluster':
      return { kind: 'source-cluster' };
    case 'destinationCluster':
      return { kind: 'destination-cluster' };
    case 'remoteAddress':
      return { kind: 'remote-address' };
    case 'maskedRemoteAddress':
      return {
        kind: 'masked-remote-address',
        v4PrefixBits: action.value.v4PrefixMaskLen ?? 32,
        v6PrefixBits: action.value.v6PrefixMaskLen ?? 128,
      };
    case 'remoteAddressMatch': {
      const field = 'remote_address_match';
      const { descriptorKey, descriptorValue, defaultValue, addressMatcher } = action.value;
      const value = buildHeaderFormatter(context, `${field}.descriptor_value`, descriptorValue);
      if (value === null) return null;
      return {
        kind: 'remote-address-match',
        descriptorKey: descriptorKey || 'remote_address_match',
        descriptorValue: value,
        defaultValue,
        contains: buildCidrMatcher(context, `${field}.address_matcher.ranges`, addressMatcher?.ranges ?? []),
        inverted: addressMatcher?.invertMatch ?? false,
      };
    }
    case 'requestHeaders':
      return {
        kind: 'request-headers',
        headerName: wireText(action.value.headerName).toLowerCase(),
        descriptorKey: action.value.descriptorKey,
        skipIfAbsent: action.value.skipIfAbsent,
      };
    case 'queryParameters':
      return {
        kind: 'query-parameters',
        parameterName: wireText(action.value.queryParameterName),
        descriptorKey: action.value.descriptorKey,
        skipIfAbsent: action.value.skipIfAbsent,
      };
    case 'genericKey': {
      const value = buildHeaderFormatter(context, 'generic_key.descriptor_value', action.value.descriptorValue);
      if (value === null) return null;
      return {
        kind: 'generic-key',
        descriptorKey: action.value.descriptorKey || 'generic_key',
        descriptorValue: value,
        defaultValue: action.value.defaultValue,
      };
    }
    case 'headerValueMatch': {
      const value = buildHeaderFormatter(context, 'header_value_match.descriptor_value', action.value.descriptorValue);
      if (value === null) return null;
      return {
        kind: 'header-value-match',
        descriptorKey: action.value.descriptorKey || 'header_match',
        descriptorValue: value,
        defaultValue: action.value.defaultValue,
        expectMatch: action.value.expectMatch ?? true,
        headers: buildHeaderMatchers(context, 'header_value_match.headers', action.value.headers),
      };
    }
    case 'queryParameterValueMatch': {
      const field = 'query_parameter_value_match';
      const value = buildHeaderFormatter(context, `${field}.descriptor_value`, action.value.descriptorValue);
      if (value === null) return null;
      return {
        kind: 'query-parameter-value-match',
        descriptorKey: action.value.descriptorKey || 'query_match',
        descriptorValue: value,
        defaultValue: action.value.defaultValue,
        expectMatch: action.value.expectMatch ?? true,
        parameters: buildQueryParameterMatchers(context, `${field}.query_parameters`, action.value.queryParameters),
      };
    }
    case 'metadata':
      return {
        kind: 'metadata',
        descriptorKey: action.value.descriptorKey,
        key: metadataKey(action.value.metadataKey),
        defaultValue: action.value.defaultValue,
        source: METADATA_SOURCES[action.value.source] ?? 'dynamic',
        skipIfAbsent: action.value.skipIfAbsent,
      };
    case 'dynamicMetadata':
      return {
        kind: 'metadata',
        descriptorKey: action.value.descriptorKey,
        key: metadataKey(action.value.metadataKey),
        defaultValue: action.value.defaultValue,
        source: 'dynamic',
        skipIfAbsent: false,
      };
    default:
      // Left to the check of supported fields.
      return null;
  }
}
