import type { RequestHeaders } from '../http/header-map.ts';
import { matchesAllHeaders } from '../routing/header-matcher.ts';
import { QueryParameters } from '../routing/query-parameter-matcher.ts';
import type { MetadataKey, RateLimitAction, RateLimitPolicy } from '../routing/route-policies.ts';
import type { MetadataStruct, MetadataValue } from '../routing/stream-view.ts';
import type { LogContext } from './access-logger.ts';
import type { WorkerEnvironment } from './environment.ts';
import { queryParameter } from './format/query-text.ts';

/** What a request is counted by: keys and values, in the order of the actions. */
export interface RateLimitDescriptor {
  /** `[key, value, key, value, ...]`. */
  readonly entries: readonly string[];
  /** Tokens to take; negative: to put back. Null: one. */
  readonly hits: number | null;
}

/**
 * The descriptors that `policies` of one stage give for a request; a policy one of whose actions finds nothing gives none.
 * Source: Envoy, RateLimitPolicyEntryImpl::populateDescriptors.
 * @param withHits false: `hits_addend` is left out
 */
export function rateLimitDescriptors(
  policies: readonly RateLimitPolicy[],
  stage: number,
  context: LogContext,
  environment: WorkerEnvironment,
  out: RateLimitDescriptor[],
  withHits = true,
): void {
  const headers = context.requestHeaders;
  if (headers === null) return;
  for (const policy of policies) {
    if (policy.stage !== stage || policy.applyOnStreamDone) continue;
    const entries: string[] = [];
    if (!policy.actions.every((action) => addEntry(action, headers, context, environment, entries))) continue;
    out.push({ entries, hits: withHits ? hitsOf(policy, context) : null });
  }
}

function hitsOf(policy: RateLimitPolicy, context: LogContext): number | null {
  const addend = policy.hitsAddend;
  if (addend === null || typeof addend === 'number') return addend;
  const text = addend.constant ?? addend.format(context);
  return /^[0-9]{1,15}$/.test(text) ? Number(text) : null;
}

/** @returns false: the whole descriptor is dropped */
function addEntry(
  action: RateLimitAction,
  headers: RequestHeaders,
  context: LogContext,
  environment: WorkerEnvironment,
  entries: string[],
): boolean {
  const { stream } = context;
  switch (action.kind) {
    case 'source-cluster':
      entries.push('source_cluster', environment.local.clusterName);
      return true;
    case 'destination-cluster':
      entries.push('destination_cluster', stream.route?.cluster ?? '');
      return true;
    case 'request-headers': {
      const value = headers.lookup(action.headerName);
      if (value === null) return action.skipIfAbsent;
      entries.push(action.descriptorKey, value);
      return true;
    }
    case 'query-parameters': {
      const value = queryParameter(headers.path ?? '', action.parameterName);
      if (value === null) return action.skipIfAbsent;
      entries.push(action.descriptorKey, value);
      return true;
    }
    case 'remote-address': {
      const ip = stream.downstreamRemoteIp;
      if (ip === null) return false;
      entries.push('remote_address', ip);
      return true;
    }
    case 'masked-remote-address': {
      const ip = stream.downstreamRemoteIp;
      if (ip === null) return false;
      entries.push('masked_remote_address', maskedIp(ip, action.v4PrefixBits, action.v6PrefixBits));
      return true;
    }
    case 'remote-address-match': {
      const ip = stream.downstreamRemoteIp;
      if (ip === null || action.contains(ip) === action.inverted) return false;
      return addFormatted(action, context, entries);
    }
    case 'generic-key':
      return addFormatted(action, context, entries);
    case 'header-value-match':
      if (matchesAllHeaders(headers, action.headers) !== action.expectMatch) return false;
      return addFormatted(action, context, entries);
    case 'query-parameter-value-match': {
      const parameters = new QueryParameters(headers.path ?? '');
      if (action.parameters.every((each) => each.matches(parameters)) !== action.expectMatch) return false;
      return addFormatted(action, context, entries);
    }
    case 'metadata': {
      const value = metadataText(action.source, action.key, context, environment) || action.defaultValue;
      if (value === '') return action.skipIfAbsent;
      entries.push(action.descriptorKey, value);
      return true;
    }
  }
}

function addFormatted(
  action: Extract<
    RateLimitAction,
    { kind: 'generic-key' | 'header-value-match' | 'query-parameter-value-match' | 'remote-address-match' }
  >,
  context: LogContext,
  entries: string[],
): boolean {
  const value = (action.descriptorValue.constant ?? action.descriptorValue.format(context)) || action.defaultValue;
  if (value === '') return false;
  entries.push(action.descriptorKey, value);
  return true;
}

function metadataText(
  source: 'dynamic' | 'route' | 'cluster' | 'cluster-locality',
  key: MetadataKey,
  context: LogContext,
  environment: WorkerEnvironment,
): string {
  const { stream } = context;
  let value: MetadataValue | undefined;
  if (source === 'dynamic') value = stream.dynamicMetadata(key.namespace) ?? undefined;
  else if (source === 'route') value = stream.route?.metadata.get(key.namespace);
  else if (source === 'cluster') {
    const cluster = environment.clusters.get(stream.route?.cluster ?? '');
    value = cluster?.spec.metadata[key.namespace] as MetadataStruct | undefined;
  } else value = stream.upstream?.host?.localityMetadata[key.namespace] as MetadataStruct | undefined;
  for (const name of key.path) {
    if (value === undefined || value === null || typeof value !== 'object' || Array.isArray(value)) return '';
    value = (value as MetadataStruct)[name];
  }
  return typeof value === 'string' ? value : '';
}

/** `10.1.0.0/16` for 10.1.2.3 and 16 bits. */
function maskedIp(ip: string, v4Bits: number, v6Bits: number): string {
  if (!ip.includes(':')) {
    const bytes = ip.split('.').map(Number);
    return `${bytes.map((byte, i) => byte & maskOf(v4Bits - i * 8, 8)).join('.')}/${v4Bits}`;
  }
  const groups = expandedGroups(ip).map((group, i) => group & maskOf(v6Bits - i * 16, 16));
  return `${compressedIp(groups)}/${v6Bits}`;
}

function maskOf(bits: number, width: number): number {
  const kept = Math.max(0, Math.min(width, bits));
  return ((1 << kept) - 1) << (width - kept);
}

function expandedGroups(ip: string): number[] {
  const [head, tail] = ip.split('::');
  const parse = (text: string | undefined): number[] =>
    text === undefined || text === ''
      ? []
      : text.split(':').flatMap((part) => {
          if (!part.includes('.')) return [Number.parseInt(part, 16)];
          const bytes = part.split('.').map(Number);
          return [(bytes[0]! << 8) | bytes[1]!, (bytes[2]! << 8) | bytes[3]!];
        });
  const front = parse(head);
  if (tail === undefined) return front;
  const back = parse(tail);
  return [...front, ...new Array<number>(8 - front.length - back.length).fill(0), ...back];
}

/** RFC 5952: the longest run of zeros as `::`. */
function compressedIp(groups: readonly number[]): string {
  let best = -1;
  let length = 1;
  for (let i = 0; i < groups.length; i++) {
    let end = i;
    while (end < groups.length && groups[end] === 0) end++;
    if (end - i > length) {
      best = i;
      length = end - i;
    }
  }
  const text = (part: readonly number[]): string => part.map((group) => group.toString(16)).join(':');
  if (best < 0) return text(groups);
  return `${text(groups.slice(0, best))}::${text(groups.slice(best + length))}`;
}
