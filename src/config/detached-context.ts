import type { ApiRegistry } from '../api/api-registry.ts';
import { EMPTY_RUNTIME } from '../routing/runtime-fraction.ts';
import { StatsStore } from '../stats/store.ts';
import { BuildContext } from './build-context.ts';
import { ExtensionRegistry } from './extension-registry.ts';
import { AnyMessages } from './load/any-messages.ts';

/** For what is built outside of a proxy's configuration: there are no extensions, no runtime and no clusters, and nobody sees its stats. */
export function detachedContext(api: ApiRegistry): BuildContext {
  return new BuildContext({
    api,
    anys: new AnyMessages(api),
    extensions: new ExtensionRegistry([]),
    runtime: EMPTY_RUNTIME,
    errors: [],
    warnings: [],
    stats: new StatsStore().root,
    clusterNames: null,
  });
}
