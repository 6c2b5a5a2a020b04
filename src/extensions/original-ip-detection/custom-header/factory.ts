import type { Message } from '@bufbuild/protobuf';
import type { CustomHeaderConfig } from '../../../api/gen/envoy/extensions/http/original_ip_detection/custom_header/v3/custom_header_pb.d.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import { wireText } from '../../../routing/wire-text.ts';
import { CustomHeaderDetection } from './detection.ts';

const NAME = 'envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig';

function build(message: CustomHeaderConfig): CustomHeaderDetection {
  const code = message.rejectWithStatus?.code ?? 0;
  const status = message.rejectWithStatus === undefined ? 0 : code >= 400 ? code : 403;
  return new CustomHeaderDetection(
    wireText(message.headerName).toLowerCase(),
    message.allowExtensionToSetAddressAsTrusted,
    status,
  );
}

/** envoy.http.original_ip_detection.custom_header: the client's address from a header of its own. */
export const customHeaderDetection: ExtensionFactory<'original-ip-detection'> = {
  kind: 'original-ip-detection',
  name: 'envoy.http.original_ip_detection.custom_header',
  configType: NAME,
  support: [
    { message: NAME, fields: '*' },
    { message: 'envoy.type.v3.HttpStatus', fields: '*' },
  ],
  build: (message: Message) => build(message as CustomHeaderConfig),
};
