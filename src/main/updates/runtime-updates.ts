import type { JsonObject } from '@bufbuild/protobuf';
import type { Runtime } from '../../api/gen/envoy/service/runtime/v3/rtds_pb.d.ts';
import { flattenRuntime, type RuntimeLayerSpec } from '../../config/builders/runtime.ts';
import type { Scope } from '../../stats/store.ts';
import type { ResourceRefusal, ResourceUpdate, ResourceWatcher, Subscription } from '../../xds/resource-source.ts';
import { RUNTIME_TYPE } from '../../xds/resource-type.ts';
import type { RuntimeLayers } from '../runtime/runtime-layers.ts';
import type { InitTarget } from './init-targets.ts';
import type { Subscriptions } from './subscriptions.ts';

type RtdsLayerSpec = Extract<RuntimeLayerSpec, { kind: 'rtds' }>;

/** One discovered layer of the runtime. Source: Envoy, RtdsSubscription. */
export class RuntimeLayerWatcher implements ResourceWatcher {
  readonly #spec: RtdsLayerSpec;
  readonly #layers: RuntimeLayers;
  readonly #target: InitTarget;
  readonly #subscription: Subscription;

  constructor(
    spec: RtdsLayerSpec,
    layers: RuntimeLayers,
    subscriptions: Subscriptions,
    stats: Scope,
    target: InitTarget,
  ) {
    this.#spec = spec;
    this.#layers = layers;
    this.#target = target;
    const interest = { type: RUNTIME_TYPE, names: [spec.resource] };
    this.#subscription = subscriptions.open(spec.source, interest, this, stats.createScope('runtime'));
  }

  start(): void {
    this.#subscription.start();
  }

  stop(): void {
    this.#subscription.stop();
  }

  onUpdate(update: ResourceUpdate): Promise<readonly ResourceRefusal[]> {
    const refusal = this.#take(update);
    this.#target.ready();
    return Promise.resolve(refusal === '' ? [] : [{ name: this.#spec.resource, details: refusal }]);
  }

  /** @returns why not; empty: taken */
  #take({ changed }: ResourceUpdate): string {
    const [resource] = changed;
    if (resource === undefined || changed.length !== 1) return `Unexpected RTDS resource length: ${changed.length}`;
    if (resource.name !== this.#spec.resource) {
      return `Unexpected RTDS runtime (expecting ${this.#spec.resource}): ${resource.name}`;
    }
    const faults: string[] = [];
    const values = flattenRuntime((resource.message as Runtime).layer ?? ({} as JsonObject), (key) => {
      faults.push(`Invalid runtime entry value for ${key}`);
    });
    if (faults.length > 0) return faults.join('\n');
    this.#layers.setDiscovered(this.#spec.name, values);
    return '';
  }

  onFailure(reason: 'timeout' | 'rejected' | 'connection', details: string): void {
    this.#target.lastRefusal = details;
    if (reason !== 'connection') this.#target.ready();
  }
}
