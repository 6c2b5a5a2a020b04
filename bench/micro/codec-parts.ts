/** What the measurements of both codecs share. */
import { ByteBuffer } from '../../src/base/byte-buffer.ts';
import { SlabPool } from '../../src/base/slab-pool.ts';
import { ResponseHeaders } from '../../src/http/header-map.ts';

/** Keeps what is written. */
export class Output {
  readonly output = new ByteBuffer(new SlabPool());
  written(): void {}
  pauseReads(): void {}
  resumeReads(): void {}
}

/** With six headers, for a body of 48 bytes. */
export function sixHeaders(): ResponseHeaders {
  const response = ResponseHeaders.of(200);
  response.list = [
    ...['content-type', 'application/json', 'content-length', '48', 'date', 'Sun, 22 Nov 2026 18:31:18 GMT'],
    ...['cache-control', 'no-cache', 'x-envoy-upstream-service-time', '3', 'server', 'envoy'],
  ];
  return response;
}

/** Prints the best of many short rounds, which is what the code costs when nobody else has the core, and the median. */
export function measure(name: string, rounds: number, messages: number, run: () => void): void {
  const all: number[] = [];
  for (let turn = 0; turn < 60; turn++) {
    const from = performance.now();
    for (let i = 0; i < rounds; i++) run();
    all.push(((performance.now() - from) * 1000) / (rounds * messages));
  }
  all.sort((x, y) => x - y);
  console.log(`${name}: best ${all[0]!.toFixed(2)}, median ${all[30]!.toFixed(2)} microseconds`);
}
