import type { MetadataStruct, MetadataValue } from '../../routing/stream-view.ts';
import { metadataAt } from '../../routing/value-matcher.ts';
import { wireText } from '../../routing/wire-text.ts';
import type { LogContext } from '../access-logger.ts';
import type { StreamInfo } from '../stream-info.ts';
import { OperatorProblem } from './format-parser.ts';
import { jsonString, jsonText } from './json-text.ts';
import { type Operator, type OperatorTable, withArgument } from './operator-table.ts';
import { type FormatValue, Segment, truncated } from './segment.ts';

/** Finds the Struct of a namespace. */
export type MetadataSource = (stream: StreamInfo, namespace: string) => MetadataStruct | null;

const dynamic: MetadataSource = (stream, namespace) => stream.dynamicMetadata(namespace);
const cluster: MetadataSource = (stream, namespace) => own(stream.upstream?.clusterMetadata, namespace);
const host: MetadataSource = (stream, namespace) => own(stream.upstream?.host?.metadata, namespace);
const route: MetadataSource = (stream, namespace) => stream.route?.metadata.get(namespace) ?? null;
const virtualHost: MetadataSource = (stream, namespace) => stream.route?.virtualHost.metadata.get(namespace) ?? null;

function own(metadata: Readonly<Record<string, unknown>> | null | undefined, namespace: string): MetadataStruct | null {
  if (metadata === null || metadata === undefined || !Object.hasOwn(metadata, namespace)) return null;
  return metadata[namespace] as MetadataStruct;
}

/** `NAMESPACE:KEY:KEY...`: text of strings bare, of anything else as JSON. */
class MetadataSegment extends Segment {
  readonly #source: MetadataSource;
  readonly #namespace: string;
  readonly #path: readonly string[];
  readonly #maxLength: number;

  constructor(source: MetadataSource, argument: string, maxLength: number) {
    super(null);
    const [namespace = '', ...path] = argument.split(':');
    this.#source = source;
    this.#namespace = namespace;
    this.#path = path;
    this.#maxLength = maxLength;
  }

  text(context: LogContext): string | null {
    const value = this.value(context);
    if (value === null) return null;
    return truncated(typeof value === 'string' ? value : jsonText(value), this.#maxLength);
  }

  override value(context: LogContext): FormatValue {
    const value = metadataAt(this.#source(context.stream, this.#namespace), this.#path);
    if (value === undefined) return null;
    return byteValue(value);
  }
}

/** Strings of a configuration as byte text. */
export function byteValue(value: MetadataValue): FormatValue {
  if (value === null) return null;
  if (typeof value === 'string') return wireText(value);
  if (typeof value !== 'object') return value;
  if (Array.isArray(value)) return (value as readonly MetadataValue[]).map(byteValue);
  const out: Record<string, FormatValue> = {};
  for (const [key, each] of Object.entries(value)) out[wireText(key)] = byteValue(each);
  return out;
}

function metadata(source: MetadataSource, length: boolean): Operator {
  return withArgument('required', length, (argument, maxLength) => new MetadataSegment(source, argument, maxLength));
}

export const METADATA_SOURCES: Readonly<Record<string, MetadataSource>> = {
  DYNAMIC: dynamic,
  CLUSTER: cluster,
  ROUTE: route,
  UPSTREAM_HOST: host,
  VIRTUAL_HOST: virtualHost,
};

/** `%METADATA(TYPE:NAMESPACE:KEY...):Z%`. Built in since 1.39; also envoy.formatter.metadata. */
export const METADATA: Operator = withArgument('optional', true, (argument, maxLength) => {
  const colon = argument.indexOf(':');
  const type = colon < 0 ? argument : argument.substring(0, colon);
  if (type === 'LISTENER' || type === 'LISTENER_FILTER_CHAIN') {
    return new OperatorProblem('not supported yet: metadata of listeners and filter chains');
  }
  const source = METADATA_SOURCES[type];
  if (source === undefined) {
    return new OperatorProblem(
      `${type} is not supported type of metadata`,
      `one of ${Object.keys(METADATA_SOURCES).join(', ')}`,
    );
  }
  return new MetadataSegment(source, colon < 0 ? '' : argument.substring(colon + 1), maxLength);
});

/** `FILTER_STATE(KEY:PLAIN|TYPED)`: what an object gives as its text, bare or as JSON. */
class FilterStateSegment extends Segment {
  readonly #key: string;
  readonly #typed: boolean;
  readonly #maxLength: number;

  constructor(key: string, typed: boolean, maxLength: number) {
    super(null);
    this.#key = key;
    this.#typed = typed;
    this.#maxLength = maxLength;
  }

  text(context: LogContext): string | null {
    const value = this.#value(context);
    if (value === null) return null;
    const text = this.#typed ? (typeof value === 'string' ? jsonString(value) : jsonText(value)) : (value as string);
    return truncated(text, this.#maxLength);
  }

  override value(context: LogContext): FormatValue {
    const value = this.#value(context);
    return value === null || this.#typed ? value : truncated(value as string, this.#maxLength);
  }

  #value(context: LogContext): FormatValue {
    const object = context.stream.filterState(this.#key);
    if (object === null) return null;
    return this.#typed && object.struct !== undefined ? byteValue(object.struct()) : object.serialize();
  }
}

/** `FILTER_STATE(KEY:FIELD:NAME)`. */
class FilterStateFieldSegment extends Segment {
  readonly #key: string;
  readonly #field: string;
  readonly #maxLength: number;

  constructor(key: string, field: string, maxLength: number) {
    super(null);
    this.#key = key;
    this.#field = field;
    this.#maxLength = maxLength;
  }

  text(context: LogContext): string | null {
    const text = context.stream.filterState(this.#key)?.field?.(this.#field) ?? null;
    return text === null ? null : truncated(text, this.#maxLength);
  }
}

/** No upstream filter leaves state yet, so upstream filter state says nothing. */
class NoStateSegment extends Segment {
  constructor() {
    super(null);
  }

  text(): null {
    return null;
  }
}

function filterState(upstream: boolean): Operator {
  return withArgument('optional', true, (argument, maxLength) => {
    const [key = '', type = '', field = ''] = argument.split(':');
    if (key === '') {
      return new OperatorProblem(
        'Invalid filter state configuration, key cannot be empty.',
        'write %FILTER_STATE(key:PLAIN)%',
      );
    }
    if (type !== '' && type !== 'PLAIN' && type !== 'TYPED' && type !== 'FIELD') {
      return new OperatorProblem('Invalid filter state serialize type, only support PLAIN/TYPED/FIELD.');
    }
    if ((type === 'FIELD') !== (field !== '')) {
      return new OperatorProblem(
        'Invalid filter state serialize type, FIELD should be used with the field name.',
        'write %FILTER_STATE(key:FIELD:name)%',
      );
    }
    if (upstream) return new NoStateSegment();
    return type === 'FIELD'
      ? new FilterStateFieldSegment(key, field, maxLength)
      : new FilterStateSegment(key, type !== 'PLAIN', maxLength);
  });
}

/** Operators that read metadata and filter state. */
export const METADATA_OPERATORS: OperatorTable = {
  DYNAMIC_METADATA: metadata(dynamic, true),
  CLUSTER_METADATA: metadata(cluster, false),
  UPSTREAM_METADATA: metadata(host, false),
  METADATA,
  FILTER_STATE: filterState(false),
  UPSTREAM_FILTER_STATE: filterState(true),
};
