import type { FilterStateObject, MetadataStruct } from '../../../routing/stream-view.ts';

/** What `emit_filter_state` leaves for access logs. Source: envoy.extensions.filters.http.grpc_stats.v3.FilterObject. */
export class GrpcStatsState implements FilterStateObject {
  requestMessages = 0;
  responseMessages = 0;

  serialize(): string {
    return `${this.requestMessages},${this.responseMessages}`;
  }

  ipAddress(): null {
    return null;
  }

  /** 64-bit numbers are strings in JSON, and those that are zero are left out. */
  struct(): MetadataStruct {
    const fields: Record<string, string> = {};
    if (this.requestMessages > 0) fields.requestMessageCount = String(this.requestMessages);
    if (this.responseMessages > 0) fields.responseMessageCount = String(this.responseMessages);
    return fields;
  }
}
