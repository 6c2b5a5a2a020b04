import { createHash } from 'node:crypto';
import { type JsonObject, toJson } from '@bufbuild/protobuf';
import type { DataSource } from '../../api/gen/envoy/config/core/v3/base_pb.d.ts';
import type {
  GrpcService,
  GrpcService_GoogleGrpc_ChannelCredentials,
} from '../../api/gen/envoy/config/core/v3/grpc_service_pb.d.ts';
import { ipVersion } from '../../net/ip-version.ts';
import type { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';
import { readCredential } from './data-source.ts';
import { durationMsOr } from './durations.ts';

export const GRPC_SERVICE_SUPPORT: readonly FieldSupport[] = [
  { message: 'envoy.config.core.v3.GrpcService', fields: 'envoy_grpc google_grpc timeout initial_metadata' },
  {
    message: 'envoy.config.core.v3.GrpcService.GoogleGrpc',
    fields: 'target_uri channel_credentials credentials_factory_name',
    // Of the other library: names of stats, sizes of its buffers, its channel's arguments.
    inert: 'stat_prefix per_stream_buffer_limit_bytes channel_args',
  },
  {
    message: 'envoy.config.core.v3.GrpcService.GoogleGrpc.ChannelCredentials',
    fields: 'local_credentials ssl_credentials',
  },
  {
    message: 'envoy.config.core.v3.GrpcService.GoogleGrpc.SslCredentials',
    fields: 'root_certs private_key cert_chain',
  },
  { message: 'envoy.config.core.v3.GrpcService.GoogleGrpc.GoogleLocalCredentials', fields: '*' },
  {
    message: 'envoy.config.core.v3.GrpcService.EnvoyGrpc',
    fields: 'cluster_name authority retry_policy max_receive_message_length skip_envoy_headers',
  },
  { message: 'envoy.config.core.v3.HeaderValue', fields: 'key value' },
  { message: 'envoy.config.core.v3.RetryPolicy', fields: 'retry_back_off', inert: 'num_retries' },
  { message: 'envoy.config.core.v3.BackoffStrategy', fields: '*' },
];

/** Source: Envoy, SubscriptionFactory::RetryInitialDelayMs and RetryMaxDelayMs. */
const BACKOFF_BASE_MS = 500;
const BACKOFF_MAX_MS = 30_000;

/** How a gRPC service is reached. */
export interface GrpcServiceSpec {
  readonly cluster: string;
  /** Of `google_grpc`: where a cluster of its own leads; null: the cluster is the configuration's. */
  readonly target: GrpcTarget | null;
  /** Empty: the cluster's name. */
  readonly authority: string;
  /** 0: none. */
  readonly timeoutMs: number;
  readonly metadata: readonly (readonly [name: string, value: string])[];
  /** Bytes; 0: no limit. */
  readonly maxMessageBytes: number;
  readonly skipEnvoyHeaders: boolean;
  /** Between attempts to open a long-lived stream. */
  readonly backoff: { readonly baseMs: number; readonly maxMs: number };
}

/** A server by address or name. */
export interface GrpcTarget {
  /** A path for a socket of the file system. */
  readonly host: string;
  /** -1: a socket of the file system. */
  readonly port: number;
  /** `transport_socket` of a cluster that leads there; null: nothing secures it. */
  readonly tls: JsonObject | null;
}

type Place = Omit<GrpcTarget, 'tls'>;

/**
 * `host:port`, `dns:host:port`, `dns:///host:port`, `ipv4:...`, `unix:path`, `unix:///path`; what gRPC's other name schemes mean is
 * not known here. Source: gRPC name resolution.
 */
function parseTarget(uri: string): Place | null {
  const pipe = /^unix:(?:\/\/(?=\/))?(.+)$/.exec(uri);
  if (pipe !== null) return { host: pipe[1]!, port: -1 };
  const found = /^(?:(?:dns|ipv4|ipv6):(?:\/\/[^/]*\/)?)?(?:\[([^\]]+)\]|([^:/]+)):(\d+)$/.exec(uri);
  if (found === null) return null;
  const port = Number(found[3]);
  return port > 65_535 ? null : { host: (found[1] ?? found[2])!, port };
}

type SslCredentials = Extract<
  GrpcService_GoogleGrpc_ChannelCredentials['credentialSpecifier'],
  { case: 'sslCredentials' }
>['value'];

