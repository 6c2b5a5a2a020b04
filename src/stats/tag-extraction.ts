import { DEFAULT_TAG_EXTRACTORS } from './default-tags.ts';

export interface Tag {
  readonly name: string;
  readonly value: string;
}

/** A stat name taken apart: what remains of it, and the tags found in it. */
export interface TaggedName {
  readonly tagExtractedName: string;
  readonly tags: readonly Tag[];
}

/** How one default tag is found. `tokens`: dot-separated, `*` any token, `$` the value, `**` any number of tokens. */
export type TagExtractorSource =
  | { readonly name: string; readonly tokens: string }
  | {
      readonly name: string;
      readonly regex: string;
      /** The name must contain this for the regex to be tried. */
      readonly contains?: string;
      /** A value that is not taken as the tag. */
      readonly except?: string;
    };

/** One entry of `stats_config.stats_tags`. A regex must find group 1 (removed from the name); group 2, if any, is the value. */
export type CustomTag =
  | { readonly name: string; readonly fixedValue: string }
  | { readonly name: string; readonly regex: string | RegExp }
  /** Asks for Envoy's own extractor of this name: an error if there is none. */
  | { readonly name: string };

export interface TagOptions {
  /** `stats_config.use_all_default_tags`, default true. */
  readonly useAllDefaultTags?: boolean;
  /** `stats_config.stats_tags`. */
  readonly customTags?: readonly CustomTag[];
  /** `--stats-tag name:value`. */
  readonly commandLineTags?: readonly Tag[];
}

interface Extraction {
  value: string;
  from: number;
  to: number;
}

interface Extractor {
  readonly tag: string;
  /** First token of every name that can match, or '' for any. */
  readonly firstToken: string;
  extract(name: string, tokens: readonly string[]): Extraction | null;
}

class FixedExtractor implements Extractor {
  readonly tag: string;
  readonly firstToken: string;
  private readonly result: Extraction;

  constructor(tag: string, value: string) {
    this.tag = tag;
    this.firstToken = '';
    this.result = { value, from: 0, to: 0 };
  }

  extract(): Extraction {
    return this.result;
  }
}

class TokenExtractor implements Extractor {
  readonly tag: string;
  readonly firstToken: string;
  private readonly pattern: readonly string[];
  private valueAt: number;

  constructor(tag: string, pattern: string) {
    this.tag = tag;
    this.pattern = pattern.split('.');
    const first = this.pattern[0]!;
    this.firstToken = first === '*' || first === '$' || first === '**' ? '' : first;
    this.valueAt = -1;
  }

  extract(name: string, tokens: readonly string[]): Extraction | null {
    if (!this.match(tokens, 0, 0)) return null;
    let from = 0;
    for (let i = 0; i < this.valueAt; i++) from += tokens[i]!.length + 1;
    const value = tokens[this.valueAt]!;
    let to = from + value.length;
    if (to < name.length) to++;
    else if (from > 0) from--;
    return { value, from, to };
  }

  private match(tokens: readonly string[], at: number, patternAt: number): boolean {
    if (patternAt === this.pattern.length) return at === tokens.length;
    const expected = this.pattern[patternAt]!;
    if (expected === '**') {
      if (patternAt + 1 === this.pattern.length) return true;
      for (let i = at; i < tokens.length; i++) if (this.match(tokens, i, patternAt + 1)) return true;
      return false;
    }
    if (at >= tokens.length) return false;
    if (expected !== '*' && expected !== '$' && expected !== tokens[at]) return false;
    if (!this.match(tokens, at + 1, patternAt + 1)) return false;
    if (expected === '$') this.valueAt = at;
    return true;
  }
}

/** The literal first token of an anchored regex (`^cluster\.`), or ''. */
function literalFirstToken(source: string): string {
  const found = /^\^([a-zA-Z0-9_]+)(?:\\\.|\(\?=\\\.\)|\$$)/.exec(source);
  return found === null ? '' : found[1]!;
}

class RegexExtractor implements Extractor {
  readonly tag: string;
  readonly firstToken: string;
  private readonly regex: RegExp;
  private readonly contains: string;
  private readonly except: string | null;

  constructor(tag: string, regex: RegExp, contains: string, except: string | null) {
    this.tag = tag;
    this.firstToken = regex.flags.includes('i') ? '' : literalFirstToken(regex.source);
    // Sticky and global would keep state between names; indices are needed to cut the match out.
    this.regex = new RegExp(regex.source, `${regex.flags.replace(/[gyd]/g, '')}d`);
    this.contains = contains;
    this.except = except;
  }

