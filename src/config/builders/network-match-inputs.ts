import type { Message } from '@bufbuild/protobuf';
import type {
  DynamicMetadataInput,
  FilterStateInput,
} from '../../api/gen/envoy/extensions/matching/common_inputs/network/v3/network_inputs_pb.d.ts';
import type { Address } from '../../net/address.ts';
import { isSameIpOrLoopback, type NetworkMatchData } from '../../net/network-match-data.ts';
import type { MatchInput } from '../../routing/unified-matcher.ts';
import { metadataAt } from '../../routing/value-matcher.ts';
import { wireText } from '../../routing/wire-text.ts';
import type { FieldSupport } from '../extension-registry.ts';

const PACKAGE = 'envoy.extensions.matching.common_inputs.network.v3';

export const NETWORK_INPUT_SUPPORT: readonly FieldSupport[] = [
  'DestinationIPInput',
  'DestinationPortInput',
  'SourceIPInput',
  'SourcePortInput',
  'DirectSourceIPInput',
  'SourceTypeInput',
  'ServerNameInput',
  'TransportProtocolInput',
  'ApplicationProtocolInput',
  'FilterStateInput',
  'DynamicMetadataInput',
  'DynamicMetadataInput.PathSegment',
].map((name) => ({ message: `${PACKAGE}.${name}`, fields: name === 'FilterStateInput' ? 'key field' : '*' }));

const ipOf = (address: Address): string | null => (address.kind === 'ip' ? address.ip : null);
const portOf = (address: Address): string | null => (address.kind === 'ip' ? String(address.port) : null);
const orNull = (text: string): string | null => (text === '' ? null : text);
const text = (get: (data: NetworkMatchData) => string | null): MatchInput<NetworkMatchData> => ({ type: 'text', get });

const SIMPLE: Readonly<Record<string, MatchInput<NetworkMatchData>>> = {
  DestinationIPInput: text((data) => ipOf(data.localAddress)),
  DestinationPortInput: text((data) => portOf(data.localAddress)),
  SourceIPInput: text((data) => ipOf(data.remoteAddress)),
  SourcePortInput: text((data) => portOf(data.remoteAddress)),
  DirectSourceIPInput: text((data) => ipOf(data.directRemoteAddress)),
  SourceTypeInput: text((data) => (isSameIpOrLoopback(data.remoteAddress, data.localAddress) ? 'local' : null)),
  ServerNameInput: text((data) => orNull(data.requestedServerName)),
  TransportProtocolInput: text((data) => orNull(data.detectedTransportProtocol)),
  // All of them, in quotes: a matcher may look for one.
  ApplicationProtocolInput: text(({ applicationProtocols: names }) =>
    names.length === 0 ? null : `'${names.join("','")}'`,
  ),
};

/**
 * An input that reads a connection. Source: Envoy, source/common/network/matching/inputs.
 * @returns null when it is none of them
 */
export function buildNetworkInput(config: Message): MatchInput<NetworkMatchData> | null {
  const type: string = config.$typeName;
  if (!type.startsWith(`${PACKAGE}.`)) return null;
  const name = type.slice(PACKAGE.length + 1);
  if (name === 'FilterStateInput') {
    const message = config as FilterStateInput;
    const { field } = message;
    const key = wireText(message.key);
    return text((data) => {
      const object = data.state?.objects.get(key);
      if (object === undefined) return null;
      return field === '' ? object.serialize() : (object.field?.(field) ?? null);
    });
  }
  if (name === 'DynamicMetadataInput') {
    const message = config as DynamicMetadataInput;
    const path = message.path.map((step) => (step.segment.case === 'key' ? step.segment.value : ''));
    return {
      type: 'metadata',
      get: (data) => metadataAt(data.state?.metadata.get(message.filter), path) ?? null,
    };
  }
  return SIMPLE[name] ?? null;
}
