import { expect, test } from 'bun:test';
import type { DescService } from '@bufbuild/protobuf';
import { openApiRegistry } from '../api/api-registry.ts';
import * as types from './resource-type.ts';

const registry = openApiRegistry().registry as { getService(name: string): DescService | undefined };
const all = Object.values(types).filter((each): each is types.ResourceType => typeof each === 'object');

test.each(all.map((type) => [type.short, type] as const))('%s: its methods are those of the API', (short, type) => {
  for (const path of [type.sotwMethod, type.deltaMethod]) {
    const [, service, method] = path.split('/');
    const found = registry.getService(service!)?.methods.some(({ name }) => name === method) ?? false;
    // Virtual hosts know no state of the world.
    expect([path, found]).toEqual([path, !(short === 'VHDS' && path === type.sotwMethod)]);
  }
});

test('paths of REST are those of the API', () => {
  expect(Object.fromEntries(all.map(({ short, restPath }) => [short, restPath]))).toMatchObject({
    CDS: '/v3/discovery:clusters',
    ECDS: '/v3/discovery:extension_configs',
    EDS: '/v3/discovery:endpoints',
    LDS: '/v3/discovery:listeners',
    RDS: '/v3/discovery:routes',
    RTDS: '/v3/discovery:runtime',
    SDS: '/v3/discovery:secrets',
    SRDS: '/v3/discovery:scoped-routes',
  });
});
