import { afterEach, expect, test } from 'bun:test';
import { FakeUpstream } from '../../test/support/fake-upstream.ts';
import type { ResponseHeaders } from '../http/header-map.ts';
import type { Cluster } from './cluster.ts';
import { HttpCall, type HttpCallHandler, type HttpCallRequest } from './http-call.ts';

class Recorder implements HttpCallHandler {
  readonly log: string[] = [];

  onAnswer(status: number, _headers: ResponseHeaders, body: Uint8Array): void {
    this.log.push(`${status} ${Buffer.from(body).toString('latin1')}`);
  }

  onFailure(reason: string): void {
    this.log.push(`failed: ${reason}`);
  }
}

let cluster: Cluster | null = null;
let up = new FakeUpstream();
afterEach(() => {
  const { loop } = up;
  const present = cluster;
  loop.turn(() => present?.close());
  if (present !== null) {
    expect(present.stats.upstream_rq_active.value + present.stats.upstream_cx_active.value).toBe(0);
    expect(present.resources(0).requests.count + present.resources(0).pendingRequests.count).toBe(0);
  }
});

function call(more: Partial<HttpCallRequest> = {}, of?: Cluster | null) {
  up = new FakeUpstream();
  cluster = of === undefined ? up.cluster() : of;
  const recorder = new Recorder();
  const request: HttpCallRequest = {
    method: 'POST',
    path: '/x',
    authority: 'up',
    headers: [['content-type', 'application/json']],
    body: Buffer.from('{}'),
    timeoutMs: 1000,
    maxAnswerBytes: 10,
    localAddress: '10.9.9.9',
    ...more,
  };
  let made!: HttpCall;
  up.loop.turn(() => {
    made = new HttpCall(up.loop.dispatcher, cluster, request, recorder);
    expect(recorder.log).toEqual([]);
  });
  return { recorder, call: made };
}

const ok = (body: string): string => `HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`;

test('sends the whole request, and hands on the whole answer', () => {
  const { recorder } = call();
  up.connector.last.open();
  expect(up.connector.last.sent).toBe(
    'POST /x HTTP/1.1\r\nhost: up\r\ncontent-type: application/json\r\ncontent-length: 2\r\nx-envoy-internal: true\r\nx-forwarded-for: 10.9.9.9\r\nx-envoy-expected-rq-timeout-ms: 1000\r\n\r\n{}',
  );
  const answer = ok('hello');
  for (const byte of answer) up.connector.last.receive(byte);
  expect(recorder.log).toEqual(['200 hello']);
  expect([...cluster!.priorities.allHosts()][0]!.stats.rqSuccess).toBe(1);
  up.loop.advance(5000);
  expect(recorder.log.length).toBe(1);
});

test('every way to fail is told once', () => {
  expect(call({}, null).recorder.log).toEqual(['failed: there is no such cluster']);
  const none = new FakeUpstream().cluster({}, []);
  expect(call({}, none).recorder.log).toEqual(['failed: no healthy upstream']);
  const refused = call();
  up.connector.last.closes('ECONNREFUSED');
  expect(refused.recorder.log.length).toBe(1);
  const late = call();
  up.connector.last.open();
  up.loop.advance(1001);
  expect(late.recorder.log).toEqual(['failed: the request has timed out']);
  expect(cluster!.stats.upstream_rq_timeout.value).toBe(1);
  const large = call();
  up.connector.last.open();
  up.connector.last.receive(ok('0123456789A'));
  expect(large.recorder.log).toEqual(['failed: the answer is too large']);
  const cut = call();
  up.connector.last.open();
  up.connector.last.receive('HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe');
  up.connector.last.closes();
  expect(cut.recorder.log.length).toBe(1);
  expect(cut.recorder.log[0]).toStartWith('failed: ');
});

test('one that is given up says nothing', () => {
  for (const opens of [false, true]) {
    const { recorder, call: made } = call();
    if (opens) up.connector.last.open();
    up.loop.turn(() => made.cancel());
    up.loop.advance(5000);
    expect(recorder.log).toEqual([]);
  }
});
