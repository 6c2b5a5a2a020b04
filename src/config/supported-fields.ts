import { ADDRESS_SUPPORT } from './builders/addresses.ts';
import { BOOTSTRAP_SUPPORT } from './builders/bootstrap.ts';
import { HTTP1_SUPPORT } from './builders/http1-options.ts';
import { LISTENER_SUPPORT } from './builders/listener.ts';
import type { ExtensionRegistry, FieldSupport } from './extension-registry.ts';
import { FieldSupportTable } from './field-support.ts';

/** What the builders of `config/builders/` obey. Extensions bring their own lists. */
const BUILDERS: readonly (readonly FieldSupport[])[] = [
  ADDRESS_SUPPORT,
  BOOTSTRAP_SUPPORT,
  HTTP1_SUPPORT,
  LISTENER_SUPPORT,
];

/** Every field that Nuncio obeys. */
export function supportedFields(extensions: ExtensionRegistry): FieldSupportTable {
  return new FieldSupportTable([...BUILDERS, ...extensions.all().map((factory) => factory.support)]);
}
