import { expect, test } from 'bun:test';
import { TestBuild } from '../../../../test/support/build-messages.ts';
import { hostAddress } from '../../../../test/support/fake-upstream.ts';
import type { OmitHostMetadataConfig } from '../../../api/gen/envoy/extensions/retry/host/omit_host_metadata/v3/omit_host_metadata_config_pb.d.ts';
import type { RetryHostPredicateFactory } from '../../../pipeline/router/retry-plugins.ts';
import { Host, hostSpec } from '../../../upstream/host.ts';
import { omitHostMetadataPredicate } from './factory.ts';

function avoids(config: string, metadata: Record<string, Record<string, unknown>>): boolean {
  const on = new TestBuild();
  const message = on.message<OmitHostMetadataConfig>(omitHostMetadataPredicate.configType, config);
  const factory = omitHostMetadataPredicate.build(message, on.context) as RetryHostPredicateFactory;
  return factory.create().shouldSelectAnotherHost(new Host(hostSpec(hostAddress(1), { metadata }), 'c', 0));
}

const MATCH = '{ metadata_match: { filter_metadata: { envoy.lb: { a: 1, b: [x] } } } }';

test('all values must be there', () => {
  expect(avoids(MATCH, { 'envoy.lb': { a: 1, b: ['x'], c: 2 } })).toBe(true);
  expect(avoids(MATCH, { 'envoy.lb': { a: 1 } })).toBe(false);
  expect(avoids(MATCH, { other: { a: 1, b: ['x'] } })).toBe(false);
  expect(avoids('{}', { 'envoy.lb': { a: 1 } })).toBe(false);
});
