import { type DescMessage, toBinary } from '@bufbuild/protobuf';
import type { Bootstrap } from '../../api/gen/envoy/config/bootstrap/v3/bootstrap_pb.d.ts';
import type { StaticResource } from '../../config/builders/bootstrap.ts';
import type { LoadedBootstrap } from '../load-bootstrap.ts';
import { sameBytes } from '../updates/cluster-updates.ts';

/** What an edit of one kind of resource amounts to, by name. */
export interface ResourceChanges {
  readonly added: readonly string[];
  readonly changed: readonly string[];
  readonly removed: readonly string[];
}

/** What another version of the configuration file would do. */
export interface ReloadPlan {
  readonly clusters: ResourceChanges;
  readonly listeners: ResourceChanges;
  /** Secrets of the file itself. */
  readonly secrets: ResourceChanges;
  /** Parts of the file that have changed and count only after a restart. */
  readonly restart: readonly string[];
}

function compare(
  before: readonly Pick<StaticResource<unknown>, 'name' | 'bytes'>[],
  after: readonly Pick<StaticResource<unknown>, 'name' | 'bytes'>[],
): ResourceChanges {
  const present = new Map(before.map((each) => [each.name, each.bytes]));
  const added: string[] = [];
  const changed: string[] = [];
  for (const { name, bytes } of after) {
    const old = present.get(name);
    if (old === undefined) added.push(name);
    else if (!sameBytes(old, bytes)) changed.push(name);
    present.delete(name);
  }
  return { added, changed, removed: [...present.keys()] };
}

/**
 * Compares versions of the whole file.
 * @param started what the process began with
 * @param before what is in force
 */
export function planReload(
  type: DescMessage,
  started: LoadedBootstrap,
  before: LoadedBootstrap,
  after: LoadedBootstrap,
): ReloadPlan {
  return {
    clusters: compare(before.plan.clusters, after.plan.clusters),
    listeners: compare(before.plan.listeners, after.plan.listeners),
    secrets: compare(secretsOf(type, before), secretsOf(type, after)),
    restart: changedParts(type, started.plan.message, after.plan.message),
  };
}

/** Those of another kind may have the same name. */
function secretsOf(type: DescMessage, { plan }: LoadedBootstrap): Pick<StaticResource<unknown>, 'name' | 'bytes'>[] {
  const desc = type.field.staticResources!.message!.field.secrets!.message!;
  const secrets = plan.message.staticResources?.secrets ?? [];
  return secrets.map((secret) => ({ name: `${secret.name} (${secret.type.case})`, bytes: toBinary(desc, secret) }));
}

/** Top-level fields that differ, `static_resources` aside. */
function changedParts(type: DescMessage, before: Bootstrap, after: Bootstrap): string[] {
  const parts: string[] = [];
  for (const field of type.fields) {
    const only = (message: Bootstrap): Uint8Array => {
      const key = (field.oneof ?? field).localName;
      const value = (message as unknown as Record<string, unknown>)[key];
      const bare = { $typeName: message.$typeName } as Record<string, unknown>;
      for (const other of type.fields) {
        if (other.fieldKind === 'list') bare[other.localName] = [];
        else if (other.fieldKind === 'map') bare[other.localName] = {};
        else if (other.oneof !== undefined) bare[other.oneof.localName] = { case: undefined };
        else if (other.fieldKind !== 'message') bare[other.localName] = zeroOf(message, other.localName);
      }
      if (value !== undefined) bare[key] = value;
      return toBinary(type, bare as unknown as Bootstrap);
    };
    if (field.name === 'static_resources') continue;
    const part = field.oneof?.name ?? field.name;
    if (!parts.includes(part) && !sameBytes(only(before), only(after))) parts.push(part);
  }
  return parts;
}

function zeroOf(message: Bootstrap, name: string): unknown {
  const value = (message as unknown as Record<string, unknown>)[name];
  return typeof value === 'boolean' ? false : typeof value === 'number' ? 0 : typeof value === 'bigint' ? 0n : '';
}

/** For people: one line for each change; a line that says so when there is none. */
export function planText(plan: ReloadPlan): string {
  const lines: string[] = [];
  const list = (kind: string, { added, changed, removed }: ResourceChanges): void => {
    for (const name of added) lines.push(`+ ${kind} ${name}`);
    for (const name of changed) lines.push(`~ ${kind} ${name}`);
    for (const name of removed) lines.push(`- ${kind} ${name}`);
  };
  list('cluster', plan.clusters);
  list('listener', plan.listeners);
  list('secret', plan.secrets);
  for (const part of plan.restart) lines.push(`! ${part} has changed: it counts after a restart`);
  return lines.length === 0 ? 'nothing has changed\n' : `${lines.join('\n')}\n`;
}
