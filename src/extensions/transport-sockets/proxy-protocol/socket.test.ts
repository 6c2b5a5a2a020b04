import { beforeEach, describe, expect, test } from 'bun:test';
import { FakeTransport } from '../../../../test/support/fake-transport.ts';
import { type FakeConnector, FakeUpstream } from '../../../../test/support/fake-upstream.ts';
import { ipAddress } from '../../../net/address.ts';
import type { Transport, TransportHandler } from '../../../net/transport.ts';
import {
  NO_SOCKET_OPTIONS,
  type TransportSocketOptions,
  type WrappingTransportSocket,
} from '../../../net/transport-socket.ts';
import { UpstreamProxyProtocolSocket } from './socket.ts';

const HEADER = 'PROXY TCP4 1.2.3.4 5.6.7.8 1111 80\r\n';
const OPTIONS: TransportSocketOptions = {
  ...NO_SOCKET_OPTIONS,
  proxyProtocol: { source: ipAddress('1.2.3.4', 1111), destination: ipAddress('5.6.7.8', 80), tlvs: [] },
};

let up: FakeUpstream;
let connector: FakeConnector;
let heard: string[];
let handler: TransportHandler;

beforeEach(() => {
  up = new FakeUpstream();
  connector = up.connector;
  heard = [];
  handler = {
    onOpen: () => heard.push('open'),
    onBytes: (bytes) => heard.push(bytes.latin1Slice()),
    onDrain: () => heard.push('drain'),
    onPeerEnd: () => heard.push('end'),
    onClosed: (error) => heard.push(`closed ${error?.code ?? ''}`),
    onOwnBytesSent: (count) => heard.push(`own ${count}`),
  };
});

function dial(version: 1 | 2 = 1, inner: WrappingTransportSocket | null = null, options = OPTIONS): Transport {
  const settings = { version, tlvs: { added: [], passed: null } };
  const counter = up.store.root.counter('too_long');
  const socket = new UpstreamProxyProtocolSocket(settings, inner, counter);
  const spec = { address: ipAddress('10.0.0.1', 80), bindAddress: null, socketOptions: [] };
  return socket.connect(connector, spec, { hostname: '' }, options, handler);
}

describe('the header', () => {
  test('goes first, and then the connection counts as open', () => {
    const transport = dial();
    expect(heard).toEqual([]);
    connector.last.open();
    expect([connector.last.sent, ...heard]).toEqual([HEADER, `own ${HEADER.length}`, 'open']);
    transport.write(Buffer.from('hello'), 0, 5);
    expect(connector.last.sent).toBe(`${HEADER}hello`);
    connector.last.receive('answer');
    expect(heard.at(-1)).toBe('answer');
  });

  test('may take several writes', () => {
    dial();
    connector.last.room = 10;
    connector.last.open();
    expect([connector.last.sent, ...heard]).toEqual([HEADER.slice(0, 10), 'own 10']);
    connector.last.drain();
    expect([connector.last.sent, heard.at(-1)]).toEqual([HEADER, 'open']);
    // A later drain is the owner's.
    connector.last.drain();
    expect(heard.at(-1)).toBe('drain');
  });

  test('of a handler that is set meanwhile', () => {
    const transport = dial();
    const late: string[] = [];
    transport.setHandler({ ...handler, onOpen: () => late.push('open'), onBytes: () => late.push('bytes') });
    connector.last.open();
    connector.last.receive('x');
    expect([late, heard]).toEqual([['open', 'bytes'], [`own ${HEADER.length}`]]);
  });

  test('is not sent where the connect fails', () => {
    dial();
    connector.last.closes('ECONNREFUSED');
    expect([connector.last.sent, ...heard]).toEqual(['', 'closed ECONNREFUSED']);
  });

  test('without a downstream connection is that of the connection itself', () => {
    dial(1, null, NO_SOCKET_OPTIONS);
    connector.last.open();
    expect(connector.last.sent).toBe('PROXY TCP4 127.0.0.1 10.0.0.1 10000 80\r\n');
    dial(2, null, NO_SOCKET_OPTIONS);
    connector.last.open();
    expect(connector.last.sent.charCodeAt(12)).toBe(0x20);
  });

  test('that cannot hold its TLVs is left out, and counted', () => {
    const tlvs = [{ type: 1, value: new Uint8Array(0xffff) }];
    dial(2, null, { ...OPTIONS, proxyProtocol: { ...OPTIONS.proxyProtocol!, tlvs } });
    connector.last.open();
    expect([connector.last.sent, heard[0], up.store.valueOf('too_long')]).toEqual(['', 'open', 1]);
  });
});

test('what stands on top begins behind it', () => {
  let below: Transport | null = null;
  const above = new FakeTransport(up.loop);
  const inner: WrappingTransportSocket = {
    isSecure: true,
    supportsAlpn: true,
    connect: () => {
      throw new Error('there is a connection already');
    },
    wrap: (raw, _peer, _options, given) => {
      below = raw;
      expect((raw as FakeTransport).sent).toBe(HEADER);
      above.setHandler(given);
      return above;
    },
  };
  const transport = dial(1, inner);
  expect(below).toBeNull();
  connector.last.open();
  expect([below === (connector.last as Transport), heard]).toEqual([true, [`own ${HEADER.length}`]]);
  above.open();
  transport.write(Buffer.from('secret'), 0, 6);
  expect([heard.at(-1), above.sent, connector.last.sent]).toEqual(['open', 'secret', HEADER]);
});
