/**
 * Finds fields that a `FieldSupport` list calls obeyed and that no code reads: a configuration that sets one would be accepted
 * and ignored in silence (design law 2). `unread-fields.test.ts` fails when there are any.
 *
 *   bun tools/unread-fields.ts
 *
 * The type checker does the work: in a copy of the sources every field of every API message is made private, and each
 * "is private" that the checker then reports is a read. It sees through names, aliases and destructuring.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { DescField } from '@bufbuild/protobuf';
import { openApiRegistry } from '../src/api/api-registry.ts';
import { ExtensionRegistry } from '../src/config/extension-registry.ts';
import { supportedFields } from '../src/config/supported-fields.ts';
import { EXTENSIONS } from '../src/extensions/index.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const PREFIX = 'Private__';

/** Read in ways that a type checker does not see: by a message as a whole, or through a type of its own shape. */
const READ_OTHERWISE: Readonly<Record<string, string>> = {
  'envoy.config.core.v3.Node': 'printed whole by /server_info and /config_dump',
  'envoy.config.core.v3.BuildVersion': 'printed with the node',
  'envoy.config.core.v3.Extension': 'printed with the node',
  'envoy.type.v3.SemanticVersion': 'printed with the node',
  'envoy.config.core.v3.RuntimeDouble.default_value': 'activeRequestBias() takes what has these two fields',
  'envoy.config.accesslog.v2.FileAccessLog': 'built as the message of version 3, which has the same fields',
  'envoy.config.core.v3.GrpcService.GoogleGrpc.channel_credentials':
    'those that pass the list of fields say nothing more',
  'envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext.disable_stateful_session_resumption':
    'neither runtime resumes sessions by their id: there is nothing to turn off',
  'xds.core.v3.CidrRange': 'buildCidrMatcher() takes both kinds of ranges',
};

/** Files below `folder`, by relative path. */
function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('.ts'));
}

/** `type X = Message<"x.Y"> & { fields }` becomes a class with private fields, so that uses keep their types. */
function withPrivateFields(declarations: string): string {
  return declarations.replace(
    /^export declare type (\w+) = Message<"([^"]+)"> & \{\n([\s\S]*?)^\};/gm,
    (_, name: string, typeName: string, body: string) => {
      const hidden = PREFIX + typeName.replaceAll('.', '__');
      const fields = body.replace(/^ {2}(\w+\??:)/gm, '  private $1');
      return `declare class ${hidden} {\n${fields}}\nexport declare type ${name} = Message<"${typeName}"> & ${hidden};`;
    },
  );
}

/** `full.type.Name|localName` of every field (or oneof) that the sources read, and their string literals. */
function findReads(): { reads: Set<string>; text: string } {
  mkdirSync(join(root, '.cache'), { recursive: true });
  const work = mkdtempSync(join(root, '.cache/unread-'));
  try {
    cpSync(join(root, 'src'), join(work, 'src'), {
      recursive: true,
      filter: (path) => !path.endsWith('.test.ts'),
    });
    let text = '';
    for (const path of filesBelow(join(work, 'src'))) {
      const file = join(work, 'src', path);
      if (path.startsWith('api/gen/google/')) continue;
      const content = readFileSync(file, 'utf8');
      if (path.startsWith('api/gen/')) writeFileSync(file, withPrivateFields(content));
      // The names of fields that version 2 had are not reads.
      else if (!path.startsWith('config/upgrade/')) text += content;
    }
    const settings = { extends: join(root, 'tsconfig.json'), include: ['src'] };
    writeFileSync(join(work, 'tsconfig.json'), JSON.stringify(settings));
    const checked = spawnSync(join(root, 'node_modules/.bin/tsc'), ['--noEmit', '-p', work], {
      encoding: 'utf8',
      maxBuffer: 1 << 28,
    });
    if (checked.error !== undefined) throw checked.error;
    const reads = new Set<string>();
    for (const [, field, type] of checked.stdout.matchAll(/Property '(\w+)' is private .* within class '(\w+)'/g)) {
      if (type!.startsWith(PREFIX)) reads.add(`${type!.slice(PREFIX.length).replaceAll('__', '.')}|${field}`);
    }
    // Of a union of messages the checker says that the property is missing, with the names of the declared types.
    for (const [, field, union] of checked.stdout.matchAll(/Property '(\w+)' does not exist on type '([^']+)'/g)) {
      for (const type of union!.split(' | ')) reads.add(`${type.replaceAll('_', '.')}|${field}`);
    }
    return { reads, text };
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** The type's name as the generated declarations have it, which is what the checker prints for unions. */
function declaredName(typeName: string): string {
  return typeName.replace(/^.*?\.v\d\w*\./, '');
}

/** Full names of fields that are called obeyed and are not read. */
export function findUnreadFields(): string[] {
  const { reads, text } = findReads();
  if (reads.size < 500) throw new Error(`only ${reads.size} reads of fields were found: the type checker did not run`);
  const api = openApiRegistry();
  const table = supportedFields(new ExtensionRegistry(EXTENSIONS));
  const unread: string[] = [];
  for (const typeName of table.typeNames()) {
    const desc = api.message(typeName);
    if (desc === undefined) {
      unread.push(`${typeName} (no such message)`);
      continue;
    }
    const isRead = (field: DescField): boolean => {
      const name = field.oneof === undefined ? field.localName : field.oneof.localName;
      if (!reads.has(`${typeName}|${name}`) && !reads.has(`${declaredName(typeName)}|${name}`)) return false;
      if (field.oneof === undefined) return true;
      // One of several: its own name is asked for, or it is what is left when all others are.
      const unnamed = field.oneof.fields.filter(
        (each) => table.supports(desc, each) && !text.includes(`'${each.localName}'`),
      );
      return unnamed.length <= 1 || !unnamed.includes(field);
    };
    for (const field of desc.fields) {
      const full = `${typeName}.${field.name}`;
      if (!table.supports(desc, field) || table.isInert(desc, field)) continue;
      if (READ_OTHERWISE[typeName] !== undefined || READ_OTHERWISE[full] !== undefined) continue;
      // A message of which every field is refused may stand there empty.
      const inner = field.message;
      if (inner !== undefined && table.has(inner.typeName)) {
        const obeyed = inner.fields.some((each) => table.supports(inner, each) && !table.isInert(inner, each));
        if (!obeyed) continue;
      }
      if (!isRead(field)) unread.push(full);
    }
  }
  return unread;
}

if (import.meta.main) {
  const unread = findUnreadFields();
  for (const field of unread) console.log(field);
  process.exit(unread.length === 0 ? 0 : 1);
}
