import { type ManifestSet, namespaceOf } from './manifest-set.ts';
import {
  type BackendReference,
  GATEWAY_GROUP,
  type LabelSelector,
  type Manifest,
  type ObjectReference,
  type Service,
} from './manifest-types.ts';

export function selects(selector: LabelSelector | undefined, labels: Readonly<Record<string, string>>): boolean {
  for (const [key, value] of Object.entries(selector?.matchLabels ?? {})) if (labels[key] !== value) return false;
  for (const { key, operator, values } of selector?.matchExpressions ?? []) {
    const value = labels[key];
    const listed = value !== undefined && (values ?? []).includes(value);
    const holds =
      operator === 'In'
        ? listed
        : operator === 'NotIn'
          ? !listed
          : operator === 'Exists'
            ? value !== undefined
            : operator === 'DoesNotExist' && value === undefined;
    if (!holds) return false;
  }
  return true;
}

/** Whether a reference across namespaces is granted (ReferenceGrant); within one it needs no grant. */
export function isGranted(set: ManifestSet, from: Manifest, fromGroup: string, to: Required<ObjectReference>): boolean {
  const own = namespaceOf(from);
  if (to.namespace === own) return true;
  return set
    .all('ReferenceGrant')
    .some(
      (grant) =>
        namespaceOf(grant) === to.namespace &&
        grant.spec.from.some((each) => each.group === fromGroup && each.kind === from.kind && each.namespace === own) &&
        grant.spec.to.some(
          (each) => each.group === to.group && each.kind === to.kind && (!each.name || each.name === to.name),
        ),
    );
}

/** Why a backend cannot be used: a reason of the ResolvedRefs condition. */
export interface BackendFault {
  readonly reason: string;
  readonly message: string;
}

export type ServicePort = NonNullable<Service['spec']['ports']>[number];

export interface ResolvedBackend {
  readonly service: Service;
  readonly port: ServicePort;
}

/** What a service's port says of its protocol that a route cannot be carried over; null: nothing. */
function protocolFault(route: Manifest, { appProtocol }: ServicePort, encrypted: boolean): string | null {
  switch (appProtocol) {
    case 'kubernetes.io/wss':
    case 'https':
      return encrypted ? null : `${appProtocol} without a BackendTLSPolicy`;
    case 'kubernetes.io/ws':
      return route.kind === 'GRPCRoute' ? `${appProtocol} for a GRPCRoute` : null;
    default:
      return null;
  }
}

/**
 * @param policyFault what is wrong with the BackendTLSPolicy of a service's port; null: nothing; undefined: there is none
 */
export function resolveBackend(
  set: ManifestSet,
  route: Manifest,
  reference: BackendReference,
  policyFault: (service: Service, port: ServicePort) => string | null | undefined,
): ResolvedBackend | BackendFault {
  const group = reference.group ?? '';
  const kind = reference.kind ?? 'Service';
  if (group !== '' || kind !== 'Service') {
    return { reason: 'InvalidKind', message: `backends are Services, not ${group === '' ? '' : `${group}/`}${kind}` };
  }
  const namespace = reference.namespace ?? namespaceOf(route);
  const name = `${namespace}/${reference.name}`;
  if (!isGranted(set, route, GATEWAY_GROUP, { group, kind, name: reference.name, namespace })) {
    return {
      reason: 'RefNotPermitted',
      message: `no ReferenceGrant in ${namespace} lets ${route.kind}s of ${namespaceOf(route)} name Service ${name}`,
    };
  }
  if (reference.port === undefined) return { reason: 'UnsupportedValue', message: `Service ${name}: a port is needed` };
  const service = set.find('Service', namespace, reference.name);
  if (service === null) return { reason: 'BackendNotFound', message: `there is no Service ${name}` };
  if (service.spec.type === 'ExternalName') {
    // It would lead wherever a name leads, past every ReferenceGrant.
    return { reason: 'UnsupportedValue', message: `Service ${name} is of type ExternalName` };
  }
  const port = service.spec.ports?.find((each) => each.port === reference.port && (each.protocol ?? 'TCP') === 'TCP');
  if (port === undefined)
    return { reason: 'BackendNotFound', message: `Service ${name} has no TCP port ${reference.port}` };
  const policy = policyFault(service, port);
  if (typeof policy === 'string') return { reason: 'InvalidBackendTLSPolicy', message: `Service ${name}: ${policy}` };
  const protocol = protocolFault(route, port, policy === null);
  if (protocol !== null) return { reason: 'UnsupportedProtocol', message: `Service ${name}: ${protocol}` };
  return { service, port };
}

export function isFault(resolved: ResolvedBackend | BackendFault): resolved is BackendFault {
  return 'reason' in resolved;
}
