import type { TlsStats } from '../net/transport-socket.ts';
import { Counter } from '../stats/counter.ts';

/** One family of counts, by labels. */
class Family {
  readonly name: string;
  readonly help: string;
  readonly kind: 'counter' | 'gauge';
  /** By the text of its labels; empty: none. */
  readonly counters = new Map<string, Counter>();
  readonly #read: (() => number) | null;

  constructor(name: string, help: string, kind: 'counter' | 'gauge', read: (() => number) | null) {
    this.name = name;
    this.help = help;
    this.kind = kind;
    this.#read = read;
  }

  render(): string {
    const lines = [`# HELP ${this.name} ${this.help}`, `# TYPE ${this.name} ${this.kind}`];
    if (this.#read !== null) lines.push(`${this.name} ${this.#read()}`);
    for (const [labels, { value }] of this.counters) {
      lines.push(`${this.name}${labels === '' ? '' : `{${labels}}`} ${value}`);
    }
    return `${lines.join('\n')}\n`;
  }
}

function escaped(value: string): string {
  return value.replace(/[\\"]/g, '\\$&').replaceAll('\n', '\\n');
}

/** Upper bounds of the push times, ms. */
const BOUNDS_MS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000] as const;

/** How long something took, as a Prometheus histogram in seconds. */
export class Timings {
  readonly #name: string;
  readonly #help: string;
  readonly #counts: number[] = BOUNDS_MS.map(() => 0);
  #count = 0;
  #sumMs = 0;

  constructor(name: string, help: string) {
    this.#name = name;
    this.#help = help;
  }

  record(ms: number): void {
    this.#count++;
    this.#sumMs += ms;
    for (const [index, bound] of BOUNDS_MS.entries()) if (ms <= bound) this.#counts[index]!++;
  }

  render(): string {
    const name = this.#name;
    const lines = [`# HELP ${name} ${this.#help}`, `# TYPE ${name} histogram`];
    for (const [index, bound] of BOUNDS_MS.entries()) {
      lines.push(`${name}_bucket{le="${bound / 1000}"} ${this.#counts[index]}`);
    }
    lines.push(`${name}_bucket{le="+Inf"} ${this.#count}`, `${name}_sum ${this.#sumMs / 1000}`);
    lines.push(`${name}_count ${this.#count}`);
    return `${lines.join('\n')}\n`;
  }
}

/** What the control plane counts, as a page in the Prometheus text format. */
export class Metrics {
  readonly #families = new Map<string, Family>();
  readonly pushTimes = new Timings(
    'pilot_push_seconds',
    'From a changed snapshot to the acknowledgement of its response.',
  );

  #family(name: string, help: string, kind: Family['kind'], read: (() => number) | null): Family {
    let family = this.#families.get(name);
    if (family === undefined) {
      family = new Family(name, help, kind, read);
      this.#families.set(name, family);
    }
    return family;
  }

  /** The counter of a family with these labels. Hold it where it counts. */
  counter(name: string, help: string, labels: Readonly<Record<string, string>> = {}): Counter {
    const { counters } = this.#family(`pilot_${name}_total`, help, 'counter', null);
    const text = Object.entries(labels)
      .map(([label, value]) => `${label}="${escaped(value)}"`)
      .join(',');
    let counter = counters.get(text);
    if (counter === undefined) {
      counter = new Counter();
      counters.set(text, counter);
    }
    return counter;
  }

  /** What `read` says whenever the page is asked for. */
  gauge(name: string, help: string, read: () => number): void {
    this.#family(`pilot_${name}`, help, 'gauge', read);
  }

  render(): string {
    return `${[...this.#families.values()].map((family) => family.render()).join('')}${this.pushTimes.render()}`;
  }

  /** The TLS engine's counts, one label apart. */
  tlsStats(): TlsStats {
    const event = (name: string): Counter =>
      this.counter('tls_events', 'What happened to TLS connections, in the words of ssl.* of Envoy.', { event: name });
    return {
      connectionError: event('connection_error'),
      handshake: event('handshake'),
      sessionReused: event('session_reused'),
      noCertificate: event('no_certificate'),
      failVerifyNoCert: event('fail_verify_no_cert'),
      failVerifyError: event('fail_verify_error'),
      failVerifySan: event('fail_verify_san'),
      failVerifyCertHash: event('fail_verify_cert_hash'),
      // No OCSP here.
      ocspStaplingFailed: new Counter(),
      ocspStaplingOmitted: new Counter(),
      ocspStaplingResponses: new Counter(),
      ocspStaplingRequests: new Counter(),
      wasKeyUsageInvalid: new Counter(),
      scope: { counter: () => new Counter() },
    };
  }
}
