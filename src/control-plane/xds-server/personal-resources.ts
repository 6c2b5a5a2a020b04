import type { SnapshotResource } from './snapshot.ts';

/** What one client gets beside its group's snapshot, and nobody else: by name alone, never by a wildcard. */
export interface PersonalResources {
  get(typeUrl: string, name: string): SnapshotResource | null;
  /** The client is gone. */
  close(): void;
}
