/**
 * What of the Gateway API is claimed, by the names of its features (sigs.k8s.io/gateway-api/pkg/features, v1.6). GatewayClasses say so in
 * their status; docs/reference/gateway-api.md says by which tests it is held.
 */
export const SUPPORTED_FEATURES = [
  'BackendTLSPolicy',
  'BackendTLSPolicySANValidation',
  'GRPCRoute',
  'GRPCRouteNamedRouteRule',
  'Gateway',
  'GatewayBackendClientCertificate',
  'GatewayFrontendClientCertificateValidation',
  'GatewayFrontendClientCertificateValidationInsecureFallback',
  'GatewayHTTPListenerIsolation',
  'GatewayHTTPSListenerDetectMisdirectedRequests',
  'GatewayPort8080',
  'HTTPRoute',
  'HTTPRoute303RedirectStatusCode',
  'HTTPRoute307RedirectStatusCode',
  'HTTPRoute308RedirectStatusCode',
  'HTTPRouteBackendProtocolH2C',
  'HTTPRouteBackendProtocolWebSocket',
  'HTTPRouteBackendRequestHeaderModification',
  'HTTPRouteBackendTimeout',
  'HTTPRouteCORS',
  'HTTPRouteDestinationPortMatching',
  'HTTPRouteHostRewrite',
  'HTTPRouteMethodMatching',
  'HTTPRouteNamedRouteRule',
  'HTTPRouteParentRefPort',
  'HTTPRoutePathRedirect',
  'HTTPRoutePathRewrite',
  'HTTPRoutePortRedirect',
  'HTTPRouteQueryParamMatching',
  'HTTPRouteRequestMirror',
  'HTTPRouteRequestMultipleMirrors',
  'HTTPRouteRequestPercentageMirror',
  'HTTPRouteRequestTimeout',
  'HTTPRouteResponseHeaderModification',
  'HTTPRouteRetry',
  'HTTPRouteRetryBackendTimeout',
  'HTTPRouteRetryConnectionError',
  'HTTPRouteSchemeRedirect',
  'ReferenceGrant',
  'TCPRoute',
  'TLSRoute',
  'TLSRouteModeMixed',
  'TLSRouteModeTerminate',
] as const;

/** Features of v1.6 that are not claimed, and what is done instead. */
export const UNSUPPORTED_FEATURES: Readonly<Record<string, string>> = {
  GatewayAddressEmpty:
    'nothing assigns addresses: an address without a value leaves the Gateway not Programmed (`AddressNotAssigned`)',
  GatewayInfrastructurePropagation:
    'no objects are made; labels and annotations stand in the metadata of the listeners (`nuncio.dev/infrastructure`)',
  GatewayStaticAddresses:
    'IP addresses of the Gateway are bound, yet whether they can be is not seen by the control plane; other types are refused (`UnsupportedAddress`)',
  ListenerSet: 'refused in its status',
  UDPRoute: 'refused in its status, as are listeners of protocol UDP',
  Mesh: 'parents of kind Service are left alone',
};
