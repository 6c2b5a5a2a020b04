import type { FilterStateObject, MetadataStruct, StreamView, TlsView } from '../../src/routing/stream-view.ts';

/** A stream about which tests say what they need. */
export class StubStreamView implements StreamView {
  stableRandom = 0;
  downstreamTls: TlsView | null = null;
  downstreamRemoteIp: string | null = '127.0.0.1';
  readonly metadata = new Map<string, MetadataStruct>();
  readonly state = new Map<string, FilterStateObject>();

  dynamicMetadata(namespace: string): MetadataStruct | null {
    return this.metadata.get(namespace) ?? null;
  }

  filterState(key: string): FilterStateObject | null {
    return this.state.get(key) ?? null;
  }
}
