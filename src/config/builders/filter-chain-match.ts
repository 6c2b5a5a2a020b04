import type { CidrRange } from '../../api/gen/envoy/config/core/v3/address_pb.d.ts';
import type { FilterChainMatch } from '../../api/gen/envoy/config/listener/v3/listener_components_pb.d.ts';
import { ipBytes } from '../../net/cidr.ts';
import type { AddressRange, ChainCriteria, SourceType } from '../../net/filter-chain-match.ts';
import type { BuildContext } from '../build-context.ts';

/** Asks for nothing. */
export const NO_CRITERIA: ChainCriteria = {
  destinationPort: 0,
  destinationRanges: [],
  serverNames: [],
  transportProtocol: '',
  applicationProtocols: [],
  directSourceRanges: [],
  sourceType: 0,
  sourceRanges: [],
  sourcePorts: [],
};

/** @returns what is wrong is reported and left out; no message asks for nothing */
export function buildChainCriteria(context: BuildContext, message: FilterChainMatch | undefined): ChainCriteria {
  if (message === undefined) return NO_CRITERIA;
  return {
    destinationPort: message.destinationPort ?? 0,
    destinationRanges: ranges(context, 'prefix_ranges', message.prefixRanges),
    serverNames: message.serverNames.map((name, index) => serverName(context, `server_names[${index}]`, name)),
    transportProtocol: message.transportProtocol,
    applicationProtocols: message.applicationProtocols,
    directSourceRanges: ranges(context, 'direct_source_prefix_ranges', message.directSourcePrefixRanges),
    sourceType: message.sourceType as SourceType,
    sourceRanges: ranges(context, 'source_prefix_ranges', message.sourcePrefixRanges),
    sourcePorts: message.sourcePorts,
  };
}

function ranges(context: BuildContext, field: string, messages: readonly CidrRange[]): AddressRange[] {
  const built: AddressRange[] = [];
  messages.forEach((range, index) => {
    const prefix = ipBytes(range.addressPrefix);
    if (prefix === null) {
      context.refuse(`${field}[${index}].address_prefix`, `malformed IP address: ${range.addressPrefix}`);
    } else {
      built.push({ prefix, bits: Math.min(range.prefixLen ?? 0, prefix.length * 8) });
    }
  });
  return built;
}

function serverName(context: BuildContext, field: string, name: string): string {
  const suffix = name.startsWith('*.') ? name.slice(1) : name;
  if (suffix.includes('*')) context.refuse(field, 'partial wildcards are not supported in "server_names"');
  return suffix.toLowerCase();
}

/** Every combination that the criteria stand for: two chains with the same one could not be told apart. */
export function combinations(criteria: ChainCriteria): string[] {
  const texts = (list: readonly AddressRange[]): string[] =>
    list.length === 0 ? [''] : list.map(({ prefix, bits }) => `${masked(prefix, bits)}/${bits}`);
  const orNothing = <T>(list: readonly T[]): string[] => (list.length === 0 ? [''] : list.map(String));
  let keys = [`${criteria.destinationPort}|${criteria.transportProtocol}|${criteria.sourceType}`];
  for (const part of [
    texts(criteria.destinationRanges),
    orNothing(criteria.serverNames),
    orNothing(criteria.applicationProtocols),
    texts(criteria.directSourceRanges),
    texts(criteria.sourceRanges),
    orNothing(criteria.sourcePorts),
  ]) {
    keys = keys.flatMap((key) => part.map((value) => `${key}|${value}`));
  }
  return keys;
}

function masked(prefix: Uint8Array, bits: number): string {
  return Array.from(prefix, (byte, index) => byte & (0xff00 >> Math.min(8, Math.max(0, bits - index * 8)))).join('.');
}
