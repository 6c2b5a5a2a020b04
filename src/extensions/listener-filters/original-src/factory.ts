import type { Message } from '@bufbuild/protobuf';
import type { OriginalSrc } from '../../../api/gen/envoy/extensions/filters/listener/original_src/v3/original_src_pb.d.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import { type AcceptedSocket, ListenerFilter, PeekStatus } from '../../../net/filter.ts';
import { UPSTREAM_SOURCE_STATE, UpstreamSource } from '../../../net/upstream-source.ts';

const NAME = 'envoy.extensions.filters.listener.original_src.v3.OriginalSrc';

/** Has connections to upstreams come from the client's address. Stateless: one for all connections. */
class OriginalSrcFilter extends ListenerFilter {
  readonly maxPeekBytes = 0;
  readonly #mark: number;

  constructor(mark: number) {
    super();
    this.#mark = mark;
  }

  override onAccept(socket: AcceptedSocket): PeekStatus {
    const client = socket.remoteAddress;
    if (client.kind === 'ip') {
      socket.ownState().objects.set(UPSTREAM_SOURCE_STATE, new UpstreamSource(client, this.#mark));
    }
    return PeekStatus.Continue;
  }
}

/** Source: envoy.extensions.filters.listener.original_src.v3.OriginalSrc. */
export const originalSrcFilter: ExtensionFactory<'listener-filter'> = {
  kind: 'listener-filter',
  name: 'envoy.filters.listener.original_src',
  aliases: ['envoy.listener.original_src'],
  configType: NAME,
  // Envoy does not carry bind_port out either: the port is always another one.
  support: [{ message: NAME, fields: 'mark', inert: 'bind_port' }],
  build: (config: Message) => {
    const filter = new OriginalSrcFilter((config as OriginalSrc).mark);
    return () => ({ createFilter: () => filter });
  },
};
