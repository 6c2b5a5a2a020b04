import type { BackendPolicies } from './backend-policies.ts';
import { intersect, servedHostnames } from './hostnames.ts';
import { type RuleFault, ruleFaults, rulesOf } from './http-routes.ts';
import { allowsNamespace, type Section } from './listeners.ts';
import { keyOf, type ManifestSet, namespaceOf } from './manifest-set.ts';
import {
  type BackendReference,
  GATEWAY_GROUP,
  type GrpcRoute,
  type HttpRoute,
  type HttpRouteRule,
  type ParentReference,
  type Route,
} from './manifest-types.ts';
import { isFault, resolveBackend } from './references.ts';
import { type Condition, condition, type ObjectStatus, observed } from './status.ts';

/** What one parent of a route says to it. */
interface ParentAnswer {
  readonly ref: ParentReference;
  readonly accepted: Condition;
}

function isHttp(route: Route): route is HttpRoute | GrpcRoute {
  return route.kind === 'HTTPRoute' || route.kind === 'GRPCRoute';
}

/** Attaches the routes to the listeners that they name, oldest first. One per translation. */
export class RouteAttachments {
  readonly #set: ManifestSet;
  readonly #policies: BackendPolicies;
  readonly #answers = new Map<Route, ParentAnswer[]>();
  readonly #faults = new Map<Route, readonly RuleFault[]>();

  /** @param sections by gateway, `namespace/name`; attached routes are added to them */
  constructor(set: ManifestSet, policies: BackendPolicies, sections: ReadonlyMap<string, readonly Section[]>) {
    this.#set = set;
    this.#policies = policies;
    for (const route of set.routes()) {
      const faults = faultsOf(route);
      this.#faults.set(route, faults);
      const answers: ParentAnswer[] = [];
      for (const ref of route.spec.parentRefs ?? []) {
        if ((ref.kind ?? 'Gateway') !== 'Gateway' || (ref.group ?? GATEWAY_GROUP) !== GATEWAY_GROUP) continue;
        const namespace = ref.namespace ?? namespaceOf(route);
        const own = sections.get(`${namespace}/${ref.name}`);
        if (own !== undefined) answers.push({ ref, accepted: this.#attach(route, ref, own, faults) });
        else if (set.find('Gateway', namespace, ref.name) === null) {
          const message = `there is no Gateway ${namespace}/${ref.name}`;
          answers.push({ ref, accepted: condition('Accepted', false, 'NoMatchingParent', message) });
        }
      }
      if (answers.length > 0) this.#answers.set(route, answers);
    }
  }

  #attach(route: Route, ref: ParentReference, sections: readonly Section[], faults: readonly RuleFault[]): Condition {
    const no = (reason: string, message: string): Condition => condition('Accepted', false, reason, message);
    const named = sections.filter(
      ({ listener }) =>
        (ref.sectionName === undefined || ref.sectionName === listener.name) &&
        (ref.port === undefined || ref.port === listener.port),
    );
    if (named.length === 0) return no('NoMatchingParent', 'the gateway has no such listener');
    const allowed = named.filter(
      (section) => section.kinds.includes(route.kind) && allowsNamespace(this.#set, section, namespaceOf(route)),
    );
    if (allowed.length === 0) {
      return no('NotAllowedByListeners', 'no listener allows this kind of route from this namespace');
    }
    if (faults.length > 0 && faults.length === ruleCount(route)) {
      return no(faults[0]!.reason, `not supported: ${faults.map(({ message }) => message).join('; ')}`);
    }
    let rival: Route | null = null;
    let attached = false;
    for (const section of allowed) {
      const hostnames =
        route.kind === 'TCPRoute' ? [section.hostname] : servedHostnames(section.hostname, route.spec.hostnames ?? []);
      if (hostnames.length === 0) continue;
      const other = rivalOf(section, route, hostnames);
      if (other !== null) {
        rival = other;
        continue;
      }
      attached = true;
      section.attach(route, hostnames);
    }
    if (attached) return condition('Accepted', true, 'Accepted');
    if (rival === null) return no('NoMatchingListenerHostname', 'no listener serves one of the hostnames');
    return no('NotAllowedByListeners', `${rival.kind} ${keyOf(rival)}, which goes first, has some of the hostnames`);
  }

  statuses(controllerName: string): ObjectStatus[] {
    return [...this.#answers].map(([route, answers]) => {
      const resolved = this.#resolved(route);
      const partial = partiallyInvalid(this.#faults.get(route)!);
      return {
        kind: route.kind,
        metadata: { name: route.metadata.name, namespace: namespaceOf(route) },
        parents: answers.map(({ ref, accepted }) => ({
          parentRef: { group: GATEWAY_GROUP, kind: 'Gateway', ...ref },
          controllerName,
          conditions: observed(
            [accepted, resolved, ...(partial !== null && accepted.status === 'True' ? [partial] : [])],
            route.metadata,
          ),
        })),
      };
    });
  }

  #resolved(route: Route): Condition {
    const references: BackendReference[] = [];
    for (const rule of (route.spec.rules ?? []) as readonly HttpRouteRule[]) {
      references.push(...(rule.backendRefs ?? []));
      for (const { requestMirror } of rule.filters ?? []) {
        if (requestMirror !== undefined) references.push(requestMirror.backendRef);
      }
    }
    for (const reference of references) {
      const resolved = resolveBackend(this.#set, route, reference, this.#policies.faultOf);
      if (isFault(resolved)) return condition('ResolvedRefs', false, resolved.reason, resolved.message);
    }
    return condition('ResolvedRefs', true, 'ResolvedRefs');
  }
}

function ruleCount(route: Route): number {
  return isHttp(route) ? rulesOf(route).length : (route.spec.rules ?? []).length;
}

function faultsOf(route: Route): readonly RuleFault[] {
  if (isHttp(route)) return ruleFaults(route);
  // The Gateway API allows one; which of several would have the bytes cannot be said.
  return (route.spec.rules ?? []).flatMap((_, rule) =>
    rule === 0 ? [] : [{ rule, reason: 'UnsupportedValue', message: `more than one rule in a ${route.kind}` }],
  );
}

/**
 * A route of the other HTTP kind that has some of the names already: the Gateway API lets only one of them in (GRPCRoute.hostnames).
 */
function rivalOf(section: Section, route: Route, hostnames: readonly string[]): Route | null {
  if (!isHttp(route)) return null;
  if (!section.attachedKinds.has(route.kind === 'HTTPRoute' ? 'GRPCRoute' : 'HTTPRoute')) return null;
  const found = section.attached.find(
    (other) =>
      isHttp(other.route) &&
      other.route.kind !== route.kind &&
      other.hostnames.some((one) => hostnames.some((each) => intersect(one, each) !== null)),
  );
  return found?.route ?? null;
}

function partiallyInvalid(faults: readonly RuleFault[]): Condition | null {
  const [first] = faults;
  if (first === undefined) return null;
  const rules = faults.map(({ rule, message }) => `${rule} (not supported: ${message})`);
  return condition(
    'PartiallyInvalid',
    true,
    first.reason,
    `Dropped Rule ${rules.join(', ')}; what it would match is answered by an error`,
  );
}
