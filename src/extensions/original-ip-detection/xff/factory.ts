import type { Message } from '@bufbuild/protobuf';
import type { XffConfig } from '../../../api/gen/envoy/extensions/http/original_ip_detection/xff/v3/xff_pb.d.ts';
import type { BuildContext } from '../../../config/build-context.ts';
import { buildCidrMatcher } from '../../../config/builders/cidr-ranges.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import type { IpDetection } from '../../../pipeline/connection-manager-config.ts';
import { XffByHops, XffByTrustedProxies } from './detection.ts';

const PACKAGE = 'envoy.extensions.http.original_ip_detection.xff.v3';

function build(message: XffConfig, context: BuildContext): IpDetection | null {
  const skipAppend = message.skipXffAppend ?? true;
  const trusted = message.xffTrustedCidrs;
  if (trusted === undefined) return new XffByHops(message.xffNumTrustedHops, skipAppend);
  if (message.xffNumTrustedHops > 0) {
    context.refuse('xff_trusted_cidrs', 'Cannot set both xff_num_trusted_hops and xff_trusted_cidrs');
    return null;
  }
  if (trusted.cidrs.length === 0) return new XffByHops(0, skipAppend);
  const before = context.errorCount;
  const isTrusted = buildCidrMatcher(context, 'xff_trusted_cidrs.cidrs', trusted.cidrs);
  return context.errorCount > before ? null : new XffByTrustedProxies(isTrusted, skipAppend);
}

/** envoy.http.original_ip_detection.xff: the client's address from x-forwarded-for. */
export const xffDetection: ExtensionFactory<'original-ip-detection'> = {
  kind: 'original-ip-detection',
  name: 'envoy.http.original_ip_detection.xff',
  configType: `${PACKAGE}.XffConfig`,
  support: [
    { message: `${PACKAGE}.XffConfig`, fields: '*' },
    { message: `${PACKAGE}.XffTrustedCidrs`, fields: '*' },
    { message: 'envoy.config.core.v3.CidrRange', fields: '*' },
  ],
  build: (message: Message, context) => build(message as XffConfig, context),
};
