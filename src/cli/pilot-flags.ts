import { type ParseArgsConfig, parseArgs } from 'node:util';
import type { PilotLimits } from '../control-plane/pilot.ts';
import { FlagError } from './flags.ts';

/** One flag of `nuncio pilot`. */
export interface PilotFlagSpec {
  readonly name: string;
  /** Of the value, for people; empty: the flag has none. */
  readonly value: string;
  /** Empty: none. */
  readonly fallback: string;
  readonly help: string;
}

/** In the order of the help. */
export const PILOT_FLAGS: readonly PilotFlagSpec[] = [
  { name: 'listen', value: 'HOST:PORT', fallback: '127.0.0.1:18000', help: 'Where discovery (gRPC) is served.' },
  {
    name: 'resources',
    value: 'DIRECTORY',
    fallback: '',
    help: 'Envoy\'s resources: files with a list `resources:`, each with its "@type". Below groups/NAME/ stand the resources of the nodes that groups/NAME/group.yaml describes (id, cluster, region, zone, sub_zone, metadata).',
  },
  {
    name: 'gateway-api',
    value: 'DIRECTORY',
    fallback: '',
    help: 'Manifests of the Gateway API; the proxies of a gateway call themselves NAMESPACE/NAME in node.cluster.',
  },
  {
    name: 'status',
    value: 'FILE',
    fallback: '',
    help: 'The statuses of the manifests are written to this file; it must not lie among them.',
  },
  {
    name: 'tls-cert',
    value: 'FILE',
    fallback: '',
    help: 'Certificate chain of the server (PEM, leaf first): discovery is served over TLS. Read again when it changes; streams that there are go on.',
  },
  { name: 'tls-key', value: 'FILE', fallback: '', help: 'Its private key (PEM).' },
  {
    name: 'client-ca',
    value: 'FILE',
    fallback: '',
    help: 'Authorities of the clients (PEM): who presents no certificate of theirs is turned away.',
  },
  {
    name: 'client-certificates',
    value: 'require|optional',
    fallback: 'require',
    help: 'With --client-ca: whether a client may come without a certificate. One that is presented must be good either way.',
  },
  {
    name: 'mesh-ca',
    value: 'DIRECTORY',
    fallback: '',
    help: 'Issues certificates with SPIFFE IDs to proxies that prove who they are, by SDS: `default` (also under its SPIFFE ID) and `ROOTCA` (also spiffe://TRUST-DOMAIN). The authority is kept in the directory, and made there when there is none. Discovery is then served over TLS: without --tls-cert by a certificate of the mesh.',
  },
  {
    name: 'mesh-rules',
    value: 'FILE',
    fallback: '',
    help: 'Who gets which identity (YAML). Without it, who presents a certificate of the mesh gets one for the same identity.',
  },
  { name: 'trust-domain', value: 'NAME', fallback: 'cluster.local', help: 'Of the SPIFFE IDs.' },
  {
    name: 'certificate-ttl-s',
    value: 'SECONDS',
    fallback: '86400',
    help: 'Life of the certificates that are issued; they are renewed when half of it is over.',
  },
  {
    name: 'server-names',
    value: 'NAME,...',
    fallback: 'localhost',
    help: 'What clients know the server by: names and addresses in its certificate of the mesh.',
  },
  {
    name: 'debug',
    value: 'HOST:PORT',
    fallback: '',
    help: 'Serves /debug (who is connected and has what; ?node=ID for all of one node), /metrics (Prometheus) and /ready over HTTP. It asks nobody who they are: keep it on the loopback.',
  },
  { name: 'max-clients', value: 'N', fallback: '10000', help: 'Connections; further ones are closed as they come.' },
  {
    name: 'max-streams',
    value: 'N',
    fallback: '1024',
    help: 'Streams of one connection at once (SETTINGS_MAX_CONCURRENT_STREAMS).',
  },
  {
    name: 'max-client-bytes',
    value: 'BYTES',
    fallback: '134217728',
    help: 'What one connection may make the server keep: half-sent requests and such that wait, headers, nodes, names, responses that are not read. The stream that goes beyond ends; a single response may be larger.',
  },
  {
    name: 'max-request-bytes',
    value: 'BYTES',
    fallback: '16777216',
    help: 'Largest request; a larger one ends its stream.',
  },
  {
    name: 'max-subscriptions',
    value: 'N',
    fallback: '200000',
    help: 'Names of one type that one stream may ask for; more end it.',
  },
  {
    name: 'max-pending-responses',
    value: 'N',
    fallback: '32',
    help: 'Responses of one type that may wait for an answer on one stream; what comes later waits, and is the latest then.',
  },
  {
    name: 'max-requests-per-second',
    value: 'N',
    fallback: '1000',
    help: 'Requests of one stream in the long run (twice as many at once); more are read later.',
  },
  {
    name: 'request-timeout-ms',
    value: 'MS',
    fallback: '30000',
    help: 'How long a request may take to come, the first one from the beginning of its stream; the stream then ends. Between two requests there is no limit.',
  },
  {
    name: 'send-timeout-ms',
    value: 'MS',
    fallback: '60000',
    help: 'A client that takes nothing of a response that waits for it for so long loses its stream.',
  },
  {
    name: 'idle-timeout-ms',
    value: 'MS',
    fallback: '300000',
    help: 'A connection without streams for so long is closed. One that is gone without a word is noticed by PINGs, after a minute at most.',
  },
  {
    name: 'drain-time-ms',
    value: 'MS',
    fallback: '1000',
    help: 'On SIGTERM, how long the streams take to end one after the other. A second signal ends at once.',
  },
  {
    name: 'log-level',
    value: 'LEVEL',
    fallback: 'info',
    help: 'Of the log on standard error: trace, debug, info, warning, error, critical or off.',
  },
];

