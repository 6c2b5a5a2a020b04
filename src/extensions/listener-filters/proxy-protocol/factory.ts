import type { Message } from '@bufbuild/protobuf';
import type { ProxyProtocol } from '../../../api/gen/envoy/extensions/filters/listener/proxy_protocol/v3/proxy_protocol_pb.d.ts';
import type { BuildContext } from '../../../config/build-context.ts';
import type { ListenerFilterMaker } from '../../../config/builders/listener-filters.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import { ProxyProtocolFilter, type ProxyProtocolSettings, type VersionStats } from './filter.ts';
import { DEFAULT_NAMESPACE, type TlvRule, type TlvRules } from './tlv-rules.ts';

const NAME = 'envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol';
/** Of envoy.config.core.v3.ProxyProtocolConfig.Version. */
const V1 = 0;
const V2 = 1;
/** Of ProxyProtocolPassThroughTLVs.PassTLVsMatchType, KeyValuePair.ValueStringEncoding, TlvLocation. */
const INCLUDE = 1;
const BASE64 = 2;
const FILTER_STATE = 1;

function tlvRules(config: ProxyProtocol): TlvRules {
  const { passThroughTlvs } = config;
  const byType = new Map<number, TlvRule>();
  for (const { tlvType, onTlvPresent } of config.rules) {
    if (onTlvPresent === undefined) continue;
    const { key, metadataNamespace, valueStringEncoding } = onTlvPresent;
    byType.set(tlvType & 0xff, {
      key,
      namespace: metadataNamespace === '' ? DEFAULT_NAMESPACE : metadataNamespace,
      base64: valueStringEncoding === BASE64,
    });
  }
  const types = new Set<number>();
  if (passThroughTlvs?.matchType === INCLUDE) for (const type of passThroughTlvs.tlvType) types.add(type & 0xff);
  return {
    byType,
    toFilterState: config.tlvLocation === FILTER_STATE,
    passed: passThroughTlvs !== undefined && passThroughTlvs.matchType !== INCLUDE ? null : types,
  };
}

function build(config: ProxyProtocol, context: BuildContext): ListenerFilterMaker | null {
  const allowV1 = !config.disallowedVersions.includes(V1);
  const allowV2 = !config.disallowedVersions.includes(V2);
  if (!allowV1 && !allowV2) {
    context.refuse(
      'disallowed_versions',
      'Proxy Protocol filter is misconfigured: all proxy protocol versions are disallowed.',
    );
    return null;
  }
  const { stats } = context.shared;
  const prefix = config.statPrefix === '' ? 'proxy_proto' : `proxy_proto.${config.statPrefix}`;
  const versionStats = (version: string): VersionStats => ({
    found: stats.counter(`${prefix}.versions.${version}.found`),
    disallowed: stats.counter(`${prefix}.versions.${version}.disallowed`),
    error: stats.counter(`${prefix}.versions.${version}.error`),
  });
  const settings: ProxyProtocolSettings = {
    tlvRules: tlvRules(config),
    rules: { optional: config.allowRequestsWithoutProxyProtocol, allowV1, allowV2 },
    legacyError: stats.counter('downstream_cx_proxy_proto_error'),
    notFoundAllowed: stats.counter(`${prefix}.not_found_allowed`),
    notFoundDisallowed: stats.counter(`${prefix}.not_found_disallowed`),
    v1: versionStats('v1'),
    v2: versionStats('v2'),
  };
  return () => ({ createFilter: () => new ProxyProtocolFilter(settings) });
}

/** Source: envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol. */
export const proxyProtocolFilter: ExtensionFactory<'listener-filter'> = {
  kind: 'listener-filter',
  name: 'envoy.filters.listener.proxy_protocol',
  aliases: ['envoy.listener.proxy_protocol'],
  configType: NAME,
  support: [
    { message: NAME, fields: '*' },
    { message: `${NAME}.Rule`, fields: '*' },
    { message: `${NAME}.KeyValuePair`, fields: '*' },
    { message: 'envoy.config.core.v3.ProxyProtocolPassThroughTLVs', fields: '*' },
  ],
  build: (config: Message, context) => build(config as ProxyProtocol, context),
};
