import type { DnsFamily } from '../../upstream/dns-spec.ts';

export interface DnsAddress {
  readonly ip: string;
  /** Seconds; 0: unknown (hosts file, literal address). */
  readonly ttlSeconds: number;
}

/** What a lookup came to. A name that does not exist, or has no address of the family, is completed and empty (as Envoy). */
export type DnsAnswer =
  | { readonly completed: true; readonly addresses: readonly DnsAddress[] }
  | { readonly completed: false; readonly reason: string };

/** Turns names into addresses. Never rejects. */
export interface DnsResolver {
  resolve(name: string, family: DnsFamily): Promise<DnsAnswer>;
}