/** A day. */
const MAX_TIMEOUT_MS = 86_400_000;

export type PilotFlagValues = Readonly<Record<string, string>>;

/** @throws FlagError for an unknown flag, one without its value, or an argument that is no flag */
export function readPilotFlags(flags: readonly PilotFlagSpec[], args: readonly string[]): PilotFlagValues {
  const options: NonNullable<ParseArgsConfig['options']> = {};
  for (const { name, value } of flags) options[name] = { type: value === '' ? 'boolean' : 'string' };
  let given: Record<string, unknown>;
  try {
    given = parseArgs({ args: [...args], options }).values;
  } catch (error) {
    throw new FlagError((error as Error).message, '');
  }
  return Object.fromEntries(
    flags.map(({ name, fallback }) => [name, given[name] === undefined ? fallback : String(given[name])]),
  );
}

/** A whole number within bounds. @throws FlagError */
export function numberFlag(values: PilotFlagValues, name: string, least: number, most: number): number {
  const text = values[name] ?? '';
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < least || value > most) {
    throw new FlagError(`--${name} is a whole number from ${least} to ${most}, not '${text}'`, '');
  }
  return value;
}

/** What clients may ask for. @throws FlagError */
export function limitsOf(values: PilotFlagValues): PilotLimits {
  return {
    maxClients: numberFlag(values, 'max-clients', 1, 1_000_000),
    maxRequestBytes: numberFlag(values, 'max-request-bytes', 1024, 1 << 30),
    maxStreams: numberFlag(values, 'max-streams', 1, 1_000_000),
    maxConnectionBytes: numberFlag(values, 'max-client-bytes', 1 << 16, 2 ** 40),
    messageTimeoutMs: numberFlag(values, 'request-timeout-ms', 1, MAX_TIMEOUT_MS),
    sendTimeoutMs: numberFlag(values, 'send-timeout-ms', 1, MAX_TIMEOUT_MS),
    idleTimeoutMs: numberFlag(values, 'idle-timeout-ms', 1, MAX_TIMEOUT_MS),
    maxNames: numberFlag(values, 'max-subscriptions', 1, 10_000_000),
    maxPendingResponses: numberFlag(values, 'max-pending-responses', 1, 1_000_000),
    requestsPerSecond: numberFlag(values, 'max-requests-per-second', 1, 1_000_000),
  };
}

/** `HOST:PORT`, an IPv6 address in brackets. @throws FlagError */
export function placeFlag(values: PilotFlagValues, name: string): { readonly host: string; readonly port: number } {
  const text = values[name] ?? '';
  const found = /^(\[[0-9a-fA-F:.]+\]|[0-9.]+):(\d{1,5})$/.exec(text);
  if (found === null || Number(found[2]) > 0xffff) {
    throw new FlagError(`--${name} is ADDRESS:PORT, with an address of digits, not '${text}'`, '');
  }
  return { host: found[1]!.replace(/^\[(.*)\]$/, '$1'), port: Number(found[2]) };
}

function wrapped(text: string, indent: string): string {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + word.length > 84) {
      lines.push(line);
      line = '';
    }
    line += line === '' ? word : ` ${word}`;
  }
  return [...lines, line].join(`\n${indent}`);
}

/** The flags, for people. */
export function flagsHelp(flags: readonly PilotFlagSpec[]): string {
  const shown = flags.map(({ name, value }) => `  --${name}${value === '' ? '' : ` ${value}`}`);
  return flags
    .map(({ help, fallback }, index) => {
      const text = fallback === '' ? help : `${help} Default: ${fallback}.`;
      return `${shown[index]}\n      ${wrapped(text, '      ')}\n`;
    })
    .join('');
}
