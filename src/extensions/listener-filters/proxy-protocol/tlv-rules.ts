import type { FilterStateObject, MetadataStruct } from '../../../base/connection-state.ts';
import { sanitizedUtf8 } from '../../../base/utf8.ts';
import type { AcceptedSocket } from '../../../net/filter.ts';
import { wireText } from '../../../routing/wire-text.ts';
import type { Tlv } from './proxy-header.ts';

/** Where TLVs go unless a rule says otherwise. */
export const DEFAULT_NAMESPACE = 'envoy.filters.listener.proxy_protocol';
/** Key of the object that holds them with `tlv_location: FILTER_STATE`. */
const TLV_STATE = 'envoy.network.proxy_protocol.tlv';

export interface TlvRule {
  readonly key: string;
  readonly namespace: string;
  /** Otherwise UTF-8, bytes that are none replaced. */
  readonly base64: boolean;
}

export interface TlvRules {
  /** By type; of several rules for one the last counts (Envoy). */
  readonly byType: ReadonlyMap<number, TlvRule>;
  readonly toFilterState: boolean;
  /** What a PROXY header to an upstream may pass on; null: all. */
  readonly passed: ReadonlySet<number> | null;
}

/** The TLVs that rules asked for, by their keys. */
export class TlvState implements FilterStateObject {
  readonly values = new Map<string, string>();

  struct(): MetadataStruct {
    return Object.fromEntries(this.values);
  }

  serialize(): string {
    return wireText(JSON.stringify(this.struct()));
  }

  ipAddress(): null {
    return null;
  }

  field(name: string): string | null {
    const value = this.values.get(name);
    return value === undefined ? null : wireText(value);
  }
}

/** Carries the rules out. @returns what may be passed on, copied: the header's bytes are not held */
export function applyTlvRules(rules: TlvRules, tlvs: readonly Tlv[], socket: AcceptedSocket): Tlv[] {
  const passed: Tlv[] = [];
  let state: TlvState | null = null;
  for (const { type, value } of tlvs) {
    const rule = rules.byType.get(type);
    if (rule !== undefined) {
      const text = rule.base64 ? value.toString('base64') : sanitizedUtf8(value);
      if (rules.toFilterState) {
        state ??= new TlvState();
        state.values.set(rule.key, text);
      } else {
        const own = socket.ownState();
        // The first of a key stays.
        if (own.metadata.get(rule.namespace)?.[rule.key] === undefined) {
          own.setMetadata(rule.namespace, { [rule.key]: text });
        }
      }
    }
    if (rules.passed === null || rules.passed.has(type)) passed.push({ type, value: Buffer.from(value) });
  }
  if (state !== null) socket.ownState().objects.set(TLV_STATE, state);
  return passed;
}
