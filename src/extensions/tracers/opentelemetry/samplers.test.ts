import { expect, test } from 'bun:test';
import { SeededRandom } from '../../../base/random.ts';
import { FractionalPercent } from '../../../routing/runtime-fraction.ts';
import { TagType } from '../../../routing/span-tag.ts';
import type { ParentContext } from './otel-span.ts';
import { environmentAttributes, resourceOf } from './resource.ts';
import { ALWAYS_ON, ParentBasedSampler, TraceIdRatioSampler } from './samplers.ts';
import { typedValue } from './typed-value.ts';

const parent = (sampled: boolean): ParentContext => ({
  traceId: '',
  spanId: '',
  sampled,
  traceState: '',
  isRemote: true,
});

test('who has a parent does as it does', () => {
  const sampler = new ParentBasedSampler(ALWAYS_ON);
  expect([sampler.samples(null, ''), sampler.samples(parent(true), ''), sampler.samples(parent(false), '')]).toEqual([
    true,
    true,
    false,
  ]);
});

test('a ratio of ids is of their first 8 bytes, the lowest first', () => {
  const random = new SeededRandom(5);
  for (const denominator of [100, 10_000, 1_000_000]) {
    for (let i = 0; i < 2_000; i++) {
      const bytes = Buffer.alloc(16);
      for (let k = 0; k < 16; k += 4) bytes.writeUInt32LE(random.uint32(), k);
      const numerator = random.uint32() % (denominator + 1);
      const wanted = numerator > 0 && bytes.readBigUInt64LE() % BigInt(denominator) < BigInt(numerator);
      const sampler = new TraceIdRatioSampler(new FractionalPercent(numerator, denominator));
      expect(sampler.samples(null, bytes.toString('hex'))).toBe(wanted);
    }
  }
});

test('values of types', () => {
  const { Integer, Double, Boolean: Bool, Text } = TagType;
  expect(typedValue('5', Text)).toBe('5');
  expect(typedValue(' +7 ', Integer)).toBe(7n);
  expect(typedValue('9223372036854775807', Integer)).toBe(9223372036854775807n);
  expect(typedValue('9223372036854775808', Integer)).toBe('9223372036854775808');
  expect(typedValue('5.5', Integer)).toBe('5.5');
  expect(typedValue('-1e-3', Double)).toBe(-0.001);
  expect(typedValue('0x1.8p3', Double)).toBe(12);
  expect(typedValue('1e3x', Double)).toBe('1e3x');
  expect(typedValue('YES', Bool)).toBe(true);
  expect(typedValue('f', Bool)).toBe(false);
  expect(typedValue('on', Bool)).toBe('on');
});

test('who reports', () => {
  const found = environmentAttributes('a=1,bad,,x=,y=a=b');
  expect([...found]).toEqual([
    ['a', '1'],
    ['x', ''],
  ]);
  const resource = resourceOf({ serviceName: '', withServiceName: true, withSdk: false, detected: [found] });
  expect([...resource]).toEqual([
    ['service.name', 'unknown_service:envoy'],
    ['a', '1'],
  ]);
});
