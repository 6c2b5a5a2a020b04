import type { Message } from '@bufbuild/protobuf';
import type { FilterChain } from '../../api/gen/envoy/config/listener/v3/listener_components_pb.d.ts';
import type { Matcher } from '../../api/gen/xds/type/matcher/v3/matcher_pb.d.ts';
import { type ChainName, FilterChainsByName } from '../../net/filter-chain-by-name.ts';
import type { FilterChainMatcher } from '../../net/filter-chain-matcher.ts';
import type { NetworkMatchData } from '../../net/network-match-data.ts';
import type { BuildContext } from '../build-context.ts';
import { buildNetworkInput } from './network-match-inputs.ts';
import { buildUnifiedMatcher, type MatcherParts } from './unified-matcher.ts';

const STRING = 'google.protobuf.StringValue';

const PARTS: MatcherParts<NetworkMatchData, ChainName> = {
  // Metadata is for matchers behind the filter chain: Envoy does not know this input here.
  input: (_context, config) => {
    const input = buildNetworkInput(config);
    return input?.type === 'text' ? input : null;
  },
  action: (_context, config) =>
    config.$typeName === STRING ? { name: (config as Message & { readonly value: string }).value } : null,
};

/**
 * The filter chains of a listener with a `filter_chain_matcher`: their own matches have no meaning then.
 * @param chains as built from `messages`, in the same order
 * @returns null when errors were reported
 */
export function buildChainsByName<Chain>(
  context: BuildContext,
  message: Matcher,
  messages: readonly FilterChain[],
  chains: readonly Chain[],
  fallback: Chain | null,
): FilterChainMatcher<Chain> | null {
  const before = context.errorCount;
  const byName = new Map<string, Chain>();
  messages.forEach(({ name }, place) => {
    const at = `filter_chains[${place}].name`;
    if (name === '') context.refuse(at, '"name" field is required when using a listener matcher');
    else if (byName.has(name)) context.refuse(at, `"name" field is duplicated with value '${name}'`);
    else byName.set(name, chains[place]!);
  });
  const matcher = buildUnifiedMatcher(context, 'filter_chain_matcher', message, PARTS);
  if (matcher === null || context.errorCount > before) return null;
  return new FilterChainsByName(matcher, byName, fallback);
}
