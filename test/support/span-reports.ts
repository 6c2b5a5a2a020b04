import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';

/** One span as a tracer reported it, whatever the format: what may differ between two runs is left out, but for its ids. */
export interface SeenSpan {
  readonly trace: string;
  readonly id: string;
  readonly parent: string;
  readonly kind: string;
  readonly name: string;
  /** `name=value`, sorted. */
  readonly tags: readonly string[];
  readonly events: readonly string[];
  /** What else the format says of it. */
  readonly more: string;
}

/** What is wrong with a span's times; empty: nothing. Microseconds. */
function timeProblem(start: number, duration: number, events: readonly number[]): string {
  const now = Date.now() * 1000;
  if (!Number.isInteger(start) || Math.abs(now - start) > 600e6) return ` [start ${start}]`;
  if (!Number.isInteger(duration) || duration < 0 || duration > 60e6) return ` [duration ${duration}]`;
  // An event may be the turn's whose end the span did not see.
  for (const event of events)
    if (event < start - 1e6 || event > start + duration + 1e6) return ` [event ${event - start}]`;
  return '';
}

// --- Zipkin ---

interface ZipkinJson {
  traceId: string;
  id: string;
  parentId?: string;
  kind: string;
  name?: string;
  timestamp: number;
  duration: number;
  shared?: boolean;
  localEndpoint: Record<string, unknown>;
  annotations?: { value: string; timestamp: number }[];
  tags?: Record<string, string>;
}

export function zipkinJsonSpans(body: Uint8Array): SeenSpan[] {
  const list = JSON.parse(Buffer.from(body).toString('utf8')) as ZipkinJson[];
  return list.map((span) => {
    const events = span.annotations ?? [];
    const endpoint = Object.entries(span.localEndpoint).sort(([a], [b]) => (a < b ? -1 : 1));
    return {
      trace: span.traceId,
      id: span.id,
      parent: span.parentId ?? '',
      kind: span.kind,
      name: span.name ?? '(none)',
      tags: Object.entries(span.tags ?? {})
        .map(([name, value]) => `${name}=${value}`)
        .sort(),
      events: events.map(({ value }) => value),
      more:
        `shared=${span.shared ?? false} ${JSON.stringify(endpoint)}` +
        timeProblem(
          span.timestamp,
          span.duration,
          events.map(({ timestamp }) => timestamp),
        ),
    };
  });
}

// --- protobuf, by field numbers ---

type Fields = Map<number, (bigint | Uint8Array)[]>;

function fieldsOf(body: Uint8Array): Fields {
  const reader = new BinaryReader(body);
  const fields: Fields = new Map();
  while (reader.pos < reader.len) {
    const [number, type] = reader.tag();
    let value: bigint | Uint8Array;
    switch (type) {
      case WireType.Varint:
        value = BigInt(reader.uint64());
        break;
      case WireType.Bit64:
        value = BigInt(reader.fixed64());
        break;
      case WireType.Bit32:
        value = BigInt(reader.fixed32());
        break;
      default:
        value = reader.bytes();
    }
    const list = fields.get(number) ?? [];
    list.push(value);
    fields.set(number, list);
  }
  return fields;
}

const all = (fields: Fields, number: number): Uint8Array[] => (fields.get(number) ?? []) as Uint8Array[];
const hex = (fields: Fields, number: number): string => Buffer.from(all(fields, number)[0] ?? []).toString('hex');
const text = (fields: Fields, number: number): string => Buffer.from(all(fields, number)[0] ?? []).toString('utf8');
const integer = (fields: Fields, number: number): bigint => (fields.get(number)?.[0] as bigint | undefined) ?? 0n;

/** zipkin.proto3.ListOfSpans */
export function zipkinProtoSpans(body: Uint8Array): SeenSpan[] {
  return all(fieldsOf(body), 1).map((bytes) => {
    const span = fieldsOf(bytes);
    const events = all(span, 10).map(fieldsOf);
    const endpoint = fieldsOf(all(span, 8)[0] ?? new Uint8Array());
    return {
      trace: hex(span, 1),
      id: hex(span, 3),
      parent: hex(span, 2),
      kind: integer(span, 4) === 1n ? 'CLIENT' : 'SERVER',
      name: text(span, 5),
      tags: all(span, 11)
        .map(fieldsOf)
        .map((tag) => `${text(tag, 1)}=${text(tag, 2)}`)
        .sort(),
      events: events.map((event) => text(event, 2)),
      more:
        `shared=${integer(span, 13)} ${text(endpoint, 1)} ${hex(endpoint, 2)}${hex(endpoint, 3)}` +
        timeProblem(
          Number(integer(span, 6)),
          Number(integer(span, 7)),
          events.map((event) => Number(integer(event, 1))),
        ),
    };
  });
}

