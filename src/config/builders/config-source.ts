import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { type Message, toBinary } from '@bufbuild/protobuf';
import type { ConfigSource } from '../../api/gen/envoy/config/core/v3/config_source_pb.d.ts';
import { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';
import {
  API_SOURCE_SUPPORT,
  type ApiSourceSpec,
  buildApiSource,
  buildRestSource,
  isRest,
  type RestSourceSpec,
} from './api-config-source.ts';
import { durationMsOr } from './durations.ts';

export const CONFIG_SOURCE_SUPPORT: readonly FieldSupport[] = [
  {
    message: 'envoy.config.core.v3.ConfigSource',
    fields: 'path path_config_source api_config_source ads initial_fetch_timeout',
    // Envoy takes any: what is not of version 3 is refused by its type.
    inert: 'resource_api_version',
  },
  { message: 'envoy.config.core.v3.PathConfigSource', fields: 'path watched_directory' },
  { message: 'envoy.config.core.v3.WatchedDirectory', fields: 'path' },
  { message: 'envoy.config.core.v3.AggregatedConfigSource', fields: '*' },
  ...API_SOURCE_SUPPORT,
];

/** A resource must have come this long after it was first asked for; then the start goes on without it. */
const DEFAULT_FETCH_TIMEOUT_MS = 15_000;

/** Where resources of one type come from: an envoy.config.core.v3.ConfigSource, validated. */
export type SourceSpec =
  | {
      readonly kind: 'file';
      readonly path: string;
      /** Moves into this directory are what makes the file read again; empty: moves over the file itself. */
      readonly watchedDirectory: string;
      readonly initialFetchTimeoutMs: number;
    }
  /** The bootstrap's `ads_config`. */
  | { readonly kind: 'ads'; readonly initialFetchTimeoutMs: number }
  | { readonly kind: 'api'; readonly api: ApiSourceSpec; readonly initialFetchTimeoutMs: number }
  | { readonly kind: 'rest'; readonly rest: RestSourceSpec; readonly initialFetchTimeoutMs: number };

/** What a resource needs before it can serve: another one, from a source of its own. */
export interface RouteDependency {
  /** What the route tables of a worker are kept under: equal for equal sources and names. */
  readonly key: string;
  readonly name: string;
  readonly source: SourceSpec;
  /** `http.<prefix>`: its stats go below. */
  readonly statPrefix: string;
}

const NODE_NEEDED = "node 'id' and 'cluster' are required where anything is discovered";
const NODE_HINT = "set both in 'node', or by --service-node and --service-cluster";

/**
 * Whoever discovers anything, be it from a file, says who it is. One complaint is enough.
 * Source: Envoy, Config::Utility::checkLocalInfo.
 */
export function checkNode(context: BuildContext, field: string): void {
  const { lacksNode, errors } = context.shared;
  if (lacksNode !== true || errors.some(({ reason }) => reason === NODE_NEEDED)) return;
  context.refuse(field, NODE_NEEDED, NODE_HINT);
}

/** The source of listeners. @param onlyValidates `--mode validate`, in which Envoy asks for no node here */
export function buildListenerSource(
  context: BuildContext,
  field: string,
  message: ConfigSource,
  onlyValidates: boolean,
): SourceSpec | null {
  if (!onlyValidates) return buildConfigSource(context, field, message);
  if (context.shared.lacksNode === true) context.warn(field, NODE_NEEDED, NODE_HINT);
  return buildConfigSource(new BuildContext({ ...context.shared, lacksNode: false }, context.path), field, message);
}

/** @returns null when it was refused */
export function buildConfigSource(
  context: BuildContext,
  field: string,
  message: ConfigSource | undefined,
): SourceSpec | null {
  if (message === undefined) {
    context.refuse(field, 'a configuration source is missing');
    return null;
  }
  checkNode(context, field);
  const at = context.at(field);
  const initialFetchTimeoutMs = durationMsOr(message.initialFetchTimeout, DEFAULT_FETCH_TIMEOUT_MS);
  const specifier = message.configSourceSpecifier;
  switch (specifier.case) {
    case 'path':
      return fileSource(at, 'path', specifier.value, '', initialFetchTimeoutMs);
    case 'pathConfigSource':
      return fileSource(
        at,
        'path_config_source.path',
        specifier.value.path,
        specifier.value.watchedDirectory?.path ?? '',
        initialFetchTimeoutMs,
      );
    case 'ads':
      return { kind: 'ads', initialFetchTimeoutMs };
    case 'apiConfigSource': {
      const inner = at.at('api_config_source');
      if (isRest(specifier.value)) {
        const rest = buildRestSource(inner, specifier.value, digestOf(context, specifier.value));
        return rest === null ? null : { kind: 'rest', rest, initialFetchTimeoutMs };
      }
      const api = buildApiSource(inner, specifier.value, digestOf(context, specifier.value));
      return api === null ? null : { kind: 'api', api, initialFetchTimeoutMs };
    }
    default:
      at.refuse(
        '',
        specifier.case === 'self'
          ? 'self is a source only within ADS answers'
          : 'Missing config source specifier in envoy::config::core::v3::ConfigSource',
        'give path_config_source, api_config_source or ads',
      );
      return null;
  }
}

function fileSource(
  context: BuildContext,
  field: string,
  path: string,
  watchedDirectory: string,
  initialFetchTimeoutMs: number,
): SourceSpec | null {
  // As Envoy: a path that is not there yet cannot be watched for a first time.
  if (context.shared.checksFiles === true && !existsSync(path)) {
    context.refuse(field, `paths must refer to an existing path in the system: '${path}' does not exist`);
    return null;
  }
  return { kind: 'file', path, watchedDirectory, initialFetchTimeoutMs };
}

/** A short name for a message's content: equal for equal messages. */
export function digestOf(context: BuildContext, message: Message): string {
  const desc = context.shared.api.message(message.$typeName)!;
  return createHash('sha1').update(toBinary(desc, message)).digest('base64url');
}
