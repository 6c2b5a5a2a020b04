import { expect, test } from 'bun:test';
import { TestBuild } from '../../../../test/support/build-messages.ts';
import type { LeastRequest } from '../../../api/gen/envoy/extensions/load_balancing_policies/least_request/v3/least_request_pb.d.ts';
import type { LeastRequestPolicy } from '../../../upstream/balancing/least-request.ts';
import { leastRequestPolicy } from './factory.ts';

function build(yaml: string): { policy: LeastRequestPolicy; errors: string[] } {
  const on = new TestBuild();
  const message = on.message<LeastRequest>(leastRequestPolicy.configType, yaml);
  return { policy: leastRequestPolicy.build(message, on.context) as LeastRequestPolicy, errors: on.errors };
}

test('defaults', () => {
  const { policy, errors } = build('{}');
  expect(errors).toEqual([]);
  expect(policy.settings).toEqual({
    choiceCount: 2,
    fullScan: false,
    activeRequestBias: 1,
    locality: { localityWeighted: false, failTrafficOnPanic: false },
    slowStart: null,
  });
});

test('everything', () => {
  const { policy, errors } = build(`
choice_count: 5
active_request_bias: { default_value: 0.5, runtime_key: "" }
slow_start_config: { slow_start_window: 10s, aggression: { default_value: 2 }, min_weight_percent: { value: 50 } }
locality_lb_config: { zone_aware_lb_config: { fail_traffic_on_panic: true } }
selection_method: FULL_SCAN
`);
  expect(errors).toEqual([]);
  expect(policy.settings).toEqual({
    choiceCount: 5,
    fullScan: true,
    activeRequestBias: 0.5,
    locality: { localityWeighted: false, failTrafficOnPanic: true },
    slowStart: { windowMs: 10_000, aggression: 2, minWeight: 0.5 },
  });
});

test('what is not carried out is refused', () => {
  expect(build('active_request_bias: { default_value: 1, runtime_key: k }').errors).toEqual([
    'active_request_bias.runtime_key: a runtime override is not supported yet here',
  ]);
});
