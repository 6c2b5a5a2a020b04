import type { ObjectMeta, ParentReference } from './manifest-types.ts';

/** One condition of a status, as the Gateway API has them, without the times: those are added by who keeps the status. */
export interface Condition {
  readonly type: string;
  readonly status: 'True' | 'False' | 'Unknown';
  readonly reason: string;
  readonly message: string;
  /** `metadata.generation` of the object that was judged; absent where it has none. */
  readonly observedGeneration?: number;
}

export interface ListenerStatus {
  readonly name: string;
  readonly attachedRoutes: number;
  readonly supportedKinds: readonly { readonly group: string; readonly kind: string }[];
  readonly conditions: readonly Condition[];
}

/** Status of one object: a Gateway's has listeners, a route's has parents, a policy's has ancestors. */
export interface ObjectStatus {
  readonly kind: string;
  readonly metadata: Pick<ObjectMeta, 'name' | 'namespace'>;
  readonly conditions?: readonly Condition[];
  /** Of a GatewayClass. */
  readonly supportedFeatures?: readonly { readonly name: string }[];
  /** Of a Gateway. */
  readonly addresses?: readonly { readonly type: string; readonly value: string }[];
  readonly listeners?: readonly ListenerStatus[];
  readonly parents?: readonly {
    readonly parentRef: ParentReference;
    readonly controllerName: string;
    readonly conditions: readonly Condition[];
  }[];
  readonly ancestors?: readonly {
    readonly ancestorRef: ParentReference;
    readonly controllerName: string;
    readonly conditions: readonly Condition[];
  }[];
}

export function condition(type: string, good: boolean, reason: string, message = ''): Condition {
  return { type, status: good ? 'True' : 'False', reason, message };
}

/** The conditions with the generation that they are about. */
export function observed(conditions: readonly Condition[], { generation }: ObjectMeta): readonly Condition[] {
  if (generation === undefined) return conditions;
  return conditions.map((each) => ({ ...each, observedGeneration: generation }));
}

/** What a status says that is not as its object asks, for people: a line for each. */
export function complaintsOf({ kind, metadata, conditions, listeners, parents, ancestors }: ObjectStatus): string[] {
  const name = metadata.namespace === undefined ? metadata.name : `${metadata.namespace}/${metadata.name}`;
  const lines = new Set<string>();
  const add = (about: string, list: readonly Condition[]): void => {
    // `Conflicted` is False where all is well; of the others, some are there only when something is amiss.
    const amiss = ({ type, status }: Condition): boolean =>
      ['Conflicted', 'PartiallyInvalid', 'InsecureFrontendValidationMode'].includes(type) === (status === 'True');
    for (const each of list) {
      if (each.type === 'OverlappingTLSConfig' || !amiss(each)) continue;
      lines.add(`${kind} ${name}${about}: ${each.type} is ${each.status}: ${each.reason}: ${each.message}`);
    }
  };
  add('', conditions ?? []);
  for (const listener of listeners ?? []) add(`, listener ${listener.name}`, listener.conditions);
  for (const each of [...(parents ?? []), ...(ancestors ?? [])]) add('', each.conditions);
  return [...lines];
}
