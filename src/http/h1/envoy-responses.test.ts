import { describe, expect, test } from 'bun:test';
import { ResetReason, type ResponseEncoder } from '../codec.ts';
import { RequestHeaders, ResponseHeaders } from '../header-map.ts';
import table from './envoy-responses.json' with { type: 'json' };
import { http1Options, NO_HTTP1_STATS } from './http1-options.ts';
import { isUpgrade } from './message-writer.ts';
import { Http1ServerCodec } from './server-codec.ts';
import { bytesOf, ClientPeer, TestTransport } from './test-peers.ts';

const OPTIONS = http1Options({ enableTrailers: true });

function requestOf(method: string, fields: string): RequestHeaders {
  const headers = new RequestHeaders();
  headers.method = method;
  headers.authority = 'h';
  headers.path = '/';
  for (const line of fields.split('\r\n')) {
    const colon = line.indexOf(':');
    if (colon > 0) headers.add(line.substring(0, colon).toLowerCase(), line.substring(colon + 1).trim());
  }
  return headers;
}

function told(peer: ClientPeer): string {
  return `${peer.error === null ? '' : 'error'} ${peer.heads} ${JSON.stringify(peer.body)} ${peer.end}`;
}

/** Writes what `peer` was told through a server codec, as Envoy sent it on. */
function sendOn(method: string, fields: string, peer: ClientPeer): string {
  const transport = new TestTransport();
  let encoder!: ResponseEncoder;
  const server = new Http1ServerCodec(
    transport,
    {
      onLastStreamGone() {},
      onNewStream(e) {
        encoder = e;
        return { onHeaders() {}, onData() {}, onTrailers() {} };
      },
      onGoAway() {},
      onCodecFailure() {},
    },
    http1Options(),
    NO_HTTP1_STATS,
  );
  server.dispatch(bytesOf(`${method} / HTTP/1.1\r\nHost: h\r\n${fields}\r\n`));
  const line = peer.heads.split('\n').find((text) => /^\d+ /.test(text))!;
  const match = /^(\d+) (\[.*\]) (true|false)$/.exec(line)!;
  const headers = ResponseHeaders.of(Number(match[1]));
  headers.list = JSON.parse(match[2]!);
  if (!isUpgrade(headers)) {
    headers.remove('upgrade');
    headers.remove('connection');
  }
  headers.remove('keep-alive');
  headers.remove('proxy-connection');
  headers.remove('server');
  const end = match[3] === 'true';
  encoder.encodeHeaders(headers, end);
  if (!end) {
    if (peer.body !== '') encoder.encodeData(bytesOf(peer.body), peer.end > 0);
    else if (peer.end > 0) encoder.encodeData(bytesOf(''), true);
  }
  if (peer.end === 0) encoder.stream.reset(ResetReason.LocalReset);
  return transport.output.latin1();
}

describe('responses as recorded from Envoy 1.40', () => {
  for (const [method, name, fields, data, closes, verdict, response] of table as [
    string,
    string,
    string,
    string,
    boolean,
    string,
    string,
  ][]) {
    test(`${method} ${name}`, () => {
      const whole = new ClientPeer(OPTIONS, requestOf(method, fields));
      whole.feed(data);
      const bytewise = new ClientPeer(OPTIONS, requestOf(method, fields));
      bytewise.feedBytewise(data);
      if (whole.error === null) expect(told(bytewise)).toBe(told(whole));
      else expect(bytewise.error).toEqual(whole.error);
      if (closes && whole.error === null) whole.error = whole.codec.onPeerEnd();
      // Bytes behind the response are the connection's fault, not the response's.
      if (whole.error !== null && whole.end === 1 && verdict === 'ok') {
        expect(whole.codec.mustClose).toBe(true);
        whole.error = null;
      }
      // An end before anything came is no fault of protocol; the connection's owner sees a request without an answer.
      if (data === '') expect([whole.error, whole.end]).toEqual([null, 0]);
      else if (verdict !== 'ok') expect(whole.error).not.toBeNull();
      else {
        expect(whole.error).toBeNull();
        // Envoy's connection manager changes the answers of refused upgrades and of unasked-for 101.
        if (name.startsWith('ws ') || name === 'unasked 101' || response === '') return;
        expect(sendOn(method, fields, whole)).toBe(response);
      }
    });
  }
});
