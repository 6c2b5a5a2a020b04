import { type KeyPair, type ReferenceFault, resolveAuthorities, resolveKeyPair } from './certificates.ts';
import { takes } from './hostnames.ts';
import { keyOf, type ManifestSet, namespaceOf } from './manifest-set.ts';
import {
  type FrontendValidation,
  GATEWAY_GROUP,
  type Gateway,
  type GatewayListener,
  type Route,
  type RouteKind,
} from './manifest-types.ts';
import { selects } from './references.ts';
import { type Condition, condition } from './status.ts';

const PROTOCOLS = ['HTTP', 'HTTPS', 'TLS', 'TCP'];

function kindsOf(protocol: string, mode: string): readonly RouteKind[] {
  switch (protocol) {
    case 'HTTP':
    case 'HTTPS':
      return ['HTTPRoute', 'GRPCRoute'];
    case 'TLS':
      return mode === 'Terminate' ? ['TLSRoute', 'TCPRoute'] : ['TLSRoute'];
    case 'TCP':
      return ['TCPRoute'];
    default:
      return [];
  }
}

/** Protocols that may share a port: the names in the first bytes tell them apart. */
function family(protocol: string): string {
  return protocol === 'HTTPS' || protocol === 'TLS' ? 'tls' : protocol;
}

/** How certificates of clients are checked. */
export interface ClientValidation {
  /** PEM. */
  readonly authorities: string;
  /** Whoever has none, or a wrong one, comes in as well. */
  readonly insecure: boolean;
}

/** One listener of a gateway with what is attached to it. */
export class Section {
  readonly gateway: Gateway;
  readonly listener: GatewayListener;
  /** Upper case. */
  readonly protocol: string;
  /** Lower case; empty: any. */
  readonly hostname: string;
  readonly mode: string;
  /** Kinds of routes that may attach. */
  readonly kinds: readonly RouteKind[];
  /** By type: each is there once. */
  readonly conditions = new Map<string, Condition>();
  /** Oldest first. */
  readonly attached: { readonly route: Route; readonly hostnames: readonly string[] }[] = [];
  /** The same routes, and their kinds. */
  readonly routes = new Set<Route>();
  readonly attachedKinds = new Set<RouteKind>();
  /** Nothing is served where it is in conflict or lacks what it needs. */
  usable = true;
  certificates: readonly KeyPair[] = [];
  clientValidation: ClientValidation | null = null;

  constructor(gateway: Gateway, listener: GatewayListener) {
    this.gateway = gateway;
    this.listener = listener;
    this.protocol = listener.protocol.toUpperCase();
    // Hostnames mean nothing where bytes have none (Gateway API, Listener.hostname).
    this.hostname = this.protocol === 'TCP' ? '' : (listener.hostname ?? '').toLowerCase();
    this.mode = listener.tls?.mode ?? 'Terminate';
    const supported = kindsOf(this.protocol, this.mode);
    const asked = listener.allowedRoutes?.kinds ?? [];
    this.kinds = asked.length === 0 ? supported : supported.filter((kind) => asked.some((each) => isKind(each, kind)));
  }

  get port(): number {
    return this.listener.port;
  }

  get terminates(): boolean {
    return this.protocol === 'HTTPS' || (this.protocol === 'TLS' && this.mode === 'Terminate');
  }

  attach(route: Route, hostnames: readonly string[]): void {
    if (this.routes.has(route)) return;
    this.routes.add(route);
    this.attachedKinds.add(route.kind);
    this.attached.push({ route, hostnames });
  }

  set(told: Condition): void {
    this.conditions.set(told.type, told);
  }

  /** Says why nothing is served. */
  refuse(type: string, reason: string, message: string): void {
    this.usable = false;
    this.set(condition(type, false, reason, message));
  }
}

function isKind(asked: { readonly group?: string; readonly kind: string }, kind: RouteKind): boolean {
  return asked.kind === kind && (asked.group ?? GATEWAY_GROUP) === GATEWAY_GROUP;
}

/** What is asked of a listener that is not done; null: nothing. */
function unsupported({ listener, protocol, mode }: Section): string | null {
  const { tls } = listener;
  if (tls !== undefined && (protocol === 'HTTP' || protocol === 'TCP')) return `tls is not for protocol ${protocol}`;
  if (mode !== 'Terminate' && mode !== 'Passthrough') return `tls.mode ${mode}`;
  if (protocol === 'HTTPS' && mode === 'Passthrough') return 'tls.mode Passthrough with protocol HTTPS';
  const [option] = Object.keys(tls?.options ?? {});
  if (option !== undefined) return `tls.options ${option}`;
  const from = listener.allowedRoutes?.namespaces?.from ?? 'Same';
  if (!['All', 'Same', 'Selector', 'None'].includes(from)) return `allowedRoutes.namespaces.from ${from}`;
  return null;
}

/** The listeners of one gateway, judged: conflicts, kinds, certificates. */
export function sectionsOf(set: ManifestSet, gateway: Gateway): Section[] {
  const sections = gateway.spec.listeners.map((listener) => new Section(gateway, listener));
  for (const section of sections) {
    section.set(condition('Accepted', true, 'Accepted'));
    section.set(condition('Conflicted', false, 'NoConflicts'));
    section.set(condition('ResolvedRefs', true, 'ResolvedRefs'));
    if (!PROTOCOLS.includes(section.protocol)) {
      section.refuse('Accepted', 'UnsupportedProtocol', `protocol ${section.listener.protocol} is not supported`);
      continue;
    }
    const what = unsupported(section);
    if (what !== null) section.refuse('Accepted', 'UnsupportedValue', `not supported: ${what}`);
    resolveReferences(set, section);
  }
  markConflicts(sections.filter(({ protocol }) => PROTOCOLS.includes(protocol)));
  markOverlaps(sections);
  return sections;
}

