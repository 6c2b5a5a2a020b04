import type { Message } from '@bufbuild/protobuf';
import type { TlsInspector } from '../../../api/gen/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector_pb.d.ts';
import type { BuildContext } from '../../../config/build-context.ts';
import type { ListenerFilterMaker } from '../../../config/builders/listener-filters.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import { HistogramUnit } from '../../../stats/histogram.ts';
import { TlsInspectorFilter, type TlsInspectorSettings } from './filter.ts';

const NAME = 'envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector';
/** Source: Envoy, TLS_MAX_CLIENT_HELLO. */
const MAX_HELLO_BYTES = 16 * 1024;

function build(config: TlsInspector, context: BuildContext): ListenerFilterMaker | null {
  const maxHelloBytes = config.maxClientHelloSize ?? MAX_HELLO_BYTES;
  if (maxHelloBytes > MAX_HELLO_BYTES) {
    context.refuse(
      'max_client_hello_size',
      `max_client_hello_size of ${maxHelloBytes} is greater than maximum of ${MAX_HELLO_BYTES}.`,
    );
    return null;
  }
  // Not of the listener: all inspectors of the process count together.
  const { stats } = context.shared;
  const settings: TlsInspectorSettings = {
    stats: {
      client_hello_too_large: stats.counter('tls_inspector.client_hello_too_large'),
      tls_found: stats.counter('tls_inspector.tls_found'),
      tls_not_found: stats.counter('tls_inspector.tls_not_found'),
      alpn_found: stats.counter('tls_inspector.alpn_found'),
      alpn_not_found: stats.counter('tls_inspector.alpn_not_found'),
      sni_found: stats.counter('tls_inspector.sni_found'),
      sni_not_found: stats.counter('tls_inspector.sni_not_found'),
      bytes_processed: stats.histogram('tls_inspector.bytes_processed', HistogramUnit.Bytes),
    },
    ja3: config.enableJa3Fingerprinting ?? false,
    ja4: config.enableJa4Fingerprinting ?? false,
    closeOnErrors: config.closeConnectionOnClientHelloParsingErrors,
    maxHelloBytes,
    initialBytes: Math.min(config.initialReadBufferSize ?? maxHelloBytes, maxHelloBytes),
  };
  return () => ({ createFilter: () => new TlsInspectorFilter(settings) });
}

/** Source: envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector. */
export const tlsInspectorFilter: ExtensionFactory<'listener-filter'> = {
  kind: 'listener-filter',
  name: 'envoy.filters.listener.tls_inspector',
  aliases: ['envoy.listener.tls_inspector'],
  configType: NAME,
  support: [{ message: NAME, fields: '*' }],
  build: (config: Message, context) => build(config as TlsInspector, context),
};
