import { type DescMessage, getOption, type JsonObject, type JsonValue } from '@bufbuild/protobuf';
import type { ApiRegistry } from '../../../api/api-registry.ts';
import { Regex } from '../../../routing/regex.ts';
import type { Server } from '../../server.ts';
import { type AdminRequest, type AdminResponse, json } from '../admin-request.ts';
import { allDumps, type Dump, TYPE_PREFIX } from './dumps.ts';

class DumpRefusal extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** `/config_dump`: envoy.admin.v3.ConfigDump as proto JSON, with sensitive fields redacted. */
export async function configDump(server: Server, request: AdminRequest): Promise<AdminResponse> {
  try {
    return json(`${JSON.stringify(await buildDump(server, request), null, 1)}\n`);
  } catch (error) {
    if (!(error instanceof DumpRefusal)) throw error;
    return { status: error.status, contentType: 'text/plain', body: error.message };
  }
}

async function buildDump(server: Server, request: AdminRequest): Promise<JsonObject> {
  const { query } = request;
  const resource = query.get('resource') ?? '';
  const mask = query.get('mask') ?? '';
  const matches = nameMatcher(query.get('name_regex') ?? '');
  const { api } = server.parts;
  const dumps = await allDumps(server, query.has('include_eds'), matches);
  for (const dump of dumps) redact(api, api.message(dump.type), dump.content);
  const configs: JsonObject[] = [];
  if (resource !== '') {
    const { type, elements } = elementsOf(api, dumps, resource);
    if (mask !== '' && !isValidMask(api, api.message(type)!, mask, elements)) {
      throw new DumpRefusal(400, `FieldMask paths: "${mask}"\n could not be successfully used.`);
    }
    for (const element of elements) configs.push({ '@type': TYPE_PREFIX + type, ...masked(element, mask) });
  } else {
    for (const { type, content } of dumps) {
      if (mask !== '' && !isValidMask(api, api.message(type)!, mask, [content])) continue;
      configs.push({ '@type': TYPE_PREFIX + type, ...masked(content, mask) });
    }
    if (mask !== '' && configs.length === 0) {
      throw new DumpRefusal(400, `FieldMask ${mask} could not be successfully applied to any configs.`);
    }
  }
  return configs.length === 0 ? {} : { configs };
}

function nameMatcher(pattern: string): (name: string) => boolean {
  if (pattern === '') return () => true;
  const regex = Regex.compile(pattern);
  if (regex.ok) return (name) => regex.value.test(name);
  throw new DumpRefusal(400, `INVALID_ARGUMENT: Error while parsing name_regex from ${pattern}: ${regex.error}`);
}

// --- resource and mask ---

function elementsOf(
  api: ApiRegistry,
  dumps: readonly Dump[],
  resource: string,
): { type: string; elements: readonly JsonObject[] } {
  for (const dump of dumps) {
    const field = api.message(dump.type)?.fields.find((each) => each.name === resource);
    if (field === undefined) continue;
    if (field.fieldKind !== 'list' || field.listKind !== 'message') {
      throw new DumpRefusal(400, `${resource} is not a repeated field. Use ?mask=${resource} to get only this field`);
    }
    return { type: field.message.typeName, elements: (dump.content[resource] as JsonObject[] | undefined) ?? [] };
  }
  throw new DumpRefusal(404, `${resource} not found in config dump`);
}

/** A path may go through singular messages only; what an Any holds counts as its fields. */
function isValidMask(api: ApiRegistry, desc: DescMessage, mask: string, samples: readonly JsonObject[]): boolean {
  return mask.split(',').every((path) => isValidPath(api, desc, path.split('.'), samples));
}

function isValidPath(
  api: ApiRegistry,
  desc: DescMessage | undefined,
  path: readonly string[],
  samples: readonly (JsonObject | undefined)[],
): boolean {
  const [name, ...rest] = path;
  if (name === undefined) return true;
  const field = desc?.fields.find((each) => each.name === name);
  if (field === undefined) return false;
  if (rest.length === 0) return true;
  if (field.fieldKind !== 'message') return false;
  const inner = samples.map((sample) => sample?.[name] as JsonObject | undefined);
  if (field.message.typeName !== 'google.protobuf.Any') return isValidPath(api, field.message, rest, inner);
  const types = new Set(inner.flatMap((sample) => (sample === undefined ? [] : [String(sample['@type'])])));
  return [...types].every((type) => isValidPath(api, api.byTypeUrl(type), rest, inner));
}

/** The parts of `content` that the mask names; all of it without a mask. */
function masked(content: JsonObject, mask: string): JsonObject {
  if (mask === '') return content;
  let out: JsonObject = {};
  for (const path of mask.split(',')) out = merge(out, pick(content, path.split('.')));
  return out;
}

function pick(content: JsonObject, path: readonly string[]): JsonObject {
  const [name, ...rest] = path;
  const value = content[name!];
  const type: JsonObject = content['@type'] === undefined ? {} : { '@type': content['@type'] };
  if (value === undefined) return type;
  return { ...type, [name!]: rest.length === 0 ? value : pick(value as JsonObject, rest) };
}

function merge(into: JsonObject, from: JsonObject): JsonObject {
  const out: JsonObject = { ...into };
  for (const [key, value] of Object.entries(from)) {
    const present = out[key];
    const both = isObject(present) && isObject(value);
    out[key] = both ? merge(present, value) : value;
  }
  return out;
}

function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

// --- redaction ---

const REDACTED = '[redacted]';
const REDACTED_BYTES = Buffer.from(REDACTED).toString('base64');

/** Overwrites fields that the API marks as sensitive (`udpa.annotations.sensitive`), in place. */
function redact(api: ApiRegistry, desc: DescMessage | undefined, content: JsonObject): void {
  const type = content['@type'];
  const own = typeof type === 'string' ? api.byTypeUrl(type) : desc;
  if (own === undefined || own.typeName === 'google.protobuf.Struct') return;
  const typed = own.typeName === 'udpa.type.v1.TypedStruct' || own.typeName === 'xds.type.v3.TypedStruct';
  if (typed && typeof content.type_url === 'string' && isObject(content.value)) {
    redact(api, api.byTypeUrl(content.type_url), content.value);
    return;
  }
  const sensitive = api.extension('udpa.annotations.sensitive');
  for (const field of own.fields) {
    const value = content[field.name];
    if (value === undefined || value === null) continue;
    if (getOption(field, sensitive) === true) content[field.name] = redacted(value);
    else if (field.message !== undefined) redactChildren(api, field.message, field.fieldKind === 'map', value);
  }
}

function redactChildren(api: ApiRegistry, desc: DescMessage, isMap: boolean, value: JsonValue): void {
  const items = Array.isArray(value) ? value : isMap && isObject(value) ? Object.values(value) : [value];
  for (const item of items) if (isObject(item)) redact(api, desc, item);
}

function redacted(value: JsonValue): JsonValue {
  if (typeof value === 'string') return REDACTED;
  if (Array.isArray(value)) return value.map(redacted);
  if (!isObject(value)) return typeof value === 'number' ? 0 : typeof value === 'boolean' ? false : value;
  const out: JsonObject = {};
  for (const [key, item] of Object.entries(value)) {
    // Bytes stay bytes, in base64.
    out[key] = key === '@type' ? item : key === 'inline_bytes' ? REDACTED_BYTES : redacted(item);
  }
  return out;
}
