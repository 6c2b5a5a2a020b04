import { ACCESS_LOG_SUPPORT } from './builders/access-log.ts';
import { ADDRESS_SUPPORT } from './builders/addresses.ts';
import { LOCALITY_LB_SUPPORT } from './builders/balancers.ts';
import { BOOTSTRAP_SUPPORT } from './builders/bootstrap.ts';
import { CLUSTER_SUPPORT } from './builders/cluster.ts';
import { DNS_SUPPORT } from './builders/cluster-dns.ts';
import { ENDPOINT_SUPPORT } from './builders/cluster-endpoints.ts';
import { PROTOCOL_OPTIONS_SUPPORT } from './builders/cluster-protocol-options.ts';
import { FORMAT_SUPPORT } from './builders/format.ts';
import { HTTP1_SUPPORT } from './builders/http1-options.ts';
import { LISTENER_SUPPORT } from './builders/listener.ts';
import { LOCAL_REPLY_SUPPORT } from './builders/local-reply.ts';
import { ROUTE_CONFIG_SUPPORT } from './builders/route-config.ts';
import { HEADER_MUTATION_SUPPORT } from './builders/route-config-headers.ts';
import { MATCHER_SUPPORT } from './builders/route-config-matchers.ts';
import { ROUTE_POLICY_SUPPORT } from './builders/route-config-policies.ts';
import type { ExtensionRegistry, FieldSupport } from './extension-registry.ts';
import { FieldSupportTable } from './field-support.ts';

/** What the builders of `config/builders/` obey. Extensions bring their own lists. */
const BUILDERS: readonly (readonly FieldSupport[])[] = [
  ACCESS_LOG_SUPPORT,
  ADDRESS_SUPPORT,
  BOOTSTRAP_SUPPORT,
  CLUSTER_SUPPORT,
  DNS_SUPPORT,
  ENDPOINT_SUPPORT,
  FORMAT_SUPPORT,
  HEADER_MUTATION_SUPPORT,
  HTTP1_SUPPORT,
  LISTENER_SUPPORT,
  LOCALITY_LB_SUPPORT,
  LOCAL_REPLY_SUPPORT,
  MATCHER_SUPPORT,
  PROTOCOL_OPTIONS_SUPPORT,
  ROUTE_CONFIG_SUPPORT,
  ROUTE_POLICY_SUPPORT,
];

/** Every field that Nuncio obeys. */
export function supportedFields(extensions: ExtensionRegistry): FieldSupportTable {
  return new FieldSupportTable([...BUILDERS, ...extensions.all().map((factory) => factory.support)]);
}