/** gRPC's way of TLS: the server's name is always checked, the system's authorities count where none are given. */
function secured(context: BuildContext, host: string, ssl: SslCredentials): JsonObject | null {
  const before = context.errorCount;
  const { api } = context.shared;
  const desc = api.message('envoy.config.core.v3.DataSource')!;
  const source = (field: string, value: DataSource | undefined): JsonObject | null => {
    if (value === undefined) return null;
    const { problem } = readCredential(value);
    if (problem !== '') context.refuse(`google_grpc.channel_credentials.ssl_credentials.${field}`, problem);
    return toJson(desc, value) as JsonObject;
  };
  const roots = source('root_certs', ssl.rootCerts);
  const key = source('private_key', ssl.privateKey);
  const chain = source('cert_chain', ssl.certChain);
  if ((key === null) !== (chain === null)) {
    context.refuse('google_grpc.channel_credentials.ssl_credentials', 'private_key and cert_chain go together');
  }
  if (context.errorCount > before) return null;
  const isAddress = ipVersion(host) !== 0;
  return {
    name: 'envoy.transport_sockets.tls',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext',
      ...(isAddress ? {} : { sni: host }),
      common_tls_context: {
        alpn_protocols: ['h2'],
        ...(key === null ? {} : { tls_certificates: [{ certificate_chain: chain, private_key: key }] }),
        validation_context: {
          ...(roots === null ? { system_root_certs: {} } : { trusted_ca: roots }),
          match_typed_subject_alt_names: [{ san_type: isAddress ? 'IP_ADDRESS' : 'DNS', matcher: { exact: host } }],
        },
      },
    },
  };
}

function authorityOf({ host, port }: Place): string {
  if (port < 0) return 'localhost';
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** The only factory that there is here. */
const DEFAULT_CREDENTIALS = 'envoy.grpc_credentials.default';

/** @returns null when it was refused */
export function buildGrpcService(context: BuildContext, message: GrpcService): GrpcServiceSpec | null {
  const target = message.targetSpecifier;
  const common = {
    timeoutMs: durationMsOr(message.timeout, 0),
    metadata: message.initialMetadata.map(({ key, value }) => [key.toLowerCase(), value] as const),
  };
  if (target.case === 'googleGrpc') {
    const parsed = parseTarget(target.value.targetUri);
    if (parsed === null) {
      context.refuse('google_grpc.target_uri', `${JSON.stringify(target.value.targetUri)} is no host and port`);
      return null;
    }
    const { credentialsFactoryName: factory } = target.value;
    if (factory !== '' && factory !== DEFAULT_CREDENTIALS) {
      context.refuse('google_grpc.credentials_factory_name', `Unknown google grpc credentials factory: ${factory}`);
      return null;
    }
    const credentials = target.value.channelCredentials?.credentialSpecifier;
    const ssl = credentials?.case === 'sslCredentials' ? credentials.value : null;
    const tls = ssl === null ? null : secured(context, parsed.host, ssl);
    if (ssl !== null && tls === null) return null;
    const credentialsKey = tls === null ? '' : `:${createHash('sha1').update(JSON.stringify(tls)).digest('base64url')}`;
    return {
      ...common,
      cluster: `google_grpc:${target.value.targetUri}${credentialsKey}`,
      target: { ...parsed, tls },
      authority: authorityOf(parsed),
      maxMessageBytes: 0,
      skipEnvoyHeaders: true,
      backoff: { baseMs: BACKOFF_BASE_MS, maxMs: BACKOFF_MAX_MS },
    };
  }
  if (target.case !== 'envoyGrpc') {
    context.refuse('', 'a gRPC service needs envoy_grpc or google_grpc');
    return null;
  }
  const { clusterName, authority, retryPolicy, maxReceiveMessageLength, skipEnvoyHeaders } = target.value;
  const { clusterNames } = context.shared;
  if (clusterNames !== null && !clusterNames.has(clusterName)) {
    context.refuse('envoy_grpc.cluster_name', `Unknown gRPC client cluster '${clusterName}'`);
    return null;
  }
  const backOff = retryPolicy?.retryBackOff;
  const baseMs = durationMsOr(backOff?.baseInterval, BACKOFF_BASE_MS);
  const maxMs = durationMsOr(backOff?.maxInterval, backOff === undefined ? BACKOFF_MAX_MS : baseMs * 10);
  if (maxMs < baseMs) {
    context.refuse(
      'envoy_grpc.retry_policy.retry_back_off',
      'max_interval must be greater than or equal to the base_interval',
    );
    return null;
  }
  return {
    ...common,
    cluster: clusterName,
    target: null,
    authority,
    maxMessageBytes: maxReceiveMessageLength ?? 0,
    skipEnvoyHeaders,
    backoff: { baseMs, maxMs },
  };
}
