import { describe, expect, test } from 'bun:test';
import type { Node } from '../api/gen/envoy/config/core/v3/base_pb.d.ts';
import { readGroup, selectsNode } from './node-groups.ts';

const node = {
  id: 'edge-7',
  cluster: 'edge',
  locality: { region: 'eu', zone: 'eu-1', subZone: 'a' },
  userAgentName: 'envoy',
  metadata: { stage: 'canary', level: 3, ready: true, app: { tier: 'gold' } },
} as unknown as Node;

describe('a group is for nodes', () => {
  test.each([
    ['id: edge-7', true],
    ['id: edge-8', false],
    ['id: edge-*', true],
    ['id: [edge-1, edge-7]', true],
    ['id: [edge-1, edge-2*]', false],
    ['cluster: edge', true],
    ['cluster: edges', false],
    ['cluster: "*"', true],
    ['region: eu\nzone: eu-1\nsub_zone: a', true],
    ['region: eu\nzone: eu-2', false],
    ['user_agent: envoy', true],
    ['user_agent: nuncio*', false],
    ['metadata: { stage: canary }', true],
    ['metadata: { stage: [stable, can*] }', true],
    ['metadata: { stage: stable }', false],
    ['metadata: { level: 3, ready: true }', true],
    ['metadata: { level: "3" }', false],
    ['metadata: { app: { tier: gold } }', true],
    ['metadata: { app: { tier: gold, more: x } }', false],
    ['metadata: { app: gold }', false],
    ['metadata: { stage: { of: x } }', false],
    ['metadata: { missing: "*" }', false],
    ['metadata: { toString: "*" }', false],
    ['metadata: { constructor: { name: "*" } }', false],
  ])('%s: %p', (text, expected) => {
    expect(selectsNode(readGroup(text).selector, node)).toBe(expected);
  });

  test('without a locality', () => {
    const bare = { id: 'x', cluster: '', userAgentName: '' } as unknown as Node;
    expect(selectsNode(readGroup('zone: "*"').selector, bare)).toBe(true);
    expect(selectsNode(readGroup('zone: eu*').selector, bare)).toBe(false);
    expect(selectsNode(readGroup('metadata: { a: b }').selector, bare)).toBe(false);
  });
});

test('how it stands to others', () => {
  expect(readGroup('id: a')).toMatchObject({ priority: 0, inherit: true });
  expect(readGroup('id: a\npriority: 5\ninherit: false')).toMatchObject({
    selector: { id: 'a' },
    priority: 5,
    inherit: false,
  });
});

test.each([
  ['', 'a group is a mapping'],
  ['[a]', 'a group is a mapping'],
  ['priority: 1', 'which nodes is it for?'],
  ['name: a', 'unknown field name; known are id'],
  ['id: 7', 'id is a text or a list of them'],
  ['id: []', 'id is a text or a list of them'],
  ['metadata: a', 'metadata is a mapping'],
  ['metadata: { a: [1] }', 'metadata.a is a text'],
  ['metadata: { a: { b: null } }', 'metadata.a.b is a text'],
  ['id: a\npriority: high', 'priority is a whole number'],
  ['id: a\ninherit: 1', 'inherit is true or false'],
])('%p is refused', (text, words) => {
  expect(() => readGroup(text)).toThrow(words);
});
