import { expect, test } from 'bun:test';
import { create, fromBinary, fromJson, type JsonObject, toBinary, toJson } from '@bufbuild/protobuf';
import { bytesOf, groups, long, number, ODD_CLUSTERS, tag } from '../../test/support/proto-bytes.ts';
import { openApiRegistry } from './api-registry.ts';
import { FieldScanner } from './field-scanner.ts';
import { numberOfUnknown, soundEncoding } from './sound-encoding.ts';

const api = openApiRegistry();
const CLUSTER = api.message('envoy.config.cluster.v3.Cluster')!;
const registry = { registry: api.registry };

const RICH = toBinary(
  CLUSTER,
  fromJson(
    CLUSTER,
    {
      name: 'c1',
      altStatName: 'ünïcode, of more than thirty-two characters',
      connectTimeout: '1.5s',
      type: 'STATIC',
      lbPolicy: 'RING_HASH',
      ringHashLbConfig: { minimumRingSize: '10' },
      perConnectionBufferLimitBytes: 1000,
      preconnectPolicy: { perUpstreamPreconnectRatio: 1.5 },
      metadata: { filterMetadata: { f: { a: [1, 'x', { b: null }], c: true } } },
      loadAssignment: {
        clusterName: 'c1',
        endpoints: [
          {
            locality: { region: 'r' },
            lbEndpoints: [
              {
                healthStatus: 'HEALTHY',
                endpoint: { address: { socketAddress: { address: '127.0.0.1', portValue: 1 } } },
              },
            ],
          },
        ],
      },
      healthChecks: [
        {
          timeout: '1s',
          interval: '1s',
          unhealthyThreshold: 1,
          healthyThreshold: 1,
          httpHealthCheck: { path: '/', expectedStatuses: [{ start: '200', end: '300' }] },
        },
      ],
      typedExtensionProtocolOptions: {
        'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
          '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
          explicitHttpConfig: { http2ProtocolOptions: {} },
        },
      },
    },
    registry,
  ),
);

function unknownNumbers(bytes: Uint8Array): number[] {
  return (fromBinary(CLUSTER, bytes).$unknown ?? []).map(({ no }) => numberOfUnknown(no));
}

for (const [name, bytes, verdict] of ODD_CLUSTERS) {
  test(`${name}: ${verdict}`, () => {
    const read = (): Uint8Array => {
      const sound = soundEncoding(CLUSTER, bytes);
      fromBinary(CLUSTER, sound);
      return sound;
    };
    if (verdict === 'broken') {
      expect(read).toThrow();
      return;
    }
    const sound = read();
    expect(sound === bytes).toBe(verdict === 'read');
    const { name: own, connectTimeout } = toJson(CLUSTER, fromBinary(CLUSTER, sound), registry) as JsonObject;
    expect([own, connectTimeout]).toEqual(['c1', name === 'a message twice' ? '1.000000005s' : '1s']);
    expect(soundEncoding(CLUSTER, sound)).toBe(sound);
  });
}

test('a field of another wire type is unknown, under the number that it has', () => {
  const base = bytesOf(long(1, 'c1'), number(28, 3), tag(28, 5), [1, 2, 3, 4], groups(28, 2));
  expect(unknownNumbers(soundEncoding(CLUSTER, base))).toEqual([28, 28, 28]);
  expect(unknownNumbers(soundEncoding(CLUSTER, bytesOf(long(1, 'c1'), number(600, 3))))).toEqual([600]);
  const cluster = fromBinary(CLUSTER, soundEncoding(CLUSTER, bytesOf(base, long(28, 'stat'), number(1, 9))));
  expect(toJson(CLUSTER, cluster)).toMatchObject({ name: 'c1', altStatName: 'stat' });
});

