import type { Message } from '@bufbuild/protobuf';
import type {
  OnDemand,
  OnDemandCds,
  PerRouteConfig,
} from '../../../api/gen/envoy/extensions/filters/http/on_demand/v3/on_demand_pb.d.ts';
import type { BuildContext } from '../../../config/build-context.ts';
import { buildDemandSource } from '../../../config/builders/demand-source.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import { OnDemandFilter, type OnDemandSettings } from './filter.ts';

const PACKAGE = 'envoy.extensions.filters.http.on_demand.v3';

function settingsOf(message: OnDemandCds | undefined, context: BuildContext): OnDemandSettings | null {
  if (message === undefined) return { clusters: null };
  const clusters = buildDemandSource(
    context.at('odcds'),
    'source',
    message.source,
    message.resourcesLocator,
    message.timeout,
  );
  return clusters === null ? null : { clusters };
}

/** envoy.filters.http.on_demand: fetches routes and clusters that a request needs. */
export const onDemandFilter: ExtensionFactory<'http-filter'> = {
  kind: 'http-filter',
  name: 'envoy.filters.http.on_demand',
  aliases: ['envoy.on_demand'],
  configType: `${PACKAGE}.OnDemand`,
  support: [
    { message: `${PACKAGE}.OnDemand`, fields: '*' },
    { message: `${PACKAGE}.OnDemandCds`, fields: 'source timeout', refused: 'resources_locator' },
    { message: `${PACKAGE}.PerRouteConfig`, fields: '*' },
  ],
  build: (message: Message, context) => {
    const settings = settingsOf((message as OnDemand).odcds, context);
    if (settings === null) return null;
    return {
      isTerminal: false,
      createFilter: ({ environment }) => new OnDemandFilter(settings, environment),
    };
  },
  routeConfigType: `${PACKAGE}.PerRouteConfig`,
  buildRoute: (message: Message, context) => settingsOf((message as PerRouteConfig).odcds, context),
};
