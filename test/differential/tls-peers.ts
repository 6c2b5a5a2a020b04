/** TLS clients and certificates of scenarios. */
import { readFileSync } from 'node:fs';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { findResponse, showBytes } from '../support/wire-text.ts';
import type { Fields } from './configs.ts';
import { typed } from './configs.ts';
import type { Exchange } from './exchange.ts';
import { type Case, type CaseOptions, steps } from './harness.ts';

const TLS = 'envoy.extensions.transport_sockets.tls.v3';

/** Path of one of the certificates of `src/net/tls/testdata/make.sh`. */
export function pemPath(name: string): string {
  return fileURLToPath(new URL(`../../src/net/tls/testdata/${name}`, import.meta.url));
}

export function pem(name: string): string {
  return readFileSync(pemPath(name), 'utf8');
}

/** A TlsCertificate of files. */
export function certificate(name: string): Fields {
  return {
    certificate_chain: { filename: pemPath(`${name}.pem`) },
    private_key: { filename: pemPath(`${name}.key`) },
  };
}

export const trusting = (ca = 'root', more: Fields = {}): Fields => ({
  trusted_ca: { filename: pemPath(`${ca}.pem`) },
  ...more,
});

export function downstreamTls(common: Fields, more: Fields = {}): Fields {
  return {
    name: 'envoy.transport_sockets.tls',
    typed_config: typed(`${TLS}.DownstreamTlsContext`, { common_tls_context: common, ...more }),
  };
}

export function upstreamTls(common: Fields, more: Fields = {}): Fields {
  return {
    name: 'envoy.transport_sockets.tls',
    typed_config: typed(`${TLS}.UpstreamTlsContext`, { common_tls_context: common, ...more }),
  };
}

/** What a TLS client does beside connecting. */
export interface TlsClientOptions extends CaseOptions {
  readonly listener?: string;
  /** Name of a client certificate. */
  readonly cert?: string;
  /** Empty: none is sent. */
  readonly sni?: string;
  readonly alpn?: readonly string[];
  readonly minVersion?: ConnectionOptions['minVersion'];
  readonly maxVersion?: ConnectionOptions['maxVersion'];
  readonly ciphers?: string;
  readonly session?: Buffer;
  /** What it asks; null: nothing, it only shakes hands. */
  readonly request?: string | null;
  /** Leaves out what of the session changes with the client's luck. */
  readonly sessions?: boolean;
}

/** One TLS connection: shakes hands, asks, and writes down what it learnt. @returns a session to resume */
export async function tlsExchange(exchange: Exchange, options: TlsClientOptions = {}): Promise<Buffer | null> {
  const request = options.request === undefined ? 'GET / HTTP/1.1\r\nhost: h\r\n\r\n' : options.request;
  const socket = connect({
    host: '127.0.0.1',
    port: exchange.port(options.listener ?? 'a'),
    rejectUnauthorized: false,
    servername: options.sni ?? 'server.test',
    ...(options.alpn === undefined ? {} : { ALPNProtocols: [...options.alpn] }),
    ...(options.cert === undefined ? {} : { cert: pem(`${options.cert}.pem`), key: pem(`${options.cert}.key`) }),
    ...(options.minVersion === undefined ? {} : { minVersion: options.minVersion }),
    ...(options.maxVersion === undefined ? {} : { maxVersion: options.maxVersion }),
    ...(options.ciphers === undefined ? {} : { ciphers: options.ciphers }),
    ...(options.session === undefined ? {} : { session: options.session }),
  });
  const lines: string[] = [];
  let received = '';
  let session: Buffer | null = null;
  let facts: string[] = [];
  await new Promise<void>((resolve) => {
    const timer = setTimeout(() => {
      lines.push('[nothing more came]');
      finish();
    }, 4000);
    const finish = (): void => {
      clearTimeout(timer);
      resolve();
    };
    socket.on('session', (bytes: Buffer) => {
      session = bytes;
    });
    socket.on('secureConnect', () => {
      facts = describeSession(socket);
      if (request === null) finish();
      else socket.write(request);
    });
    socket.on('data', (bytes: Buffer) => {
      received += bytes.toString('latin1');
      if (findResponse(received, 0, { head: false, closed: false }) !== null) finish();
    });
    // Whether an alert says why is left out: the runtime judges certificates after the handshake, and can only close.
    socket.on('error', finish);
    socket.on('close', finish);
  });
  const refused = request !== null && received === '';
  socket.destroy();
  exchange.note('tls client', [...lines, ...(refused ? ['[refused]'] : facts), showBytes(received)].join('\n'));
  return session;
}

function describeSession(socket: TLSSocket): string[] {
  const peer = socket.getPeerCertificate();
  return [
    `${socket.getProtocol()} ${socket.getCipher().name} alpn=${socket.alpnProtocol || '-'} reused=${socket.isSessionReused()}`,
    `certificate ${peer.subject?.CN ?? '-'}`,
  ];
}

/** A case of one TLS connection. The log, where the suite has one, gets one line unless another number is given. */
export function tls(name: string, options: TlsClientOptions = {}): Case {
  return steps(name, async (exchange) => void (await tlsExchange(exchange, options)), { logLines: 1, ...options });
}
