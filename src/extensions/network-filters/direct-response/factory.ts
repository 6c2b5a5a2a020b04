import { readFileSync } from 'node:fs';
import type { Message } from '@bufbuild/protobuf';
import type { Config } from '../../../api/gen/envoy/extensions/filters/network/direct_response/v3/config_pb.d.ts';
import { ByteBuffer } from '../../../base/byte-buffer.ts';
import type { BuildContext } from '../../../config/build-context.ts';
import { readDataSource } from '../../../config/builders/data-source.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import { CloseType } from '../../../net/connection.ts';
import { FilterStatus, NetworkFilter, type NetworkFilterBuilder } from '../../../net/filter.ts';
import type { ConnectionContext } from '../../../pipeline/environment.ts';

/** Says one thing to every connection, and closes it. */
class DirectResponse extends NetworkFilter {
  readonly #response: Buffer;

  constructor(response: Buffer) {
    super();
    this.#response = response;
  }

  override onNewConnection(): FilterStatus {
    const { connection } = this.callbacks;
    if (this.#response.length > 0) connection.write(ByteBuffer.from(this.#response), false);
    connection.responseCodeDetails = 'direct_response';
    connection.close(CloseType.FlushWrite);
    return FilterStatus.Stop;
  }

  override onRead(data: ByteBuffer): FilterStatus {
    data.clear();
    return FilterStatus.Stop;
  }
}

function readResponse(config: Config, context: BuildContext): Buffer | null {
  const specifier = config.response?.specifier;
  if (config.response === undefined || specifier === undefined) return Buffer.alloc(0);
  // Bytes stay bytes: they need not be UTF-8.
  if (specifier.case === 'inlineBytes') return Buffer.from(specifier.value);
  if (specifier.case === 'filename') {
    try {
      return readFileSync(specifier.value);
    } catch (error) {
      context.refuse('response.filename', `Invalid path: ${specifier.value}`, (error as Error).message);
      return null;
    }
  }
  const text = readDataSource(context, 'response', config.response);
  return text === null ? null : Buffer.from(text, 'utf8');
}

function build(config: Config, context: BuildContext): NetworkFilterBuilder<ConnectionContext> | null {
  const response = readResponse(config, context);
  return response === null ? null : { isTerminal: true, createFilter: () => new DirectResponse(response) };
}

/** Source: envoy.extensions.filters.network.direct_response.v3.Config. */
export const directResponseFilter: ExtensionFactory<'network-filter'> = {
  kind: 'network-filter',
  name: 'envoy.filters.network.direct_response',
  configType: 'envoy.extensions.filters.network.direct_response.v3.Config',
  support: [
    { message: 'envoy.extensions.filters.network.direct_response.v3.Config', fields: '*' },
    { message: 'envoy.config.core.v3.DataSource', fields: 'filename inline_bytes inline_string environment_variable' },
  ],
  build: (config: Message, context) => build(config as Config, context),
};