  extract(name: string): Extraction | null {
    if (this.contains !== '' && !name.includes(this.contains)) return null;
    const match = this.regex.exec(name);
    const removed = match?.indices?.[1];
    if (match === null || removed === undefined) return null;
    const value = match[2] ? match[2] : match[1]!;
    if (value === this.except) return null;
    return { value, from: removed[0], to: removed[1] };
  }
}

const PLACEHOLDERS: readonly (readonly [string, string])[] = [
  ['<ADDRESS>', '(?:(?:\\d{1,3}\\.\\d{1,3}\\.\\d{1,3}\\.\\d{1,3}|\\[[a-fA-F_\\d]+\\])_\\d+)'],
  ['<CIPHER>', '[\\w-]+'],
  ['<OWNER>', '(?:listener|cluster)\\..*?'],
  ['<PROXY_PROTOCOL_VERSION>', '\\d'],
  ['<SCOPED_ROUTE_CONFIG_NAME>', '[\\w\\-./]+'],
  ['<ROUTE_CONFIG_NAME>', '[\\w\\-.]+'],
  ['<TAG_VALUE>', '[^.]+'],
  ['<TLS_VERSION>', '[\\w.]+'],
];

function fromSource(source: TagExtractorSource): Extractor {
  if ('tokens' in source) return new TokenExtractor(source.name, source.tokens);
  let expanded = source.regex;
  for (const [placeholder, meaning] of PLACEHOLDERS) expanded = expanded.replaceAll(placeholder, meaning);
  return new RegexExtractor(source.name, new RegExp(expanded), source.contains ?? '', source.except ?? null);
}

/**
 * Takes tags out of stat names as Envoy does: all extractors look at the whole name; of two that find the same tag
 * the first wins. Extractors that are not bound to a first token come first, then those of the name's own one.
 * Throws an Error for an empty tag name, a name without regex that is no default, and a regex that does not compile.
 */
export class TagProducer {
  private readonly unbound: Extractor[];
  private readonly bound: Map<string, Extractor[]>;

  constructor(options: TagOptions = {}) {
    this.unbound = [];
    this.bound = new Map();
    const all = options.useAllDefaultTags ?? true;
    if (all) for (const source of DEFAULT_TAG_EXTRACTORS) this.add(fromSource(source));
    for (const tag of options.commandLineTags ?? []) this.add(new FixedExtractor(tag.name, tag.value));
    for (const custom of options.customTags ?? []) {
      if (custom.name === '') throw new Error('tag_name cannot be empty');
      if ('fixedValue' in custom) {
        this.add(new FixedExtractor(custom.name, custom.fixedValue));
      } else if ('regex' in custom && custom.regex !== '') {
        const regex = typeof custom.regex === 'string' ? new RegExp(custom.regex) : custom.regex;
        this.add(new RegexExtractor(custom.name, regex, '', null));
      } else {
        const sources = DEFAULT_TAG_EXTRACTORS.filter((source) => source.name === custom.name);
        if (sources.length === 0) {
          throw new Error(`No regex specified for tag specifier and no default regex for name: '${custom.name}'`);
        }
        if (!all) for (const source of sources) this.add(fromSource(source));
      }
    }
  }

  /** The tags of a name and what is left of it. */
  produce(name: string): TaggedName {
    const tokens = name.split('.');
    const tags: Tag[] = [];
    const cuts: [number, number][] = [];
    this.run(this.unbound, name, tokens, tags, cuts);
    if (tokens.length > 1) {
      const own = this.bound.get(tokens[0]!);
      if (own !== undefined) this.run(own, name, tokens, tags, cuts);
    }
    return { tagExtractedName: removeRanges(name, cuts), tags };
  }

  private run(
    extractors: readonly Extractor[],
    name: string,
    tokens: readonly string[],
    tags: Tag[],
    cuts: [number, number][],
  ): void {
    for (const extractor of extractors) {
      const found = extractor.extract(name, tokens);
      if (found === null || tags.some((tag) => tag.name === extractor.tag)) continue;
      tags.push({ name: extractor.tag, value: found.value });
      if (found.to > found.from) cuts.push([found.from, found.to]);
    }
  }

  private add(extractor: Extractor): void {
    if (extractor.firstToken === '') {
      this.unbound.push(extractor);
      return;
    }
    const list = this.bound.get(extractor.firstToken);
    if (list === undefined) this.bound.set(extractor.firstToken, [extractor]);
    else list.push(extractor);
  }
}

function removeRanges(name: string, cuts: [number, number][]): string {
  if (cuts.length === 0) return name;
  cuts.sort((a, b) => a[0] - b[0]);
  let out = '';
  let at = 0;
  for (const [from, to] of cuts) {
    if (from > at) out += name.slice(at, from);
    if (to > at) at = to;
  }
  return out + name.slice(at);
}
