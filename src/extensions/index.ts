import type { ExtensionFactory } from '../config/extension-registry.ts';
import { HTTP_CONNECTION_MANAGER } from './network-filters/http-connection-manager/factory.ts';

/** Every extension that Nuncio ships: an explicit list, nothing registers itself. */
export const EXTENSIONS: readonly ExtensionFactory[] = [HTTP_CONNECTION_MANAGER as ExtensionFactory];