// --- OpenTelemetry ---

function anyValue(bytes: Uint8Array): string {
  const fields = fieldsOf(bytes);
  const [number] = [...fields.keys()];
  switch (number) {
    case 1:
      return JSON.stringify(text(fields, 1));
    case 2:
      return integer(fields, 2) === 1n ? 'true' : 'false';
    case 3:
      return `int ${BigInt.asIntN(64, integer(fields, 3))}`;
    case 4: {
      const bits = new DataView(new ArrayBuffer(8));
      bits.setBigUint64(0, integer(fields, 4));
      return `double ${bits.getFloat64(0)}`;
    }
    default:
      return '(none)';
  }
}

function attributes(list: readonly Uint8Array[]): string[] {
  return list
    .map(fieldsOf)
    .map((pair) => `${text(pair, 1)}=${anyValue(all(pair, 2)[0] ?? new Uint8Array())}`)
    .sort();
}

/** ExportTraceServiceRequest, with the resource in `more` of its spans. */
export function otlpSpans(body: Uint8Array): SeenSpan[] {
  return all(fieldsOf(body), 1)
    .map(fieldsOf)
    .flatMap((resourceSpans) => {
      const resource = attributes(all(fieldsOf(all(resourceSpans, 1)[0] ?? new Uint8Array()), 1));
      return all(resourceSpans, 2)
        .map(fieldsOf)
        .flatMap((scopeSpans) => {
          const scope = fieldsOf(all(scopeSpans, 1)[0] ?? new Uint8Array());
          return all(scopeSpans, 2).map((bytes) =>
            otlpSpan(bytes, `${resource.join(' ')} (${text(scope, 1)} ${text(scope, 2)})`),
          );
        });
    });
}

function otlpSpan(bytes: Uint8Array, from: string): SeenSpan {
  const span = fieldsOf(bytes);
  const events = all(span, 11).map(fieldsOf);
  const start = Number(integer(span, 7) / 1000n);
  const status = fieldsOf(all(span, 15)[0] ?? new Uint8Array());
  return {
    trace: hex(span, 1),
    id: hex(span, 2),
    parent: hex(span, 4),
    kind: ['', 'INTERNAL', 'SERVER', 'CLIENT'][Number(integer(span, 6))] ?? 'other',
    name: text(span, 5),
    tags: attributes(all(span, 9)),
    events: events.map((event) => text(event, 2)),
    more:
      `state=${text(span, 3)} flags=${integer(span, 16).toString(16)} status=${integer(status, 3)} ${from}` +
      timeProblem(
        start,
        Number(integer(span, 8) / 1000n) - start,
        events.map((event) => Number(integer(event, 1) / 1000n)),
      ),
  };
}

// --- as text ---

/** Spans in an order that does not depend on when they were reported, nor on their ids. */
export function showSpans(spans: readonly SeenSpan[]): string {
  return spans
    .map((span) => {
      const head = `${span.kind} ${JSON.stringify(span.name)}`;
      const lines = [...span.tags.map((tag) => `  ${tag}`), `  events ${span.events.join(' ')}`, `  ${span.more}`];
      const ids = `  trace ${span.trace} span ${span.id} parent ${span.parent}`;
      // Ids, of requests as well, must not decide.
      const key = [head, ...lines].join('\n').replace(/[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{16,}/g, '');
      return { key, shown: [head, ids, ...lines].join('\n') };
    })
    .sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0))
    .map(({ shown }) => shown)
    .join('\n');
}

/** Puts numbers in the place of ids, in the order in which they appear: halves of long ones for themselves. Zero stays. */
export function numberIds(shown: string, known: readonly string[]): string {
  const names = new Map<string, string>();
  const name = (half: string): string => {
    if (/^0{8}/.test(half) || known.includes(half.toLowerCase())) return half;
    if (!names.has(half)) names.set(half, `id${names.size + 1}`);
    return `<${names.get(half)!}>`;
  };
  return shown.replace(/(?<![0-9a-fA-F])(?:[0-9a-f]{32}|[0-9a-f]{16})(?![0-9a-fA-F])/g, (id) =>
    id.length === 32 ? name(id.slice(0, 16)) + name(id.slice(16)) : name(id),
  );
}
