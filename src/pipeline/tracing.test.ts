import { expect, test } from 'bun:test';
import { RequestHeaders } from '../http/header-map.ts';
import type { Route } from '../routing/route.ts';
import { Decorator } from '../routing/route-policies.ts';
import { EMPTY_RUNTIME, FractionalPercent, RuntimeFraction } from '../routing/runtime-fraction.ts';
import type { Counter } from '../stats/counter.ts';
import { sampleOf, setTraceReason, TraceReason, traceReasonOf } from './request-id.ts';
import { StreamInfo } from './stream-info.ts';
import { beginTrace, decideTracing, type TracingConfig } from './tracing.ts';

const UUID = '000004d2-89ab-4def-8123-456789abcdef';
const marked = (mark: string): string => `${UUID.slice(0, 14)}${mark}${UUID.slice(15)}`;

function share(numerator: number): RuntimeFraction {
  return new RuntimeFraction(new FractionalPercent(numerator, 10_000), '', EMPTY_RUNTIME);
}

class Count {
  value = 0;
  inc(): void {
    this.value++;
  }
}

function config(fields: Partial<TracingConfig> = {}): TracingConfig {
  const counter = (): Counter => new Count() as unknown as Counter;
  return {
    stats: {
      clientEnabled: counter(),
      healthCheck: counter(),
      notTraceable: counter(),
      randomSampling: counter(),
      serviceForced: counter(),
    },
    clientSampling: share(10_000),
    randomSampling: share(10_000),
    overallSampling: share(10_000),
    byRequestId: true,
    egress: false,
    packTraceReason: true,
    ...fields,
  };
}

function headers(...list: string[]): RequestHeaders {
  const made = new RequestHeaders();
  for (let i = 0; i < list.length; i += 2) made.add(list[i]!, list[i + 1]!);
  return made;
}

function decide(made: RequestHeaders, by: TracingConfig, random = 0): { reason: TraceReason; id: string | null } {
  const info = new StreamInfo(null, 0, 0, 0);
  decideTracing(by, made, info, random);
  return { reason: info.traceReason, id: made.get('x-request-id') };
}

test('what ids say', () => {
  expect(sampleOf(UUID)).toBe(1234);
  expect(sampleOf('0x0000ff')).toBe(255);
  for (const id of ['', '1234567', 'g2345678', '+1234567']) expect(sampleOf(id)).toBe(-1);
  expect(traceReasonOf(marked('a'))).toBe(TraceReason.ServiceForced);
  expect(traceReasonOf(marked('7'))).toBe(TraceReason.NotTraceable);
  expect(traceReasonOf(marked('a').slice(1))).toBe(TraceReason.NotTraceable);
  expect(setTraceReason(headers(), 'short', TraceReason.Sampling)).toBe('short');
});

test('who is traced', () => {
  const client = ['x-request-id', UUID, 'x-client-trace-id', '1'];
  const forced = ['x-request-id', UUID, 'x-envoy-force-trace', '1'];
  expect(decide(headers(...client), config())).toEqual({ reason: TraceReason.ClientForced, id: marked('b') });
  expect(decide(headers(...forced), config())).toEqual({ reason: TraceReason.ServiceForced, id: marked('a') });
  expect(decide(headers('x-request-id', UUID), config()).id).toBe(marked('9'));
  // The client's share is left to chance, the others to the id: 0x4d2 = 1234.
  const half = config({ clientSampling: share(5_000), randomSampling: share(0) });
  expect(decide(headers(...client), half, 14_999).id).toBe(marked('b'));
  expect(decide(headers(...client), half, 15_000).id).toBe(UUID);
  expect(decide(headers('x-request-id', UUID), config({ randomSampling: share(1_234) })).id).toBe(UUID);
  expect(decide(headers('x-request-id', UUID), config({ randomSampling: share(1_235) })).id).toBe(marked('9'));
  expect(decide(headers(...forced), config({ overallSampling: share(1_234) })).id).toBe(UUID);
  // What was decided before stays, unless nothing is to be traced.
  expect(decide(headers('x-request-id', marked('b')), config({ randomSampling: share(0) })).id).toBe(marked('b'));
  expect(decide(headers('x-request-id', marked('b')), config({ overallSampling: share(0) })).id).toBe(marked('4'));
});

test('ids that say nothing', () => {
  expect(decide(headers('x-request-id', 'mine'), config())).toEqual({ reason: TraceReason.NotTraceable, id: 'mine' });
  expect(decide(headers(), config()).reason).toBe(TraceReason.NotTraceable);
  expect(decide(headers('x-request-id', 'abcdef01'), config()).reason).toBe(TraceReason.Sampling);
  const silent = config({ packTraceReason: false });
  expect(decide(headers('x-request-id', UUID), silent)).toEqual({ reason: TraceReason.Sampling, id: UUID });
  expect(decide(headers('x-request-id', marked('b')), silent).reason).toBe(TraceReason.Sampling);
  const aside = config({ byRequestId: false, randomSampling: share(0) });
  expect(decide(headers('x-request-id', UUID), aside)).toEqual({ reason: TraceReason.Sampling, id: UUID });
});

test('operations go out with requests, or back with responses', () => {
  const route = (propagate: boolean): Route => ({ decorator: new Decorator('op', propagate) }) as unknown as Route;
  const info = new StreamInfo(null, 0, 0, 0);
  const NAME = 'x-envoy-decorator-operation';
  const out = headers(NAME, 'theirs');
  expect(beginTrace(config({ egress: true }), out, route(true), info)).toBe('');
  expect(out.get(NAME)).toBe('op');
  const asked = headers(NAME, 'theirs');
  expect(beginTrace(config(), asked, route(true), info)).toBe('');
  expect(asked.has(NAME)).toBe(false);
  expect(beginTrace(config(), headers(NAME, ''), route(true), info)).toBe('op');
  expect(beginTrace(config(), headers(), route(true), info)).toBe('op');
  expect(beginTrace(config(), headers(), route(false), info)).toBe('');
  expect(beginTrace(config(), headers(), null, info)).toBe('');
});
