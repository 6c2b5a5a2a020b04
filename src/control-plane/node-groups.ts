import { parse } from 'yaml';
import type { Node } from '../api/gen/envoy/config/core/v3/base_pb.d.ts';

/** Which nodes a group is for: every field that is given must fit. A trailing `*` stands for anything. */
export interface NodeSelector {
  readonly id?: string;
  readonly cluster?: string;
  readonly region?: string;
  readonly zone?: string;
  readonly sub_zone?: string;
  readonly metadata?: Readonly<Record<string, string>>;
}

function fits(pattern: string | undefined, value: string): boolean {
  if (pattern === undefined) return true;
  return pattern.endsWith('*') ? value.startsWith(pattern.slice(0, -1)) : value === pattern;
}

export function selectsNode(selector: NodeSelector, node: Node): boolean {
  const { locality } = node;
  return (
    fits(selector.id, node.id) &&
    fits(selector.cluster, node.cluster) &&
    fits(selector.region, locality?.region ?? '') &&
    fits(selector.zone, locality?.zone ?? '') &&
    fits(selector.sub_zone, locality?.subZone ?? '') &&
    Object.entries(selector.metadata ?? {}).every(([key, value]) => {
      const found = (node.metadata as Record<string, unknown> | undefined)?.[key];
      return typeof found === 'string' && fits(value, found);
    })
  );
}

function isText(value: unknown): boolean {
  return typeof value === 'string';
}

const FIELDS = ['id', 'cluster', 'region', 'zone', 'sub_zone', 'metadata'];

/**
 * Reads a selector from YAML.
 * @throws Error with what is wrong
 */
export function readSelector(text: string): NodeSelector {
  return selectorOf(parse(text));
}

/** @throws Error with what is wrong */
export function selectorOf(value: unknown): NodeSelector {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error('a selector is a mapping');
  for (const [field, pattern] of Object.entries(value)) {
    if (!FIELDS.includes(field)) throw new Error(`unknown field ${field}; known are ${FIELDS.join(', ')}`);
    const isMap = typeof pattern === 'object' && pattern !== null && Object.values(pattern).every(isText);
    if (field === 'metadata' ? !isMap : typeof pattern !== 'string') throw new Error(`${field} is of the wrong kind`);
  }
  return value as NodeSelector;
}
