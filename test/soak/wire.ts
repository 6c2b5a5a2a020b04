/** The wire part of the soak: its listeners and clusters, and the Node program that is client and upstream (`wire-load.mjs`). */
import { copyFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Subprocess } from 'bun';
import { cluster, type Fields, httpListener, to, typed } from '../differential/configs.ts';
import { certificate, downstreamTls, pemPath, trusting, upstreamTls } from '../differential/tls-peers.ts';

const PROTOCOLS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
const RETRIES = { retry_on: 'connect-failure,refused-stream,reset-before-request', num_retries: 3 };
const CERTIFICATES = ['server-ec', 'other-ec', 'server-rsa'] as const;
/** How often certificates change, in milliseconds. */
const RENEWAL_MS = 700;

/** What the program tells at its end. */
export interface WireResult {
  readonly done: Readonly<Record<string, number>>;
  readonly errors: readonly string[];
  readonly facts: {
    readonly resumed: number;
    readonly certificates: Readonly<Record<string, number>>;
    readonly goaways: number;
  };
}

const protocols = (fields: Fields): Fields => ({
  typed_extension_protocol_options: { [PROTOCOLS]: typed(PROTOCOLS, fields) },
});
const http2 = { http2_protocol_options: { allow_connect: true } };
const overTls = (more: Fields = {}): Fields => ({
  transport_socket: upstreamTls(
    { validation_context: trusting(), tls_params: { tls_maximum_protocol_version: 'TLSv1_3' }, ...more },
    { sni: 'server.test' },
  ),
});

/** The clusters that the paths of `wire-load.mjs` lead to. */
export const wireClusters: readonly Fields[] = [
  cluster('h1', ['{{upstream:w-h1}}']),
  cluster('h2', ['{{upstream:w-h2}}'], protocols({ explicit_http_config: http2 })),
  cluster('tls', ['{{upstream:w-tls}}'], {
    ...protocols({ explicit_http_config: http2 }),
    ...overTls({ alpn_protocols: ['h2'] }),
  }),
  cluster('auto', ['{{upstream:w-tls}}'], { ...protocols({ auto_config: http2 }), ...overTls() }),
  cluster(
    'aged',
    ['{{upstream:w-h2}}'],
    protocols({ explicit_http_config: http2, common_http_protocol_options: { max_requests_per_connection: 100 } }),
  ),
].map((each) => ({
  ...each,
  // A machine with other things to do may be slow to shake hands.
  connect_timeout: '15s',
  circuit_breakers: {
    thresholds: [{ max_requests: 10_000, max_pending_requests: 10_000, max_connections: 10_000, max_retries: 100 }],
  },
}));

const wireRoutes = ['h1', 'h2', 'tls', 'auto', 'aged'].map((name) =>
  to(name, `/${name}/`, { retry_policy: RETRIES, timeout: '0s' }),
);

function wireListener(name: string, hcm: Fields = {}, socket?: Fields): Fields {
  const made = httpListener({
    name,
    routes: wireRoutes,
    hcm: {
      http2_protocol_options: { allow_connect: true },
      http_protocol_options: { enable_trailers: true },
      upgrade_configs: [{ upgrade_type: 'websocket' }],
      ...hcm,
    },
    log: '%REQ(:PATH)% %PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %DOWNSTREAM_TLS_VERSION% %UPSTREAM_PROTOCOL% %DURATION%',
  }) as { filter_chains: Fields[] };
  if (socket === undefined) return made;
  return {
    ...made,
    filter_chains: [{ ...made.filter_chains[0], transport_socket: socket, transport_socket_connect_timeout: '5s' }],
  };
}

const alpn = { alpn_protocols: ['h2', 'http/1.1'] };

/** `{{tmp}}` holds what `Renewal` writes. */
export const wireListeners: readonly Fields[] = [
  wireListener('plain'),
  wireListener(
    'tls',
    {},
    downstreamTls({
      ...alpn,
      tls_certificate_sds_secret_configs: [
        { name: 'front', sds_config: { path_config_source: { path: '{{tmp}}/front.json' } } },
      ],
    }),
  ),
  wireListener(
    'files',
    {},
    downstreamTls({
      ...alpn,
      tls_certificates: [
        { certificate_chain: { filename: '{{tmp}}/tls.crt' }, private_key: { filename: '{{tmp}}/tls.key' } },
      ],
    }),
  ),
  wireListener('drained', {
    drain_timeout: '0.1s',
    common_http_protocol_options: { max_requests_per_connection: 20 },
  }),
];

/** Certificates that change while they are used: one by SDS, one in plain files. */
export class Renewal {
  readonly #directory: string;
  #turn = 0;
  #timer: ReturnType<typeof setInterval> | null = null;

  constructor(directory: string) {
    this.#directory = directory;
    this.#renew();
  }

  start(): void {
    this.#timer = setInterval(() => this.#renew(), RENEWAL_MS);
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
  }

  #renew(): void {
    const name = CERTIFICATES[this.#turn++ % CERTIFICATES.length]!;
    const secret = typed('envoy.extensions.transport_sockets.tls.v3.Secret', {
      name: 'front',
      tls_certificate: certificate(name),
    });
    const path = join(this.#directory, 'front.json');
    writeFileSync(`${path}.new`, JSON.stringify({ resources: [secret] }));
    renameSync(`${path}.new`, path);
    for (const [file, from] of [
      ['tls.crt', `${name}.pem`],
      ['tls.key', `${name}.key`],
    ] as const) {
      copyFileSync(pemPath(from), join(this.#directory, `${file}.new`));
      renameSync(join(this.#directory, `${file}.new`), join(this.#directory, file));
    }
  }
}

/** The program at work. */
export class WireLoad {
  readonly #child: Subprocess<'pipe', 'pipe', 'inherit'>;
  readonly #lines: AsyncIterator<string>;

  constructor() {
    const script = join(import.meta.dir, 'wire-load.mjs');
    const data = join(pemPath('root.pem'), '..');
    this.#child = Bun.spawn(['node', script, data], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#lines = linesOf(this.#child.stdout);
  }

  async #next<T>(): Promise<T> {
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error('the wire load ended without a word');
    return JSON.parse(value) as T;
  }

  /** The ports of its upstreams, by the names that the clusters know. */
  async upstreamPorts(): Promise<Map<string, number>> {
    const ports = await this.#next<Record<string, number>>();
    return new Map(Object.entries(ports).map(([name, port]) => [`w-${name}`, port]));
  }

  /** Works for `seconds` against the ports of the listeners; its upstreams are gone afterwards. */
  async run(ports: ReadonlyMap<string, number>, seconds: number): Promise<WireResult> {
    this.#child.stdin.write(`${JSON.stringify({ ports: Object.fromEntries(ports), seconds })}\n`);
    this.#child.stdin.flush();
    const result = await this.#next<WireResult>();
    await this.#child.exited;
    return result;
  }

  stop(): void {
    this.#child.kill();
  }
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string, undefined> {
  const decoder = new TextDecoder();
  let text = '';
  for await (const bytes of stream) {
    text += decoder.decode(bytes, { stream: true });
    for (let end = text.indexOf('\n'); end !== -1; end = text.indexOf('\n')) {
      yield text.slice(0, end);
      text = text.slice(end + 1);
    }
  }
  return undefined;
}
