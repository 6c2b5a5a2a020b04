import { describe, expect, test } from 'bun:test';
import { roundRobin } from '../../test/support/fake-upstream.ts';
import { TextState } from '../base/connection-state.ts';
import { RequestHeaders } from '../http/header-map.ts';
import { NO_SOCKET_OPTIONS, RAW_UPSTREAM_SOCKET, type TransportSocketOptions } from '../net/transport-socket.ts';
import { type ClusterSpec, clusterSpec } from '../upstream/cluster-spec.ts';
import { SocketState, upstreamSocketOptions } from './upstream-socket-options.ts';

const socket = { transportSocket: () => RAW_UPSTREAM_SOCKET };

function options(
  fields: Partial<ClusterSpec>,
  authority: string | null,
  states: Readonly<Record<string, string>> = {},
  more: readonly (readonly [string, string])[] = [],
): TransportSocketOptions {
  const headers = new RequestHeaders();
  headers.authority = authority;
  for (const [name, value] of more) headers.add(name, value);
  const filterState = (key: string) => (states[key] === undefined ? null : new TextState(states[key]));
  return upstreamSocketOptions(
    clusterSpec('c', roundRobin(), { ...socket, ...fields }),
    { filterState, connection: null },
    authority === null ? null : headers,
  );
}

describe('auto_sni and auto_san_validation', () => {
  const both = { autoSni: true, autoSanValidation: true };
  test.each([
    ['a.example', 'a.example', ['a.example']],
    ['a.example:8443', 'a.example', ['a.example']],
    ['10.0.0.1', '', ['10.0.0.1']],
    ['10.0.0.1:80', '', ['10.0.0.1']],
    ['[::1]:80', '', ['::1']],
    ['', '', []],
  ])('%s', (authority, serverName, subjectAltNames) => {
    expect(options(both, authority)).toMatchObject({ serverName, subjectAltNames });
  });

  test('a header comes first, unless it is empty', () => {
    const fields = { ...both, overrideAutoSniHeader: 'x-name' };
    expect(options(fields, 'a', {}, [['x-name', 'b']]).serverName).toBe('b');
    expect(options(fields, 'a', {}, [['x-name', '']]).serverName).toBe('a');
    expect(options(fields, 'a').serverName).toBe('a');
  });

  test('filter state comes first', () => {
    const states = { [SocketState.ServerName]: 's', [SocketState.SubjectAltNames]: 'x,y' };
    expect(options(both, 'a', states)).toMatchObject({ serverName: 's', subjectAltNames: ['x', 'y'] });
  });
});

test('nothing that is asked for, or nobody to ask, is no key', () => {
  expect(options({}, 'a')).toBe(NO_SOCKET_OPTIONS);
  expect(options({ autoSni: true }, null)).toBe(NO_SOCKET_OPTIONS);
  expect(options({ autoSni: true, transportSocket: null }, 'a')).toBe(NO_SOCKET_OPTIONS);
});

test('equal options share connections, others do not', () => {
  const at = (authority: string): string => options({ autoSni: true }, authority).key;
  expect(at('a')).toBe(at('a:80'));
  expect(at('a')).not.toBe(at('b'));
});
