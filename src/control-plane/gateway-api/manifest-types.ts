/**
 * What is read of Kubernetes objects: the Gateway API (v1, and the v1alpha kinds where they are the only ones), Services and what they
 * name. Fields that have no meaning here are not listed. Source: sigs.k8s.io/gateway-api.
 */
export interface ObjectMeta {
  readonly name: string;
  readonly namespace?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  /** RFC 3339; older routes win where two say the same. */
  readonly creationTimestamp?: string;
  readonly generation?: number;
}

export interface Manifest<Kind extends string = string, Spec = unknown> {
  readonly apiVersion: string;
  readonly kind: Kind;
  readonly metadata: ObjectMeta;
  readonly spec: Spec;
}

export interface GatewayClassSpec {
  readonly controllerName: string;
  readonly parametersRef?: { readonly kind: string; readonly name: string };
}

export interface LabelSelector {
  readonly matchLabels?: Readonly<Record<string, string>>;
  readonly matchExpressions?: readonly {
    readonly key: string;
    readonly operator: string;
    readonly values?: readonly string[];
  }[];
}

export interface ObjectReference {
  readonly group?: string;
  readonly kind?: string;
  readonly name: string;
  readonly namespace?: string;
}

export interface GatewayListener {
  readonly name: string;
  readonly hostname?: string;
  readonly port: number;
  /** `HTTP`, `HTTPS`, `TLS`, `TCP` in any case; others are refused. */
  readonly protocol: string;
  readonly tls?: {
    readonly mode?: string;
    readonly certificateRefs?: readonly ObjectReference[];
    readonly options?: Readonly<Record<string, string>>;
  };
  readonly allowedRoutes?: {
    readonly namespaces?: { readonly from?: string; readonly selector?: LabelSelector };
    readonly kinds?: readonly { readonly group?: string; readonly kind: string }[];
  };
}

/** How certificates of clients are checked. */
export interface FrontendValidation {
  readonly caCertificateRefs: readonly ObjectReference[];
  readonly mode?: string;
}

export interface GatewaySpec {
  readonly gatewayClassName: string;
  readonly listeners: readonly GatewayListener[];
  readonly addresses?: readonly { readonly type?: string; readonly value?: string }[];
  readonly infrastructure?: {
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly parametersRef?: { readonly kind: string; readonly name: string };
  };
  readonly tls?: {
    readonly backend?: { readonly clientCertificateRef?: ObjectReference };
    readonly frontend?: {
      readonly default: { readonly validation?: FrontendValidation };
      readonly perPort?: readonly {
        readonly port: number;
        readonly tls: { readonly validation?: FrontendValidation };
      }[];
    };
  };
}

export interface ParentReference extends ObjectReference {
  readonly sectionName?: string;
  readonly port?: number;
}

export interface BackendReference extends ObjectReference {
  readonly port?: number;
  readonly weight?: number;
  readonly filters?: readonly HttpRouteFilter[];
}

export interface HeaderMatch {
  /** `Exact` or `RegularExpression`; others are told in the status, as is said of every enumeration below. */
  readonly type?: string;
  readonly name: string;
  readonly value: string;
}

export interface HttpRouteMatch {
  readonly path?: { readonly type?: string; readonly value?: string };
  readonly headers?: readonly HeaderMatch[];
  readonly queryParams?: readonly HeaderMatch[];
  readonly method?: string;
}

export interface HeaderModifier {
  readonly set?: readonly { readonly name: string; readonly value: string }[];
  readonly add?: readonly { readonly name: string; readonly value: string }[];
  readonly remove?: readonly string[];
}

export interface PathModifier {
  readonly type: string;
  readonly replaceFullPath?: string;
  readonly replacePrefixMatch?: string;
}

export interface HttpRouteFilter {
  readonly type: string;
  readonly requestHeaderModifier?: HeaderModifier;
  readonly responseHeaderModifier?: HeaderModifier;
  readonly requestMirror?: {
    readonly backendRef: BackendReference;
    readonly percent?: number;
    readonly fraction?: { readonly numerator: number; readonly denominator?: number };
  };
  readonly requestRedirect?: {
    readonly scheme?: string;
    readonly hostname?: string;
    readonly path?: PathModifier;
    readonly port?: number;
    readonly statusCode?: number;
  };
  readonly urlRewrite?: { readonly hostname?: string; readonly path?: PathModifier };
  readonly cors?: CorsFilter;
}

export interface CorsFilter {
  readonly allowOrigins?: readonly string[];
  readonly allowCredentials?: boolean;
  readonly allowMethods?: readonly string[];
  readonly allowHeaders?: readonly string[];
  readonly exposeHeaders?: readonly string[];
  /** Seconds. */
  readonly maxAge?: number;
}

