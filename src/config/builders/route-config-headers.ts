import type { HeaderValueOption } from '../../api/gen/envoy/config/core/v3/base_pb.d.ts';
import type {
  Route,
  VirtualHost,
  WeightedCluster_ClusterWeight,
} from '../../api/gen/envoy/config/route/v3/route_components_pb.d.ts';
import type { RouteConfiguration } from '../../api/gen/envoy/config/route/v3/route_pb.d.ts';
import type { CommandParser } from '../../pipeline/format/format-parser.ts';
import {
  AppendAction as Action,
  type AppendAction,
  HeaderMutation,
  HeaderMutations,
} from '../../routing/header-mutation.ts';
import { wireText } from '../../routing/wire-text.ts';
import type { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';
import { buildHeaderValue } from './format.ts';

/** What the builders of this file obey. */
export const HEADER_MUTATION_SUPPORT: readonly FieldSupport[] = [
  { message: 'envoy.config.core.v3.HeaderValueOption', fields: '*' },
  { message: 'envoy.config.core.v3.HeaderValue', fields: '*' },
];

/** One header to add. @returns null when it was refused at `field` */
export function buildHeaderMutation(
  context: BuildContext,
  field: string,
  message: HeaderValueOption,
  formatters: readonly CommandParser[] = [],
): HeaderMutation | null {
  const header = message.header;
  if (header === undefined || header.key === '') {
    context.refuse(`${field}.header`, 'a header with a key is missing');
    return null;
  }
  const name = wireText(header.key).toLowerCase();
  if (name.startsWith(':') || name === 'host') {
    context.refuse(
      `${field}.header.key`,
      ':-prefixed or host headers may not be modified',
      'use the rewrites of the route for path and host',
    );
    return null;
  }
  let action: AppendAction = message.appendAction as AppendAction;
  if (message.append !== undefined) {
    if (action !== Action.AppendIfExistsOrAdd) {
      context.refuse(`${field}.append`, "Both append and append_action are set and it's not allowed");
      return null;
    }
    action = message.append ? Action.AppendIfExistsOrAdd : Action.OverwriteIfExistsOrAdd;
  }
  const value = buildHeaderValue(context, `${field}.header`, header, formatters);
  return value === null ? null : new HeaderMutation(name, value, action, message.keepEmptyValue);
}

/** The mutations of one level. What is wrong is reported and left out. */
export function buildMutations(
  context: BuildContext,
  level: RouteConfiguration | VirtualHost | Route | WeightedCluster_ClusterWeight,
): { readonly requestMutations: HeaderMutations; readonly responseMutations: HeaderMutations } {
  return {
    requestMutations: buildHalf(context, 'request', level.requestHeadersToAdd, level.requestHeadersToRemove),
    responseMutations: buildHalf(context, 'response', level.responseHeadersToAdd, level.responseHeadersToRemove),
  };
}

function buildHalf(
  context: BuildContext,
  prefix: 'request' | 'response',
  toAdd: readonly HeaderValueOption[],
  toRemove: readonly string[],
): HeaderMutations {
  if (toAdd.length === 0 && toRemove.length === 0) return HeaderMutations.NONE;
  const removals: string[] = [];
  toRemove.forEach((header, i) => {
    const name = wireText(header).toLowerCase();
    if (name.startsWith(':') || name === 'host') {
      context.refuse(`${prefix}_headers_to_remove[${i}]`, ':-prefixed or host headers may not be removed');
    } else {
      removals.push(name);
    }
  });
  const additions = toAdd
    .map((each, i) => buildHeaderMutation(context, `${prefix}_headers_to_add[${i}]`, each))
    .filter((each) => each !== null);
  return new HeaderMutations(removals, additions);
}
