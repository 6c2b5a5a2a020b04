import { expect, test } from 'bun:test';
import { Protocol } from '../http/codec.ts';
import { RequestHeaders } from '../http/header-map.ts';
import { hasToken } from '../http/token-list.ts';
import { asksForClose, upgradeType } from './connection-tokens.ts';
import { setRequestId } from './request-id.ts';

function headers(...fields: string[]): RequestHeaders {
  const map = new RequestHeaders();
  map.method = 'GET';
  for (let i = 0; i < fields.length; i += 2) map.add(fields[i]!, fields[i + 1]!);
  return map;
}

test('tokens of a list', () => {
  expect(hasToken('close', 'close')).toBe(true);
  expect(hasToken('keep-alive , CLOSE', 'close')).toBe(true);
  expect(hasToken('closed', 'close')).toBe(false);
  expect(hasToken('', 'close')).toBe(false);
});

test('who asks for the end of the connection', () => {
  const of = (protocol: Protocol, ...fields: string[]): boolean => asksForClose(headers(...fields), protocol);
  expect(of(Protocol.Http11)).toBe(false);
  expect(of(Protocol.Http11, 'connection', 'Close')).toBe(true);
  expect(of(Protocol.Http11, 'proxy-connection', 'close')).toBe(true);
  expect(of(Protocol.Http10)).toBe(true);
  expect(of(Protocol.Http10, 'connection', 'keep-alive')).toBe(false);
  expect(of(Protocol.Http2, 'connection', 'close')).toBe(false);
});

test('upgrades need both headers', () => {
  expect(upgradeType(headers('upgrade', 'WebSocket'))).toBeNull();
  expect(upgradeType(headers('connection', 'upgrade'))).toBeNull();
  expect(upgradeType(headers('connection', 'keep-alive, Upgrade', 'upgrade', 'WebSocket'))).toBe('websocket');
  const connect = headers();
  connect.method = 'CONNECT';
  expect(upgradeType(connect)).toBe('connect');
});

const UUID = '01234567-89ab-9def-8123-456789abcdef';
test('request ids', () => {
  const id = (value: string | null, edge: boolean, keep: boolean, pack: boolean): string =>
    setRequestId(value === null ? headers() : headers('x-request-id', value), edge, keep, pack);
  expect(id(UUID, false, false, true)).toBe(UUID);
  expect(id(UUID, true, false, true)).not.toBe(UUID);
  expect(id(UUID, true, true, true)).toBe('01234567-89ab-4def-8123-456789abcdef');
  expect(id(UUID, true, true, false)).toBe(UUID);
  expect(id('mine', true, true, true)).toBe('mine');
  expect(id(null, false, false, true)).toMatch(/^[0-9a-f-]{36}$/);
  expect(id('', false, true, true)).toMatch(/^[0-9a-f-]{36}$/);
});