/** All of those that cannot be told apart are refused, none is chosen (Gateway API, "Handling indistinct Listeners"). */
function markConflicts(sections: readonly Section[]): void {
  const conflict = (section: Section, reason: string, other: Section): void => {
    const message = `port ${section.port}: listener ${other.listener.name} cannot be told from this one`;
    section.refuse('Accepted', reason, message);
    section.set(condition('Conflicted', true, reason, message));
  };
  for (const section of sections) {
    for (const other of sections) {
      if (other === section || other.port !== section.port) continue;
      if (family(other.protocol) !== family(section.protocol)) conflict(section, 'ProtocolConflict', other);
      else if (section.protocol === 'TCP') conflict(section, 'ProtocolConflict', other);
      else if (section.hostname === other.hostname) {
        conflict(section, section.protocol === other.protocol ? 'HostnameConflict' : 'ProtocolConflict', other);
      } else continue;
      break;
    }
  }
}

/** Connections may be used again for names of other listeners: whoever runs the gateway is to know (Gateway API, OverlappingTLSConfig). */
function markOverlaps(sections: readonly Section[]): void {
  const terminating = sections.filter((section) => section.terminates);
  for (const section of terminating) {
    const other = terminating.find(
      (each) =>
        each !== section &&
        each.port === section.port &&
        (takes(each.hostname, section.hostname) || takes(section.hostname, each.hostname)),
    );
    if (other === undefined) continue;
    section.set(
      condition(
        'OverlappingTLSConfig',
        true,
        'OverlappingHostnames',
        `listener ${other.listener.name} has names in common`,
      ),
    );
  }
}

function resolveReferences(set: ManifestSet, section: Section): void {
  const asked = section.listener.allowedRoutes?.kinds ?? [];
  const stray = asked.find((each) => !section.kinds.some((kind) => isKind(each, kind)));
  if (stray !== undefined) {
    const message = `routes of kind ${stray.kind} do not fit protocol ${section.protocol}`;
    section.set(condition('ResolvedRefs', false, 'InvalidRouteKinds', message));
    if (section.kinds.length === 0) section.usable = false;
  }
  if (section.terminates) resolveCertificates(set, section);
  if (section.protocol === 'HTTPS') resolveClientValidation(set, section);
}

function resolveCertificates(set: ManifestSet, section: Section): void {
  const certificates: KeyPair[] = [];
  for (const reference of section.listener.tls?.certificateRefs ?? []) {
    const resolved = resolveKeyPair(set, section.gateway, reference, 'InvalidCertificateRef');
    if ('reason' in resolved) {
      section.refuse('ResolvedRefs', resolved.reason, resolved.message);
      return;
    }
    if (!certificates.some(({ name }) => name === resolved.name)) certificates.push(resolved);
  }
  if (certificates.length === 0) {
    section.refuse('ResolvedRefs', 'InvalidCertificateRef', 'tls.certificateRefs names no certificate');
  }
  section.certificates = certificates;
}

/** What is asked of clients of one port (Gateway API, FrontendTLSConfig). */
function validationOf({ gateway, port }: Section): FrontendValidation | null {
  const frontend = gateway.spec.tls?.frontend;
  const own = frontend?.perPort?.find((each) => each.port === port);
  return (own === undefined ? frontend?.default.validation : own.tls.validation) ?? null;
}

function resolveClientValidation(set: ManifestSet, section: Section): void {
  const validation = validationOf(section);
  if (validation === null) return;
  const mode = validation.mode ?? 'AllowValidOnly';
  if (mode !== 'AllowValidOnly' && mode !== 'AllowInsecureFallback') {
    section.refuse('Accepted', 'UnsupportedValue', `not supported: validation mode ${mode}`);
  }
  const authorities: string[] = [];
  let fault: ReferenceFault | null = null;
  for (const reference of validation.caCertificateRefs) {
    const resolved = resolveAuthorities(set, section.gateway, reference, {
      kind: 'InvalidCACertificateKind',
      malformed: 'InvalidCACertificateRef',
    });
    if (typeof resolved === 'string') authorities.push(resolved);
    else fault ??= resolved;
  }
  if (fault !== null) section.set(condition('ResolvedRefs', false, fault.reason, fault.message));
  if (authorities.length === 0) {
    section.refuse('Accepted', 'NoValidCACertificate', fault?.message ?? 'no authority is named');
  }
  section.clientValidation = { authorities: authorities.join('\n'), insecure: mode === 'AllowInsecureFallback' };
}

/** Whether clients without a good certificate come in somewhere. */
export function allowsInsecure({ spec }: Gateway): boolean {
  const frontend = spec.tls?.frontend;
  const all = [frontend?.default.validation, ...(frontend?.perPort ?? []).map(({ tls }) => tls.validation)];
  return all.some((each) => each?.mode === 'AllowInsecureFallback');
}

/** Whether routes of a namespace may attach. */
export function allowsNamespace(set: ManifestSet, section: Section, namespace: string): boolean {
  const rule = section.listener.allowedRoutes?.namespaces;
  switch (rule?.from ?? 'Same') {
    case 'All':
      return true;
    case 'Same':
      return namespace === namespaceOf(section.gateway);
    case 'Selector': {
      if (rule?.selector === undefined) return false;
      const labels = set.find('Namespace', 'default', namespace)?.metadata.labels ?? {};
      return selects(rule.selector, { ...labels, 'kubernetes.io/metadata.name': namespace });
    }
    default:
      return false;
  }
}

export function sectionName(section: Section): string {
  return `${keyOf(section.gateway)}/${section.port}/${section.listener.name}`;
}
