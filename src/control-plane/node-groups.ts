import { parse } from 'yaml';
import type { Node } from '../api/gen/envoy/config/core/v3/base_pb.d.ts';

/** One text, or one of several; a `*` at the end of one stands for anything. */
type Pattern = string | readonly string[];

/** What a node must say of itself in its metadata: a text fits by pattern, a number or a truth value as it is, a mapping in each of its fields. */
export interface MetadataSelector {
  readonly [key: string]: Pattern | number | boolean | MetadataSelector;
}

/** Which nodes something is for: every field that is given must fit. */
export interface NodeSelector {
  readonly id?: Pattern;
  readonly cluster?: Pattern;
  readonly region?: Pattern;
  readonly zone?: Pattern;
  readonly sub_zone?: Pattern;
  /** `envoy`, `nuncio`, `gRPC Go`. */
  readonly user_agent?: Pattern;
  readonly metadata?: MetadataSelector;
}

/** `group.yaml`: which nodes a group is for, and how it stands to the other resources. */
export interface NodeGroup {
  readonly selector: NodeSelector;
  /** Of the groups that fit a node, the one with the highest; among equals the first by name. */
  readonly priority: number;
  /** Whether the nodes get the common resources as well, where the group has none of the same name. */
  readonly inherit: boolean;
}

function fitsOne(pattern: string, value: string): boolean {
  return pattern.endsWith('*') ? value.startsWith(pattern.slice(0, -1)) : value === pattern;
}

function fits(pattern: Pattern | undefined, value: string): boolean {
  if (pattern === undefined) return true;
  return typeof pattern === 'string' ? fitsOne(pattern, value) : pattern.some((each) => fitsOne(each, value));
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isPattern(value: unknown): value is Pattern {
  if (typeof value === 'string') return true;
  return Array.isArray(value) && value.length > 0 && value.every((each) => typeof each === 'string');
}

function fitsMetadata(selector: MetadataSelector, metadata: unknown): boolean {
  if (!isRecord(metadata)) return false;
  return Object.entries(selector).every(([key, wanted]) => {
    const found = Object.hasOwn(metadata, key) ? metadata[key] : undefined;
    if (isPattern(wanted)) return typeof found === 'string' && fits(wanted, found);
    return typeof wanted === 'object' ? fitsMetadata(wanted, found) : found === wanted;
  });
}

export function selectsNode(selector: NodeSelector, node: Node): boolean {
  const { locality } = node;
  return (
    fits(selector.id, node.id) &&
    fits(selector.cluster, node.cluster) &&
    fits(selector.region, locality?.region ?? '') &&
    fits(selector.zone, locality?.zone ?? '') &&
    fits(selector.sub_zone, locality?.subZone ?? '') &&
    fits(selector.user_agent, node.userAgentName) &&
    (selector.metadata === undefined || fitsMetadata(selector.metadata, node.metadata ?? {}))
  );
}

const PATTERNS = ['id', 'cluster', 'region', 'zone', 'sub_zone', 'user_agent'];
const FIELDS = [...PATTERNS, 'metadata'];
const GROUP_FIELDS = [...FIELDS, 'priority', 'inherit'];

function checkMetadata(value: unknown, path: string): void {
  if (!isRecord(value)) throw new Error(`${path} is a mapping`);
  for (const [key, wanted] of Object.entries(value)) {
    const isPlain = typeof wanted === 'number' || typeof wanted === 'boolean';
    if (isPlain || isPattern(wanted)) continue;
    if (!isRecord(wanted))
      throw new Error(`${path}.${key} is a text, a list of them, a number, true, false or a mapping`);
    checkMetadata(wanted, `${path}.${key}`);
  }
}

function checkFields(value: Record<string, unknown>, known: readonly string[]): void {
  for (const [field, pattern] of Object.entries(value)) {
    if (!known.includes(field)) throw new Error(`unknown field ${field}; known are ${known.join(', ')}`);
    if (field === 'metadata') checkMetadata(pattern, field);
    else if (PATTERNS.includes(field) && !isPattern(pattern)) throw new Error(`${field} is a text or a list of them`);
  }
}

/** @throws Error with what is wrong */
export function selectorOf(value: unknown): NodeSelector {
  if (!isRecord(value)) throw new Error('a selector is a mapping');
  checkFields(value, FIELDS);
  return value as NodeSelector;
}

/**
 * Reads a `group.yaml`.
 * @throws Error with what is wrong
 */
export function readGroup(text: string): NodeGroup {
  const value: unknown = parse(text);
  if (!isRecord(value)) throw new Error('a group is a mapping');
  checkFields(value, GROUP_FIELDS);
  const { priority = 0, inherit = true, ...selector } = value;
  if (typeof priority !== 'number' || !Number.isInteger(priority)) throw new Error('priority is a whole number');
  if (typeof inherit !== 'boolean') throw new Error('inherit is true or false');
  // One that is forgotten would take all nodes away from the others.
  if (Object.keys(selector).length === 0)
    throw new Error(`which nodes is it for? One of ${FIELDS.join(', ')} is needed`);
  return { selector, priority, inherit };
}
