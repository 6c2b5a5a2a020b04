import { expect, test } from 'bun:test';
import { openApiRegistry } from '../../api/api-registry.ts';
import type { GrpcServerCall } from '../../grpc/grpc-server-call.ts';
import { RequestHeaders } from '../../http/header-map.ts';
import { ClientStatusService } from './client-status-service.ts';

/** A client that reads nothing for now. */
class SlowCall implements GrpcServerCall {
  readonly headers = new RequestHeaders();
  readonly peer = '127.0.0.1:1';
  readonly security = null;
  isFull = false;
  isOver = false;
  status = -1;
  sent = 0;
  pauses = 0;

  send(): boolean {
    this.sent++;
    this.isFull = true;
    return false;
  }

  finish(status: number): void {
    this.isOver = true;
    this.status = status;
  }

  pauseReads(): void {
    this.pauses++;
  }

  resumeReads(): void {
    this.pauses--;
  }

  hold(): boolean {
    return true;
  }

  release(): void {}
}

const METHOD = '/envoy.service.status.v3.ClientStatusDiscoveryService/StreamClientStatus';

test('who asks and does not read is answered later, and is not kept when it asks on', () => {
  const service = new ClientStatusService(openApiRegistry(), new Set());
  const call = new SlowCall();
  const handler = service.open(METHOD, call)!;
  const empty = new Uint8Array(0);
  for (let i = 0; i < 3; i++) handler.onMessage(empty);
  expect([call.sent, call.pauses]).toEqual([1, 1]);
  handler.onHalfClose();
  expect(call.isOver).toBe(false);
  for (const sent of [2, 3]) {
    call.isFull = false;
    handler.onReady();
    expect(call.sent).toBe(sent);
  }
  expect([call.pauses, call.status]).toEqual([0, 0]);

  const greedy = new SlowCall();
  const other = service.open(METHOD, greedy)!;
  for (let i = 0; i < 1000 && !greedy.isOver; i++) other.onMessage(empty);
  expect([greedy.sent, greedy.status]).toEqual([1, 8]);
});
