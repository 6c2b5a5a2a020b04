import { xxHash64 } from '../base/xxhash64.ts';
import type { RequestHeaders } from '../http/header-map.ts';
import { cookieValue } from './cookie-matcher.ts';
import { QueryParameters } from './query-parameter-matcher.ts';
import type { HashPolicy } from './route-policies.ts';
import type { StreamView } from './stream-view.ts';

/**
 * The 64-bit hash of a request by a route's policies; null when none gives one. A cookie that the client does not have yet
 * gives none here: making one is the router's business. Source: Envoy, HashPolicyImpl::generateHash.
 */
export function hashRequest(
  policies: readonly HashPolicy[],
  headers: RequestHeaders,
  stream: StreamView,
): bigint | null {
  let hash: bigint | null = null;
  for (const policy of policies) {
    const text = hashedText(policy, headers, stream);
    if (text !== null) {
      // The rotation keeps equal policies from cancelling each other out.
      const rotated: bigint = hash === null ? 0n : ((hash << 1n) | (hash >> 63n)) & 0xffff_ffff_ffff_ffffn;
      hash = rotated ^ xxHash64(text);
    }
    if (policy.terminal && hash !== null) break;
  }
  return hash;
}

function hashedText(policy: HashPolicy, headers: RequestHeaders, stream: StreamView): string | null {
  switch (policy.kind) {
    case 'header': {
      const pseudo = headers.lookup(policy.name);
      if (pseudo === null) return null;
      const values = policy.name.startsWith(':') || policy.name === 'host' ? [pseudo] : headers.getAll(policy.name);
      const rewrite = policy.rewrite;
      // Sorted: the order of equal headers does not change the hash.
      return (rewrite === null ? values : values.map((value) => rewrite.apply(value))).sort().join('');
    }
    case 'cookie':
      return cookieValue(headers, policy.name) || null;
    case 'source-ip':
      return stream.downstreamRemoteIp;
    case 'query-parameter':
      return new QueryParameters(headers.path ?? '').get(policy.name);
    case 'filter-state':
      return stream.filterState(policy.key)?.serialize() ?? null;
  }
}
