import type { ApiRegistry } from '../../api/api-registry.ts';
import type { Node } from '../../api/gen/envoy/config/core/v3/base_pb.d.ts';
import type { NodeMatcher } from '../../api/gen/envoy/type/matcher/v3/node_pb.d.ts';
import { err, ok, type Result } from '../../base/result.ts';
import type { MetadataStruct } from '../../routing/stream-view.ts';
import { matchesValue, metadataAt } from '../../routing/value-matcher.ts';
import type { BuildContext } from '../build-context.ts';
import { detachedContext } from '../detached-context.ts';
import { buildStringMatcher, buildValueMatcher } from './route-config-matchers.ts';

/**
 * Whether one of some matchers fits a node; without matchers all do. Source: envoy.type.matcher.v3.NodeMatcher.
 * @returns what is wrong with them
 */
export function buildNodeMatchers(
  api: ApiRegistry,
  matchers: readonly NodeMatcher[],
): Result<(node: Node) => boolean, string> {
  const context = detachedContext(api);
  const built = matchers.map((matcher, index) => buildOne(context, `node_matchers[${index}]`, matcher));
  const { errors } = context.shared;
  if (errors.length > 0) return err(errors.map(({ path, reason }) => `${path}: ${reason}`).join('; '));
  return ok((node) => built.length === 0 || built.some((fits) => fits(node)));
}

/** All that one matcher says must hold. */
function buildOne(context: BuildContext, field: string, { nodeId, nodeMetadatas }: NodeMatcher) {
  const id = nodeId === undefined ? null : buildStringMatcher(context, `${field}.node_id`, nodeId);
  const values = nodeMetadatas.map(({ path, value }, index) => {
    const at = `${field}.node_metadatas[${index}].value`;
    if (value === undefined) context.refuse(at, 'value is required');
    return {
      path: path.map(({ segment }) => segment.value ?? ''),
      matcher: value === undefined ? null : buildValueMatcher(context, at, value),
    };
  });
  return (node: Node): boolean => {
    if (id !== null && !id.matches(node.id)) return false;
    const metadata = node.metadata as MetadataStruct | undefined;
    return values.every(({ path, matcher }) => matcher === null || matchesValue(matcher, metadataAt(metadata, path)));
  };
}
