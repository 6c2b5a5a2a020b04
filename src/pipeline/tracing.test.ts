import { expect, test } from 'bun:test';
import { RequestHeaders, ResponseHeaders } from '../http/header-map.ts';
import type { Route } from '../routing/route.ts';
import { Decorator, RouteTracing } from '../routing/route-policies.ts';
import { EMPTY_RUNTIME, FractionalPercent, RuntimeFraction } from '../routing/runtime-fraction.ts';
import { ConstantFormatter } from '../routing/stream-view.ts';
import type { Counter } from '../stats/counter.ts';
import { sampleOf, setTraceReason, TraceReason, traceReasonOf } from './request-id.ts';
import { StreamInfo } from './stream-info.ts';
import type { Span } from './trace/span.ts';
import { chargeTracing, decideTracing, decorateRequest, decorateResponse, type TracingConfig } from './tracing.ts';

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
  return {
    tracer: null,
    clientSampling: share(10_000),
    randomSampling: share(10_000),
    overallSampling: share(10_000),
    byRequestId: true,
    egress: false,
    packTraceReason: true,
    spawnUpstreamSpan: false,
    verbose: false,
    maxPathTagLength: 256,
    customTags: [],
    operation: null,
    upstreamOperation: null,
    noContextPropagation: false,
    nodeId: '',
    zone: '',
    ...fields,
  };
}

function headers(...list: string[]): RequestHeaders {
  const made = new RequestHeaders();
  for (let i = 0; i < list.length; i += 2) made.add(list[i]!, list[i + 1]!);
  return made;
}

function decide(
  made: RequestHeaders,
  by: TracingConfig,
  random = 0,
  route: Route | null = null,
): { reason: TraceReason; id: string | null } {
  const info = new StreamInfo(null, 0, 0, 0);
  decideTracing(by, made, route, info, random);
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

const NAME = 'x-envoy-decorator-operation';
const decorated = (propagate: boolean): Route =>
  ({ decorator: new Decorator('op', propagate), tracing: null }) as unknown as Route;

/** A span that tells its names alone. */
class NamedSpan {
  readonly names: string[] = [];
  setOperation(name: string): void {
    this.names.push(name);
  }
}

function spanOf(): { span: Span; names: string[] } {
  const made = new NamedSpan();
  return { span: made as unknown as Span, names: made.names };
}

test('operations go out with requests, or back with responses', () => {
  const out = headers(NAME, 'theirs');
  const { span, names } = spanOf();
  expect(decorateRequest(config({ egress: true }), out, decorated(true), span)).toBe('');
  expect(out.get(NAME)).toBe('op');
  const asked = headers(NAME, 'theirs');
  expect(decorateRequest(config(), asked, decorated(true), span)).toBe(null);
  expect(asked.has(NAME)).toBe(false);
  expect(names).toEqual(['op', 'op', 'theirs']);
  expect(decorateRequest(config(), headers(NAME, ''), decorated(true), null)).toBe('op');
  expect(decorateRequest(config(), headers(), decorated(true), null)).toBe('op');
  expect(decorateRequest(config(), headers(), decorated(false), null)).toBe('');
  expect(decorateRequest(config(), headers(), null, null)).toBe('');
});

test('a response that names its operation', () => {
  const response = new ResponseHeaders();
  response.set(NAME, 'of upstream');
  const { span, names } = spanOf();
  decorateResponse(config({ egress: true }), response, null, span, '');
  expect(names).toEqual(['of upstream']);
  expect(response.has(NAME)).toBe(false);
  decorateResponse(config(), response, null, span, 'ours');
  expect(response.get(NAME)).toBe('ours');
  expect(names).toHaveLength(1);
});

test('with configured names, decorators are nothing', () => {
  const named = config({ operation: new ConstantFormatter('x') });
  const asked = headers(NAME, 'theirs');
  const { span, names } = spanOf();
  expect(decorateRequest(named, asked, decorated(true), span)).toBe('');
  expect(asked.get(NAME)).toBe('theirs');
  expect(names).toEqual([]);
});

test('a route has shares of its own', () => {
  const always = FractionalPercent.ALWAYS;
  const tracing = new RouteTracing(always, FractionalPercent.NEVER, always, [], null, null);
  const route = { tracing } as unknown as Route;
  expect(decide(headers('x-request-id', UUID), config(), 0, route).reason).toBe(TraceReason.NotTraceable);
  expect(decide(headers('x-request-id', UUID, 'x-client-trace-id', '1'), config(), 0, route).reason).toBe(
    TraceReason.ClientForced,
  );
});

test('why requests were traced is counted', () => {
  const stats = {
    clientEnabled: new Count(),
    healthCheck: new Count(),
    notTraceable: new Count(),
    randomSampling: new Count(),
    serviceForced: new Count(),
  };
  const charge = (reason: TraceReason, healthCheck = false): void => {
    const info = new StreamInfo(null, 0, 0, 0);
    info.traceReason = reason;
    info.healthCheck = healthCheck;
    chargeTracing(stats as unknown as Record<keyof typeof stats, Counter>, info);
  };
  charge(TraceReason.ClientForced);
  charge(TraceReason.Sampling);
  charge(TraceReason.ServiceForced);
  charge(TraceReason.NotTraceable);
  charge(TraceReason.Sampling, true);
  expect(Object.values(stats).map(({ value }) => value)).toEqual([1, 0, 2, 1, 1]);
});
