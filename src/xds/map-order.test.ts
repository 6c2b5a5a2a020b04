import { describe, expect, test } from 'bun:test';
import { fromBinary, fromJson, type JsonObject, type JsonValue, toBinary } from '@bufbuild/protobuf';
import { openApiRegistry } from '../api/api-registry.ts';
import { SeededRandom } from '../base/random.ts';
import { AnyMessages } from '../config/load/any-messages.ts';
import { orderMaps } from './map-order.ts';

const api = openApiRegistry();
const LISTENER = 'envoy.config.listener.v3.Listener';
const desc = api.message(LISTENER)!;

const FILE_LOG = 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog';
const listener: JsonObject = {
  name: 'a',
  metadata: { filter_metadata: { one: { x: 1, y: [{ b: 1, a: 2 }] }, two: { z: { k: 'v', j: null } } } },
  access_log: [
    {
      name: 'file',
      typed_config: {
        '@type': FILE_LOG,
        path: '/dev/stdout',
        log_format: { json_format: { method: '%REQ(:METHOD)%', 10: 'ten', 9: 'nine', inner: { b: 'b', a: 'a' } } },
      },
    },
  ],
  filter_chains: [
    {
      filters: [
        {
          name: 'struct',
          typed_config: {
            '@type': 'type.googleapis.com/xds.type.v3.TypedStruct',
            type_url: FILE_LOG,
            value: { path: '/x', log_format: { json_format: { p: 'q', o: 'r' } } },
          },
        },
      ],
    },
  ],
};

/** The same value with the members of its objects in another order. */
function shuffled(value: JsonValue, random: SeededRandom): JsonValue {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map((item) => shuffled(item, random));
  const entries = Object.entries(value).map(([key, item]) => [random.uint32(), key, shuffled(item, random)] as const);
  entries.sort(([a], [b]) => a - b);
  return Object.fromEntries(entries.map(([, key, item]) => [key, item]));
}

const encode = (json: JsonValue): Uint8Array => toBinary(desc, fromJson(desc, json, { registry: api.registry }));

function ordered(bytes: Uint8Array): { bytes: Uint8Array; changed: boolean } {
  const message = fromBinary(desc, bytes);
  const changed = orderMaps(message, desc, api, new AnyMessages(api));
  return { bytes: toBinary(desc, message), changed };
}

describe('the order of maps', () => {
  test('makes encodings of equal messages equal, and changes nothing else', () => {
    const random = new SeededRandom(7);
    const first = ordered(encode(listener));
    const encodings = new Set<string>();
    for (let i = 0; i < 50; i++) {
      const bytes = encode(shuffled(listener, random));
      encodings.add(Buffer.from(bytes).toString('hex'));
      const next = ordered(bytes);
      expect(next.bytes.length).toBe(bytes.length);
      expect(Buffer.compare(next.bytes, first.bytes)).toBe(0);
    }
    expect(encodings.size).toBeGreaterThan(10);
  });

  test('tells what is in order from what is not', () => {
    const once = ordered(encode(listener));
    expect(once.changed).toBe(true);
    const twice = ordered(once.bytes);
    expect(twice.changed).toBe(false);
    expect(Buffer.compare(twice.bytes, once.bytes)).toBe(0);
  });

  test('another value is another message', () => {
    const other = structuredClone(listener) as { metadata: { filter_metadata: { one: { x: number } } } };
    other.metadata.filter_metadata.one.x = 2;
    expect(Buffer.compare(ordered(encode(listener)).bytes, ordered(encode(other as never)).bytes)).not.toBe(0);
  });
});
