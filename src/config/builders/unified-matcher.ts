import type { Message } from '@bufbuild/protobuf';
import type { Config as EnvironmentConfig } from '../../api/gen/envoy/extensions/matching/common_inputs/environment_variable/v3/input_pb.d.ts';
import type { ConsistentHashing } from '../../api/gen/envoy/extensions/matching/input_matchers/consistent_hashing/v3/consistent_hashing_pb.d.ts';
import type { Ip } from '../../api/gen/envoy/extensions/matching/input_matchers/ip/v3/ip_pb.d.ts';
import type { Metadata } from '../../api/gen/envoy/extensions/matching/input_matchers/metadata/v3/metadata_pb.d.ts';
import type { RuntimeFraction } from '../../api/gen/envoy/extensions/matching/input_matchers/runtime_fraction/v3/runtime_fraction_pb.d.ts';
import type { StringMatcher as StringMatcherMessage } from '../../api/gen/envoy/type/matcher/v3/string_pb.d.ts';
import type { TypedExtensionConfig } from '../../api/gen/xds/core/v3/extension_pb.d.ts';
import type { ServerNameMatcher } from '../../api/gen/xds/type/matcher/v3/domain_pb.d.ts';
import type { IPMatcher } from '../../api/gen/xds/type/matcher/v3/ip_pb.d.ts';
import type {
  Matcher,
  Matcher_MatcherList_Predicate,
  Matcher_MatcherList_Predicate_SinglePredicate,
  Matcher_MatcherTree,
  Matcher_OnMatch,
} from '../../api/gen/xds/type/matcher/v3/matcher_pb.d.ts';
import type { StringMatcher as XdsStringMatcher } from '../../api/gen/xds/type/matcher/v3/string_pb.d.ts';
import { xxHash64 } from '../../base/xxhash64.ts';
import { ipBytes } from '../../net/cidr.ts';
import { PrefixTable } from '../../net/prefix-table.ts';
import type { MetadataValue } from '../../routing/stream-view.ts';
import {
  AllPredicate,
  AnyTree,
  ExactTree,
  InputPredicate,
  ListTree,
  type MatchInput,
  type MatchTree,
  NotPredicate,
  type OnMatch,
  type Predicate,
  PrefixTree,
  type RangeEntry,
  RangeTree,
  ServerNameTree,
  SomePredicate,
  type ValueTest,
} from '../../routing/unified-matcher.ts';
import { matchesValue } from '../../routing/value-matcher.ts';
import { wireText } from '../../routing/wire-text.ts';
import type { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';
import { buildCidrMatcher } from './cidr-ranges.ts';
import { buildRuntimeFraction, buildStringMatcher, buildValueMatcher } from './route-config-matchers.ts';

const INPUT_MATCHERS = 'envoy.extensions.matching.input_matchers';
const IP = `${INPUT_MATCHERS}.ip.v3.Ip`;
const HASHING = `${INPUT_MATCHERS}.consistent_hashing.v3.ConsistentHashing`;
const FRACTION = `${INPUT_MATCHERS}.runtime_fraction.v3.RuntimeFraction`;
const METADATA = `${INPUT_MATCHERS}.metadata.v3.Metadata`;
const ENVIRONMENT = 'envoy.extensions.matching.common_inputs.environment_variable.v3.Config';
const IP_TREE = 'xds.type.matcher.v3.IPMatcher';
const NAME_TREE = 'xds.type.matcher.v3.ServerNameMatcher';

const MATCHER = 'xds.type.matcher.v3.Matcher';

/** Of every unified matcher, wherever it stands; inputs and actions bring their own. */
export const UNIFIED_MATCHER_SUPPORT: readonly FieldSupport[] = [
  ...[
    '',
    '.OnMatch',
    '.MatcherList',
    '.MatcherList.FieldMatcher',
    '.MatcherList.Predicate',
    '.MatcherList.Predicate.PredicateList',
    '.MatcherList.Predicate.SinglePredicate',
    '.MatcherTree',
    '.MatcherTree.MatchMap',
  ].map((name) => ({ message: `${MATCHER}${name}`, fields: '*' })),
  { message: 'xds.core.v3.TypedExtensionConfig', fields: 'name typed_config' },
  {
    message: 'xds.type.matcher.v3.StringMatcher',
    fields: 'exact prefix suffix safe_regex contains ignore_case',
  },
  { message: 'xds.type.matcher.v3.RegexMatcher', fields: 'regex', inert: 'google_re2' },
  { message: 'xds.type.matcher.v3.RegexMatcher.GoogleRE2', fields: '*' },
  { message: IP_TREE, fields: '*' },
  { message: `${IP_TREE}.IPRangeMatcher`, fields: '*' },
  { message: 'xds.core.v3.CidrRange', fields: '*' },
  { message: NAME_TREE, fields: '*' },
  { message: `${NAME_TREE}.DomainMatcher`, fields: '*' },
  { message: IP, fields: 'cidr_ranges stat_prefix' },
  { message: 'envoy.config.core.v3.CidrRange', fields: '*' },
  { message: HASHING, fields: '*' },
  { message: FRACTION, fields: 'runtime_fraction seed' },
  { message: METADATA, fields: 'value invert' },
  { message: ENVIRONMENT, fields: '*' },
];

/** What a place of the configuration puts into its matchers. Both refuse what they do not know, by {@link refuseExtension}. */
export interface MatcherParts<Data, Action extends object> {
  /** @returns null when it is none of the place's inputs: nothing was refused */
  input(context: BuildContext, config: Message): MatchInput<Data> | null;
  /** @returns null when it is none of the place's actions: nothing was refused */
  action(context: BuildContext, config: Message): Action | null;
}

/** In Envoy's words. */
function refuseExtension(context: BuildContext, field: string, extension: TypedExtensionConfig | undefined): void {
  const url = extension?.typedConfig?.typeUrl ?? '';
  context.refuse(
    field,
    `Didn't find a registered implementation for '${extension?.name ?? ''}' with type URL: '${url.slice(url.lastIndexOf('/') + 1)}'`,
  );
}

/**
 * A unified matcher.
 * @returns null when errors were reported
 */
export function buildUnifiedMatcher<Data, Action extends object>(
  context: BuildContext,
  field: string,
  message: Matcher,
  parts: MatcherParts<Data, Action>,
): MatchTree<Data, Action> | null {
  const before = context.errorCount;
  const tree = new MatcherBuilder(parts).tree(context.at(field), message);
  return context.errorCount > before ? null : tree;
}

class MatcherBuilder<Data, Action extends object> {
  readonly #parts: MatcherParts<Data, Action>;

  constructor(parts: MatcherParts<Data, Action>) {
    this.#parts = parts;
  }

  /** What it gives has no meaning where errors were reported. */
  tree(context: BuildContext, message: Matcher): MatchTree<Data, Action> {
    const onNoMatch =
      message.onNoMatch === undefined ? null : this.#onMatch(context.at('on_no_match'), message.onNoMatch);
    const type = message.matcherType;
    switch (type.case) {
      case 'matcherList': {
        const at = context.at('matcher_list');
        const entries = type.value.matchers.map((entry, i) => ({
          predicate: this.#predicate(at.at(`matchers[${i}].predicate`), entry.predicate),
          onMatch: this.#onMatch(at.at(`matchers[${i}].on_match`), entry.onMatch),
        }));
        return new ListTree(entries, onNoMatch);
      }
      case 'matcherTree':
        return this.#inputTree(context.at('matcher_tree'), type.value, onNoMatch);
      default:
        return new AnyTree(onNoMatch);
    }
  }

  #onMatch(context: BuildContext, message: Matcher_OnMatch | undefined): OnMatch<Data, Action> {
    const keepMatching = message?.keepMatching ?? false;
    switch (message?.onMatch.case) {
      case 'matcher':
        return { tree: this.tree(context.at('matcher'), message.onMatch.value), action: null, keepMatching };
      case 'action': {
        const extension = message.onMatch.value;
        const at = context.at('action');
        const config = at.unpack('typed_config', extension.typedConfig);
        const action = config === null ? null : this.#parts.action(at.at('typed_config'), config);
        if (config !== null && action === null) refuseExtension(at, 'typed_config', extension);
        return { tree: null, action, keepMatching };
      }
      default:
        context.refuse('', 'neither a matcher nor an action is given');
        return { tree: null, action: null, keepMatching };
    }
  }

  #inputTree(
    context: BuildContext,
    message: Matcher_MatcherTree,
    onNoMatch: OnMatch<Data, Action> | null,
  ): MatchTree<Data, Action> {
    const input = this.#input(context.at('input'), message.input);
    const type = message.treeType;
    switch (type.case) {
      case 'exactMatchMap':
        this.#mustBeText(context, input, 'map');
        return new ExactTree(input, this.#map(context.at('exact_match_map.map'), type.value.map), onNoMatch);
      case 'prefixMatchMap':
        this.#mustBeText(context, input, 'map');
        return new PrefixTree(input, this.#map(context.at('prefix_match_map.map'), type.value.map), onNoMatch);
      case 'customMatch': {
        const at = context.at('custom_match');
        const config = at.unpack('typed_config', type.value.typedConfig);
        if (config?.$typeName === IP_TREE) {
          this.#mustBeText(context, input, 'trie');
          return this.#ranges(at.at('typed_config'), config as IPMatcher, input, onNoMatch);
        }
        if (config?.$typeName === NAME_TREE) {
          this.#mustBeText(context, input, 'domain');
          const domains = this.#domains(at.at('typed_config'), config as ServerNameMatcher);
          return new ServerNameTree(input, domains, onNoMatch);
        }
        if (config !== null) refuseExtension(at, 'typed_config', type.value);
        return new AnyTree(onNoMatch);
      }
      default:
        context.refuse('', 'a tree is missing', 'give one of exact_match_map, prefix_match_map, custom_match');
        return new AnyTree(onNoMatch);
    }
  }

  #mustBeText(context: BuildContext, input: MatchInput<Data>, what: string): void {
    if (input.type === 'text') return;
    context.refuse(
      'input',
      `Unsupported data input type: ${input.type}, currently only string type is supported in ${what} matcher`,
    );
  }

  #map(context: BuildContext, messages: Readonly<Record<string, Matcher_OnMatch>>): Map<string, OnMatch<Data, Action>> {
    const entries = new Map<string, OnMatch<Data, Action>>();
    for (const [key, message] of Object.entries(messages)) {
      entries.set(wireText(key), this.#onMatch(context.at(`[${JSON.stringify(key)}]`), message));
    }
    return entries;
  }

  #ranges(
    context: BuildContext,
    message: IPMatcher,
    input: MatchInput<Data>,
    onNoMatch: OnMatch<Data, Action> | null,
  ): MatchTree<Data, Action> {
    const table = new PrefixTable<RangeEntry<Data, Action>[]>();
    message.rangeMatchers.forEach((matcher, i) => {
      const at = context.at(`range_matchers[${i}]`);
      const entry = { exclusive: matcher.exclusive, onMatch: this.#onMatch(at.at('on_match'), matcher.onMatch) };
      matcher.ranges.forEach((range, r) => {
        const prefix = ipBytes(range.addressPrefix);
        if (prefix === null) {
          at.refuse(`ranges[${r}].address_prefix`, `malformed IP address: ${range.addressPrefix}`);
          return;
        }
        const bits = Math.min(range.prefixLen ?? 0, prefix.length * 8);
        table.getOrAdd({ prefix, bits }, () => []).push(entry);
      });
    });
    return new RangeTree(input, (text) => table.findAll(text).flat(), onNoMatch);
  }

  #domains(context: BuildContext, message: ServerNameMatcher): Map<string, OnMatch<Data, Action>> {
    const domains = new Map<string, OnMatch<Data, Action>>();
    message.domainMatchers.forEach((matcher, i) => {
      const at = context.at(`domain_matchers[${i}]`);
      const onMatch = this.#onMatch(at.at('on_match'), matcher.onMatch);
      matcher.domains.forEach((domain, d) => {
        const wrong = domains.has(domain) ? `Duplicate domain in ServerNameMatcher: ${domain}` : domainProblem(domain);
        if (wrong !== '') at.refuse(`domains[${d}]`, wrong);
        domains.set(domain, onMatch);
      });
    });
    return domains;
  }

  #predicate(context: BuildContext, message: Matcher_MatcherList_Predicate | undefined): Predicate<Data> {
    const type = message?.matchType;
    switch (type?.case) {
      case 'singlePredicate':
        return this.#single(context.at('single_predicate'), type.value);
      case 'orMatcher':
        return new SomePredicate(
          type.value.predicate.map((each, i) => this.#predicate(context.at(`or_matcher.predicate[${i}]`), each)),
        );
      case 'andMatcher':
        return new AllPredicate(
          type.value.predicate.map((each, i) => this.#predicate(context.at(`and_matcher.predicate[${i}]`), each)),
        );
      case 'notMatcher':
        return new NotPredicate(this.#predicate(context.at('not_matcher'), type.value));
      default:
        context.refuse('', 'a predicate is missing');
        return NEVER;
    }
  }

  #single(context: BuildContext, message: Matcher_MatcherList_Predicate_SinglePredicate): Predicate<Data> {
    const input = this.#input(context.at('input'), message.input);
    const { matcher } = message;
    if (matcher.case === 'valueMatch') {
      const strings = buildStringMatcher(context, 'value_match', envoyMatcher(matcher.value));
      if (matcher.value.matchPattern.case === 'custom') {
        context.refuse('value_match.custom', 'custom string matchers are not supported yet');
      }
      if (input.type !== 'text') refuseType(context, input.type, 'string');
      if (strings === null) return NEVER;
      return new InputPredicate(input, { matches: (value) => typeof value === 'string' && strings.matches(value) });
    }
    if (matcher.case === undefined) {
      context.refuse('', 'a matcher is missing', 'give value_match or custom_match');
      return NEVER;
    }
    const at = context.at('custom_match');
    const config = at.unpack('typed_config', matcher.value.typedConfig);
    if (config === null) return NEVER;
    const test = buildInputMatcher(at.at('typed_config'), config);
    if (test === null) {
      refuseExtension(at, 'typed_config', matcher.value);
      return NEVER;
    }
    if (test.type !== input.type) refuseType(context, input.type, test.type);
    return new InputPredicate(input, test);
  }

  #input(context: BuildContext, extension: TypedExtensionConfig | undefined): MatchInput<Data> {
    const config = context.unpack('typed_config', extension?.typedConfig);
    if (config === null) return NOTHING;
    if (config.$typeName === ENVIRONMENT) {
      const { name } = config as EnvironmentConfig;
      // Read once, as Envoy does.
      const value = process.env[name] ?? null;
      return { type: 'text', get: () => value };
    }
    const input = this.#parts.input(context.at('typed_config'), config);
    if (input !== null) return input;
    refuseExtension(context, 'typed_config', extension);
    return NOTHING;
  }
}

