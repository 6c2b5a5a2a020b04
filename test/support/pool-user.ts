import { expect } from 'bun:test';
import type { ByteBuffer } from '../../src/base/byte-buffer.ts';
import type { RequestEncoder, ResetReason, ResponseDecoder, StreamEvents } from '../../src/http/codec.ts';
import { type HeaderMap, RequestHeaders, type ResponseHeaders } from '../../src/http/header-map.ts';
import type { Host } from '../../src/upstream/host.ts';
import type { PendingStream, PoolFailure, PoolWaiter, UpstreamConnectionInfo } from '../../src/upstream/pool.ts';

/** A user of an HTTP pool that writes down what it hears. */
export class PoolUser implements PoolWaiter, ResponseDecoder, StreamEvents {
  encoder: RequestEncoder | null = null;
  info: UpstreamConnectionInfo | null = null;
  readonly log: string[] = [];
  pending: PendingStream | null = null;
  /** What is sent as soon as there is a stream. */
  request: 'whole' | 'open' | 'nothing' = 'whole';

  onPoolReady(encoder: RequestEncoder, _host: Host, info: UpstreamConnectionInfo): void {
    this.encoder = encoder;
    this.info = info;
    this.log.push('ready');
    encoder.stream.setEvents(this);
    if (this.request !== 'nothing') this.send(this.request === 'whole');
  }

  send(end: boolean): void {
    const headers = new RequestHeaders();
    headers.method = end ? 'GET' : 'POST';
    headers.path = '/';
    headers.authority = 'a';
    headers.scheme = 'http';
    expect(this.encoder!.encodeHeaders(headers, end)).toBe(null);
  }

  onPoolFailure(reason: PoolFailure, transportFailureReason: string): void {
    this.log.push(`failed ${reason} ${transportFailureReason}`.trim());
  }

  on1xxHeaders(headers: ResponseHeaders): void {
    this.log.push(`1xx ${headers.status}`);
  }

  onHeaders(headers: ResponseHeaders, end: boolean): void {
    this.log.push(`headers ${headers.status}${end ? ' end' : ''}`);
  }

  onData(data: ByteBuffer, end: boolean): void {
    this.log.push(`data ${data.latin1()}${end ? ' end' : ''}`);
    data.clear();
  }

  onTrailers(_trailers: HeaderMap): void {
    this.log.push('trailers');
  }

  onStreamReset(reason: ResetReason): void {
    this.log.push(`reset ${reason}`);
  }

  onAboveWriteHighWatermark(): void {
    this.log.push('above');
  }

  onBelowWriteLowWatermark(): void {
    this.log.push('below');
  }
}
