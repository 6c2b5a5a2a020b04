import { type Message, toBinary } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import type { ApiRegistry } from '../api/api-registry.ts';
import type { RouteConfiguration } from '../api/gen/envoy/config/route/v3/route_pb.d.ts';
import type { Resource } from '../api/gen/envoy/service/discovery/v3/discovery_pb.d.ts';
import { soundEncoding } from '../api/sound-encoding.ts';
import { err, ok, type Result } from '../base/result.ts';
import { type HostPiece, nameOfTable, type SplitTable, splitTable } from '../config/builders/route-pieces.ts';
import { type ConfigError, configError } from '../config/diagnostics/config-error.ts';
import { errorLine } from '../config/diagnostics/render.ts';
import { AnyMessages } from '../config/load/any-messages.ts';
import { checkUnknownFields } from '../config/load/unknown-fields.ts';
import { ConstraintChecker } from '../config/validate/constraint-checker.ts';
import { orderMaps } from './map-order.ts';
import type { DiscoveredResource, HeldResources, ResourceOrigin } from './resource-source.ts';
import { RESOURCE_WRAPPER, type ResourceType, ROUTE_TYPE } from './resource-type.ts';

/** What is done about fields that are not known: `--reject-unknown-dynamic-fields`, `--ignore-unknown-dynamic-fields`. */
export type UnknownFields = 'reject' | 'warn' | 'ignore';

/** Kinds of unknown fields that are remembered; those beyond count each time. */
const MAX_UNKNOWN_FIELDS = 1000;

/** Turns what arrives into resources whose fields are sound one by one; building them is the watcher's part. */
export class ResourceDecoder {
  readonly api: ApiRegistry;
  readonly unknownFields: UnknownFields;
  readonly #constraints: ConstraintChecker;
  readonly #onUnknownField: () => void;
  readonly #unknown = new Set<string>();
  /** Messages in which nothing was found, that nobody changes any more. */
  readonly #sound = new WeakSet<Message>();

  /** @param onUnknownField for `server.dynamic_unknown_fields` */
  constructor(api: ApiRegistry, unknownFields: UnknownFields, onUnknownField: () => void) {
    this.api = api;
    this.unknownFields = unknownFields;
    this.#constraints = new ConstraintChecker(api);
    this.#onUnknownField = onUnknownField;
  }

