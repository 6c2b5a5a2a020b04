import type { KeyPair } from './certificates.ts';

/** A message of Envoy's API in proto3 JSON, proto field names. */
export interface Resource {
  readonly [field: string]: unknown;
}

/** What a gateway's proxies are given, by name within each type; values are whole messages. */
export class ResourceBundle {
  readonly listeners = new Map<string, Resource>();
  readonly routes = new Map<string, Resource>();
  readonly clusters = new Map<string, Resource>();
  readonly endpoints = new Map<string, Resource>();
  readonly secrets = new Map<string, Resource>();
}

export function typed(message: string, fields: Resource = {}): Resource {
  return { '@type': `type.googleapis.com/${message}`, ...fields };
}

/** Discovery over the stream that brought the resource. */
export const ADS: Resource = { ads: {}, resource_api_version: 'V3' };

/** A certificate for discovery, by the name of its Secret. */
export function secretOf({ name, certificate, key }: KeyPair): Resource {
  return {
    name,
    tls_certificate: {
      certificate_chain: { inline_string: certificate },
      private_key: { inline_string: key },
    },
  };
}