test('wrappers and Structs too, though what is unknown in them is nowhere to be seen', () => {
  const bytes = bytesOf(long(1, 'c1'), long(5, long(1, 'x')), long(25, long(1, long(1, 'f'), long(2, number(1, 3)))));
  const cluster = toJson(CLUSTER, fromBinary(CLUSTER, soundEncoding(CLUSTER, bytes)));
  expect(cluster).toEqual({ name: 'c1', perConnectionBufferLimitBytes: 0, metadata: { filterMetadata: { f: {} } } });
});

test('numbers in a list may come one by one or packed, and are judged either way', () => {
  const retry = api.message('envoy.config.route.v3.RetryPolicy')!;
  const codes = (bytes: Uint8Array): unknown =>
    (toJson(retry, fromBinary(retry, soundEncoding(retry, bytes))) as JsonObject).retriableStatusCodes;
  expect(codes(long(7, 1, 2, [0xac, 2]))).toEqual([1, 2, 300]);
  expect(codes(bytesOf(number(7, 1), long(7), long(7, [0xac, 2])))).toEqual([1, 300]);
  expect(() => codes(long(7, 1, 0x80))).toThrow('field 7 goes beyond the end of its message');
  expect(codes(bytesOf(long(7, 1), tag(7, 5), [1, 2, 3, 4]))).toEqual([1]);
});

test('fixed numbers one behind the other end with a number', () => {
  for (const [wireType, size] of [
    [5, 4],
    [1, 8],
  ] as const) {
    for (let length = 0; length < 20; length++) {
      const scan = new FieldScanner(long(1, Array(length).fill(0xff)));
      scan.advance();
      const check = (): void => scan.checkPacked(wireType);
      if (length % size === 0) expect(check).not.toThrow();
      else expect(check).toThrow('field 1 ends within a number');
    }
  }
});

test('what an encoder makes is taken as it is; cut anywhere it is refused, but between two fields', () => {
  expect(soundEncoding(CLUSTER, RICH)).toBe(RICH);
  const ends = new Set<number>([0]);
  const scan = new FieldScanner(RICH);
  while (scan.advance()) ends.add(scan.next);
  expect(ends.size).toBeGreaterThan(10);
  for (let end = 0; end < RICH.length; end++) {
    const cut = RICH.subarray(0, end);
    if (ends.has(end)) expect(soundEncoding(CLUSTER, cut)).toBe(cut);
    else expect(() => soundEncoding(CLUSTER, cut)).toThrow();
  }
});

test('whatever comes: refused, or sound, and then protobuf-es reads what it writes', () => {
  let seed = 5;
  const below = (bound: number): number => {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((seed / 2 ** 32) * bound);
  };
  let taken = 0;
  let changed = 0;
  for (let i = 0; i < 20_000; i++) {
    let bytes: Uint8Array = RICH.slice();
    for (let n = 1 + below(2); n > 0; n--) {
      const at = below(bytes.length);
      const kind = below(4);
      if (kind === 0) bytes[at] = below(256);
      else if (kind === 1) bytes[at] = bytes[at]! + below(5) - 2;
      else if (kind === 2) bytes[at] = (bytes[at]! & 0xf8) | below(8);
      else bytes = bytesOf(bytes.subarray(0, at), bytes.subarray(at + below(3)));
    }
    let sound: Uint8Array;
    try {
      sound = soundEncoding(CLUSTER, bytes);
    } catch (error) {
      expect((error as Error).constructor).toBe(Error);
      continue;
    }
    taken++;
    if (sound !== bytes) changed++;
    expect(soundEncoding(CLUSTER, sound)).toBe(sound);
    let message = create(CLUSTER);
    try {
      message = fromBinary(CLUSTER, sound);
    } catch (error) {
      expect((error as Error).message).toContain('utf-8');
      continue;
    }
    expect(fromBinary(CLUSTER, toBinary(CLUSTER, message))).toEqual(message);
  }
  expect(taken).toBeGreaterThan(2000);
  expect(changed).toBeGreaterThan(100);
}, 60_000);