  /** As Envoy, of which a field counts once for ever, wherever it stands. */
  noteUnknownFields(warnings: readonly ConfigError[]): void {
    for (const { reason } of warnings) {
      if (!/unknown field|has no field/i.test(reason) || this.#unknown.has(reason)) continue;
      if (this.#unknown.size < MAX_UNKNOWN_FIELDS) this.#unknown.add(reason);
      this.#onUnknownField();
    }
  }

  /**
   * One resource of an answer, wrapped in a Resource or not.
   * @param version of the answer; a wrapper's own goes before it
   * @param held resources that were decoded here and are in force: what is equal in the new ones is not decoded and checked again
   */
  decode(
    type: ResourceType,
    any: Any,
    version: string,
    origin: ResourceOrigin,
    held: HeldResources | null = null,
  ): Result<DiscoveredResource, string> {
    if (held !== null && type === ROUTE_TYPE && this.api.byTypeUrl(any.typeUrl)?.typeName === type.typeName) {
      const resource = this.#decodeTable(any, version, origin, held);
      if (resource !== null) return resource;
    }
    const anys = origin.anys ?? new AnyMessages(this.api);
    const outer = anys.unpack(any);
    if (!outer.ok) return err(outer.reason);
    if (outer.message.$typeName === RESOURCE_WRAPPER) {
      const wrapper = outer.message as Resource;
      if (wrapper.resource === undefined) return err('a Resource without a resource');
      const inside = { ...origin, anys, path: origin.path === '' ? '' : `${origin.path}.resource` };
      const own = wrapper.version === '' ? version : wrapper.version;
      const inner = this.decode(type, wrapper.resource, own, inside, held);
      if (!inner.ok || wrapper.name === '') return inner;
      return ok({ ...inner.value, name: wrapper.name });
    }
    const { message } = outer;
    if (message.$typeName !== type.typeName) {
      return err(`Unable to unpack as ${type.typeName}: [${any.typeUrl}]`);
    }
    const { faults } = this.#check(message, any, anys, origin);
    if (faults.length > 0) return err(faults.map(errorLine).join('\n'));
    const desc = this.api.message(type.typeName)!;
    const cameEncoded = any.value.length > 0;
    const reordered = cameEncoded && orderMaps(message, desc, this.api, anys);
    return ok({
      name:
        type.nameField === ''
          ? ''
          : String((message as unknown as Record<string, unknown>)[camel(type.nameField)] ?? ''),
      version,
      message,
      // As it came over the wire, and was made sound, it is its own encoding.
      bytes: cameEncoded && !reordered ? any.value : toBinary(desc, message),
      origin: { ...origin, anys },
    });
  }

  /**
   * A route table may be large, and mostly little of it changes: what is equal to the version before was decoded and found sound.
   * @returns null: it is to be decoded as a whole
   */
  #decodeTable(
    any: Any,
    version: string,
    origin: ResourceOrigin,
    held: HeldResources,
  ): Result<DiscoveredResource, string> | null {
    const desc = this.api.message(ROUTE_TYPE.typeName)!;
    let bytes: Uint8Array;
    let split: SplitTable;
    let message: RouteConfiguration;
    try {
      bytes = soundEncoding(desc, any.value);
      split = splitTable(bytes, held.latest(nameOfTable(bytes))?.pieces ?? null);
      message = split.decode(this.api);
    } catch {
      // Whoever decodes it as a whole says what is wrong.
      return null;
    }
    const { pieces } = split;
    const anys = new AnyMessages(this.api);
    const { faults, isClean } = this.#check(message, any, anys, origin);
    if (faults.length > 0) return err(faults.map(errorLine).join('\n'));
    let reordered = false;
    for (const host of pieces.hosts) if (isClean ? this.#settleHost(host, anys) : wasReordered(host)) reordered = true;
    if (orderMaps(message, desc, this.api, anys, this.#sound)) reordered = true;
    return ok({
      name: message.name,
      version,
      message,
      bytes: reordered ? toBinary(desc, message) : bytes,
      origin: { ...origin, anys },
      // What has unknown fields is looked at, and counted, each time.
      ...(isClean ? { pieces } : {}),
    });
  }

  /** Puts a virtual host in which nothing was found in order, once. @returns whether it did, now or before */
  #settleHost(piece: HostPiece, anys: AnyMessages): boolean {
    const message = piece.message!;
    if (!this.#sound.has(message)) {
      const routeType = this.api.message('envoy.config.route.v3.Route')!;
      let reordered = false;
      for (const route of piece.routes) {
        if (!this.#sound.has(route.message!)) {
          route.isReordered = orderMaps(route.message!, routeType, this.api, anys);
          this.#sound.add(route.message!);
        }
        if (route.isReordered) reordered = true;
      }
      const hostType = this.api.message(message.$typeName)!;
      piece.isReordered = orderMaps(message, hostType, this.api, anys, this.#sound) || reordered;
      this.#sound.add(message);
    }
    return piece.isReordered;
  }

  #check(
    message: Message,
    any: Any,
    anys: AnyMessages,
    origin: ResourceOrigin,
  ): { readonly faults: readonly ConfigError[]; readonly isClean: boolean } {
    const desc = this.api.message(message.$typeName)!;
    const faults: ConfigError[] = [];
    let isClean = true;
    const known = this.#sound;
    // A text was checked as it was read.
    if (origin.positions === null && this.unknownFields !== 'ignore' && any.value.length > 0) {
      const warnings: ConfigError[] = [];
      const found = this.unknownFields === 'warn' ? warnings : faults;
      checkUnknownFields(message, desc, anys, this.api, found, this.unknownFields, known);
      this.noteUnknownFields(warnings);
      isClean = warnings.length === 0;
    }
    const { errors } = this.#constraints.check(message, desc, anys, undefined, '', known);
    for (const error of errors) faults.push(locate(error, origin));
    return { faults, isClean };
  }
}

function wasReordered(host: HostPiece): boolean {
  return host.isReordered || host.routes.some((route) => route.isReordered);
}

/** The error with the place in the text that its resource came from. */
export function locate(
  error: { readonly path: string; readonly reason: string; readonly hint?: string },
  origin: ResourceOrigin,
): ConfigError {
  const { hint } = error;
  const reported = hint === undefined || hint === '' ? undefined : hint;
  if (origin.positions === null) return configError('error', error.path, error.reason, reported);
  const path = origin.path === '' ? error.path : `${origin.path}.${error.path}`;
  const placed = origin.positions.attach({ path, reason: error.reason, ...(hint === undefined ? {} : { hint }) });
  return { ...placed, path: error.path };
}

function camel(name: string): string {
  return name.replace(/_(\w)/g, (_found, letter: string) => letter.toUpperCase());
}