const NEVER: Predicate<unknown> = { holds: () => false };
const NOTHING: MatchInput<unknown> = { type: 'text', get: () => null };

function refuseType(context: BuildContext, actual: string, wanted: string): void {
  context.refuse(
    'input',
    `Unsupported data input type: ${actual}. The matcher supports input type: ${wanted}`,
    'choose an input that fits the matcher',
  );
}

/** The string matcher of the other API package, which has the same fields. */
function envoyMatcher({ matchPattern, ignoreCase }: XdsStringMatcher): StringMatcherMessage {
  const pattern =
    matchPattern.case === 'safeRegex'
      ? { case: 'safeRegex', value: { regex: matchPattern.value.regex } }
      : { case: matchPattern.case, value: matchPattern.value };
  return { matchPattern: pattern, ignoreCase } as unknown as StringMatcherMessage;
}

/** Source: Envoy, DomainTrieMatcherFactoryBase::validateDomainFormat. */
function domainProblem(domain: string): string {
  if (domain === '*') return '';
  if (domain === '') return 'Empty domain in ServerNameMatcher';
  const at = domain.indexOf('*');
  if (at < 0) return '';
  if (at !== 0 || domain.length < 3 || domain[1] !== '.') {
    return `Invalid wildcard domain format: ${domain}. Only '*' and '*.domain' patterns are supported`;
  }
  if (domain.includes('*', 1)) {
    return `Invalid wildcard domain format: ${domain}. Multiple wildcards are not supported`;
  }
  return '';
}

