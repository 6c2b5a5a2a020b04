import { type ReferenceFault, resolveAuthorities } from './certificates.ts';
import { byAge, keyOf, type ManifestSet, namespaceOf } from './manifest-set.ts';
import { type BackendTlsPolicy, GATEWAY_GROUP, type Gateway, type Service } from './manifest-types.ts';
import type { ServicePort } from './references.ts';
import { type Condition, condition, type ObjectStatus, observed } from './status.ts';

/** One BackendTLSPolicy, judged. */
export interface JudgedPolicy {
  readonly policy: BackendTlsPolicy;
  /** PEM; empty: those of the system. */
  readonly authorities: string;
  /** Why nothing can be sent by it; null: it can. */
  readonly fault: string | null;
  readonly conditions: readonly Condition[];
}

/** A service, or one of its ports, that policies speak of. */
function targetKey(namespace: string, name: string, section: string): string {
  return `${namespace}/${name}/${section}`;
}

/** What is asked of a policy that is not done; null: nothing. */
function invalid({ spec }: BackendTlsPolicy): string | null {
  const { validation } = spec;
  const named = validation.caCertificateRefs ?? [];
  const known = validation.wellKnownCACertificates ?? '';
  if (known !== '' && known !== 'System') return `wellKnownCACertificates ${known}`;
  if (known !== '' && named.length > 0) return 'caCertificateRefs and wellKnownCACertificates together';
  if (known === '' && named.length === 0) return 'neither caCertificateRefs nor wellKnownCACertificates';
  const [option] = Object.keys(spec.options ?? {});
  if (option !== undefined) return `options ${option}`;
  const target = spec.targetRefs.find((each) => (each.group ?? '') !== '' || each.kind !== 'Service');
  if (target !== undefined) return `targets of kind ${target.kind}`;
  for (const { type, hostname, uri } of validation.subjectAltNames ?? []) {
    if (type !== 'Hostname' && type !== 'URI') return `subjectAltNames of type ${type}`;
    if ((type === 'Hostname' ? hostname : uri) === undefined) return `subjectAltNames of type ${type} without one`;
  }
  return null;
}

/** The BackendTLSPolicies: which one holds for a service's port, and what is said of each. One per translation. */
export class BackendPolicies {
  readonly #set: ManifestSet;
  /** By target, the one that counts. */
  readonly #byTarget = new Map<string, JudgedPolicy>();
  readonly #judged: readonly JudgedPolicy[];
  /** By service, `namespace/name`, the gateways that send to it. */
  readonly #users = new Map<string, Set<Gateway>>();

  constructor(set: ManifestSet) {
    this.#set = set;
    this.#judged = set
      .all('BackendTLSPolicy')
      .sort(byAge)
      .map((policy) => this.#judge(policy));
  }

  #judge(policy: BackendTlsPolicy): JudgedPolicy {
    const { spec } = policy;
    const namespace = namespaceOf(policy);
    const keys = spec.targetRefs.map(({ name, sectionName }) => targetKey(namespace, name, sectionName ?? ''));
    const taken = keys.map((key) => this.#byTarget.get(key)).find((each) => each !== undefined);
    const authorities: string[] = [];
    let fault: ReferenceFault | null = null;
    for (const reference of spec.validation.caCertificateRefs ?? []) {
      const resolved = resolveAuthorities(this.#set, policy, reference, {
        kind: 'InvalidKind',
        malformed: 'InvalidCACertificateRef',
      });
      if (typeof resolved === 'string') authorities.push(resolved);
      else fault ??= resolved;
    }
    const what = invalid(policy);
    const accepted =
      taken !== undefined
        ? condition('Accepted', false, 'Conflicted', `BackendTLSPolicy ${keyOf(taken.policy)} is older`)
        : what !== null
          ? condition('Accepted', false, 'Invalid', `not supported: ${what}`)
          : fault !== null && authorities.length === 0
            ? condition('Accepted', false, 'NoValidCACertificate', fault.message)
            : condition('Accepted', true, 'Accepted');
    const judged: JudgedPolicy = {
      policy,
      authorities: authorities.join('\n'),
      // A reference that is wrong must not weaken what the others say: nothing is sent.
      fault: fault !== null ? fault.message : accepted.status === 'True' ? null : accepted.message,
      conditions: [
        accepted,
        fault === null
          ? condition('ResolvedRefs', true, 'ResolvedRefs')
          : condition('ResolvedRefs', false, fault.reason, fault.message),
      ],
    };
    // One that loses anywhere holds nowhere.
    if (taken === undefined) for (const key of keys) this.#byTarget.set(key, judged);
    return judged;
  }

  /** The policy for a service's port: one that names the port goes before one that does not. */
  policyOf(service: Service, port: ServicePort): JudgedPolicy | null {
    const [namespace, { name }] = [namespaceOf(service), service.metadata];
    const own = port.name === undefined ? undefined : this.#byTarget.get(targetKey(namespace, name, port.name));
    return own ?? this.#byTarget.get(targetKey(namespace, name, '')) ?? null;
  }

  /** For `resolveBackend`. */
  readonly faultOf = (service: Service, port: ServicePort): string | null | undefined =>
    this.policyOf(service, port)?.fault;

  /** Said of every service that a gateway's routes name. */
  use(service: string, gateway: Gateway): void {
    const users = this.#users.get(service) ?? new Set<Gateway>();
    this.#users.set(service, users);
    users.add(gateway);
  }

  statuses(controllerName: string): ObjectStatus[] {
    return this.#judged.map(({ policy, conditions }) => {
      const namespace = namespaceOf(policy);
      const gateways = new Set<Gateway>();
      for (const { name } of policy.spec.targetRefs) {
        for (const gateway of this.#users.get(`${namespace}/${name}`) ?? []) gateways.add(gateway);
      }
      return {
        kind: 'BackendTLSPolicy',
        metadata: { name: policy.metadata.name, namespace },
        ancestors: [...gateways].map((gateway) => ({
          ancestorRef: {
            group: GATEWAY_GROUP,
            kind: 'Gateway',
            namespace: namespaceOf(gateway),
            name: gateway.metadata.name,
          },
          controllerName,
          conditions: observed(conditions, policy.metadata),
        })),
      };
    });
  }
}
