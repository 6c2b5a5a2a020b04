import { readFileSync, statSync } from 'node:fs';
import { ipVersion } from '../../net/ip-version.ts';

/** The contents of a file, parsed anew when it has changed. */
class ParsedFile<T> {
  readonly #path: string;
  readonly #parse: (text: string) => T;
  #stamp = '';
  #value: T;

  constructor(path: string, parse: (text: string) => T) {
    this.#path = path;
    this.#parse = parse;
    this.#value = parse('');
  }

  get(): T {
    try {
      const { mtimeMs, size, ino } = statSync(this.#path);
      const stamp = `${mtimeMs} ${size} ${ino}`;
      if (stamp !== this.#stamp) {
        this.#value = this.#parse(readFileSync(this.#path, 'utf8'));
        this.#stamp = stamp;
      }
    } catch {
      this.#stamp = '';
      this.#value = this.#parse('');
    }
    return this.#value;
  }
}

/** Names of a hosts file (hosts(5)), lower case, with their addresses in file order. */
export function parseHostsFile(text: string): Map<string, string[]> {
  const names = new Map<string, string[]>();
  for (const line of text.split('\n')) {
    const words = line.replace(/#.*/, '').trim().split(/\s+/);
    const ip = words[0]!;
    if (ipVersion(ip) === 0) continue;
    for (const word of words.slice(1)) {
      const name = word.toLowerCase();
      const list = names.get(name);
      if (list === undefined) names.set(name, [ip]);
      else if (!list.includes(ip)) list.push(ip);
    }
  }
  return names;
}

export interface SearchRule {
  readonly domains: readonly string[];
  readonly ndots: number;
}

/** `search` (or `domain`) and `ndots` of resolv.conf(5). */
export function parseResolvConf(text: string): SearchRule {
  let domains: string[] = [];
  let ndots = 1;
  for (const line of text.split('\n')) {
    const words = line
      .replace(/[#;].*/, '')
      .trim()
      .split(/\s+/);
    if (words[0] === 'search' || words[0] === 'domain') domains = words.slice(1);
    if (words[0] !== 'options') continue;
    for (const word of words) {
      const match = /^ndots:(\d+)$/.exec(word);
      if (match !== null) ndots = Math.min(15, Number(match[1]));
    }
  }
  return { domains: domains.map((domain) => domain.replace(/\.$/, '')).filter((domain) => domain !== ''), ndots };
}

/** The names to ask for, in order: with few dots the search domains come first, and Kubernetes relies on it. */
export function candidateNames(name: string, rule: SearchRule): string[] {
  if (name.endsWith('.')) return [name.slice(0, -1)];
  const searched = rule.domains.map((domain) => `${name}.${domain}`);
  const dots = name.split('.').length - 1;
  return dots >= rule.ndots ? [name, ...searched] : [...searched, name];
}

/** What the system knows of names without asking a server. */
export class SystemNames {
  readonly #hosts: ParsedFile<Map<string, string[]>>;
  readonly #search: ParsedFile<SearchRule>;

  constructor(hostsPath = '/etc/hosts', resolvConfPath = '/etc/resolv.conf') {
    this.#hosts = new ParsedFile(hostsPath, parseHostsFile);
    this.#search = new ParsedFile(resolvConfPath, parseResolvConf);
  }

  /** Addresses of the hosts file; null when it does not know the name. `localhost` is always known (RFC 6761). */
  lookup(name: string): readonly string[] | null {
    const key = name.toLowerCase().replace(/\.$/, '');
    const listed = this.#hosts.get().get(key);
    if (listed !== undefined) return listed;
    return key === 'localhost' || key.endsWith('.localhost') ? ['127.0.0.1', '::1'] : null;
  }

  candidates(name: string): string[] {
    return candidateNames(name, this.#search.get());
  }
}