/** A test with the type of input that it takes. */
interface TypedTest extends ValueTest {
  readonly type: 'text' | 'metadata';
}

/** `custom_match` of a predicate. @returns null when there is no such matcher: nothing was refused */
function buildInputMatcher(context: BuildContext, config: Message): TypedTest | null {
  switch (config.$typeName as string) {
    case IP: {
      const message = config as Ip;
      const unparsable = context.shared.stats.counter(`${message.statPrefix}.ip_parsing_failed`);
      const contains = buildCidrMatcher(context, 'cidr_ranges', message.cidrRanges);
      return {
        type: 'text',
        matches: (value) => {
          if (typeof value !== 'string') return false;
          if (ipBytes(value) !== null) return contains(value);
          if (value !== '') unparsable.inc();
          return false;
        },
      };
    }
    case HASHING: {
      const { threshold, modulo, seed } = config as ConsistentHashing;
      if (threshold > modulo) context.refuse('threshold', 'threshold cannot be greater than modulo');
      return {
        type: 'text',
        matches: (value) => typeof value === 'string' && Number(xxHash64(value, seed) % BigInt(modulo)) >= threshold,
      };
    }
    case FRACTION: {
      const { runtimeFraction, seed } = config as RuntimeFraction;
      if (runtimeFraction === undefined) {
        context.refuse('runtime_fraction', 'a fraction is missing');
        return { type: 'text', matches: () => false };
      }
      const fraction = buildRuntimeFraction(context.at('runtime_fraction'), runtimeFraction);
      return {
        type: 'text',
        matches: (value) => {
          if (typeof value !== 'string') return false;
          const current = fraction.current();
          return current.includes(Number(xxHash64(value, seed) % BigInt(current.denominator)));
        },
      };
    }
    case METADATA: {
      const { value: message, invert } = config as Metadata;
      if (message === undefined) {
        context.refuse('value', 'a value matcher is missing');
        return { type: 'metadata', matches: () => false };
      }
      const matcher = buildValueMatcher(context, 'value', message);
      return {
        type: 'metadata',
        matches: (value) =>
          matcher !== null && matchesValue(matcher, (value ?? undefined) as MetadataValue | undefined) !== invert,
      };
    }
    default:
      return null;
  }
}