export interface HttpRouteRule {
  readonly name?: string;
  readonly matches?: readonly HttpRouteMatch[];
  readonly filters?: readonly HttpRouteFilter[];
  readonly backendRefs?: readonly BackendReference[];
  readonly timeouts?: { readonly request?: string; readonly backendRequest?: string };
  readonly retry?: { readonly codes?: readonly number[]; readonly attempts?: number; readonly backoff?: string };
  readonly sessionPersistence?: unknown;
}

/** What every kind of route has. */
export interface RouteSpec {
  readonly parentRefs?: readonly ParentReference[];
  readonly hostnames?: readonly string[];
}

export interface HttpRouteSpec extends RouteSpec {
  readonly rules?: readonly HttpRouteRule[];
}

export interface GrpcRouteRule {
  readonly name?: string;
  readonly matches?: readonly {
    readonly method?: {
      readonly type?: string;
      readonly service?: string;
      readonly method?: string;
    };
    readonly headers?: readonly HeaderMatch[];
  }[];
  readonly filters?: readonly HttpRouteFilter[];
  readonly backendRefs?: readonly BackendReference[];
  readonly sessionPersistence?: unknown;
}

export interface GrpcRouteSpec extends RouteSpec {
  readonly rules?: readonly GrpcRouteRule[];
}

/** TLSRoute and TCPRoute. */
export interface StreamRouteSpec extends RouteSpec {
  readonly rules?: readonly { readonly name?: string; readonly backendRefs?: readonly BackendReference[] }[];
}

export interface ReferenceGrantSpec {
  readonly from: readonly { readonly group: string; readonly kind: string; readonly namespace: string }[];
  readonly to: readonly { readonly group: string; readonly kind: string; readonly name?: string }[];
}

export interface BackendTlsPolicySpec {
  readonly targetRefs: readonly (ObjectReference & { readonly sectionName?: string })[];
  readonly validation: {
    readonly caCertificateRefs?: readonly ObjectReference[];
    readonly wellKnownCACertificates?: string;
    readonly hostname: string;
    readonly subjectAltNames?: readonly {
      readonly type: string;
      readonly hostname?: string;
      readonly uri?: string;
    }[];
  };
  readonly options?: Readonly<Record<string, string>>;
}

export interface ServiceSpec {
  readonly type?: string;
  readonly ports?: readonly {
    readonly name?: string;
    readonly port: number;
    readonly targetPort?: number | string;
    readonly appProtocol?: string;
    readonly protocol?: string;
  }[];
}

export interface EndpointSlice extends Manifest<'EndpointSlice'> {
  readonly addressType?: string;
  readonly endpoints?: readonly {
    readonly addresses: readonly string[];
    readonly conditions?: { readonly ready?: boolean; readonly serving?: boolean; readonly terminating?: boolean };
    readonly zone?: string;
  }[];
  readonly ports?: readonly { readonly name?: string; readonly port?: number; readonly protocol?: string }[];
}

export interface Secret extends Manifest<'Secret'> {
  readonly type?: string;
  /** Base64. */
  readonly data?: Readonly<Record<string, string>>;
  readonly stringData?: Readonly<Record<string, string>>;
}

export interface ConfigMap extends Manifest<'ConfigMap'> {
  readonly data?: Readonly<Record<string, string>>;
}

export type GatewayClass = Manifest<'GatewayClass', GatewayClassSpec>;
export type Gateway = Manifest<'Gateway', GatewaySpec>;
export type HttpRoute = Manifest<'HTTPRoute', HttpRouteSpec>;
export type GrpcRoute = Manifest<'GRPCRoute', GrpcRouteSpec>;
export type TlsRoute = Manifest<'TLSRoute', StreamRouteSpec>;
export type TcpRoute = Manifest<'TCPRoute', StreamRouteSpec>;
export type Route = HttpRoute | GrpcRoute | TlsRoute | TcpRoute;
export type RouteKind = Route['kind'];
export type ReferenceGrant = Manifest<'ReferenceGrant', ReferenceGrantSpec>;
export type BackendTlsPolicy = Manifest<'BackendTLSPolicy', BackendTlsPolicySpec>;
export type Service = Manifest<'Service', ServiceSpec>;
export type Namespace = Manifest<'Namespace'>;

export const GATEWAY_GROUP = 'gateway.networking.k8s.io';
/** Group of the Gateway API's experiments. */
export const EXPERIMENTS_GROUP = 'gateway.networking.x-k8s.io';
