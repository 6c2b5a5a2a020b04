import { type Message, toBinary } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import type { ApiRegistry } from '../api/api-registry.ts';
import type { Resource } from '../api/gen/envoy/service/discovery/v3/discovery_pb.d.ts';
import { err, ok, type Result } from '../base/result.ts';
import { type ConfigError, configError } from '../config/diagnostics/config-error.ts';
import { errorLine } from '../config/diagnostics/render.ts';
import { AnyMessages } from '../config/load/any-messages.ts';
import { checkUnknownFields } from '../config/load/unknown-fields.ts';
import { ConstraintChecker } from '../config/validate/constraint-checker.ts';
import { orderMaps } from './map-order.ts';
import type { DiscoveredResource, ResourceOrigin } from './resource-source.ts';
import { RESOURCE_WRAPPER, type ResourceType } from './resource-type.ts';

/** What is done about fields that are not known: `--reject-unknown-dynamic-fields`, `--ignore-unknown-dynamic-fields`. */
export type UnknownFields = 'reject' | 'warn' | 'ignore';

/** Turns what arrives into resources whose fields are sound one by one; building them is the watcher's part. */
export class ResourceDecoder {
  readonly api: ApiRegistry;
  readonly unknownFields: UnknownFields;
  readonly #constraints: ConstraintChecker;
  readonly #onUnknownField: () => void;

  /** @param onUnknownField for `server.dynamic_unknown_fields` */
  constructor(api: ApiRegistry, unknownFields: UnknownFields, onUnknownField: () => void) {
    this.api = api;
    this.unknownFields = unknownFields;
    this.#constraints = new ConstraintChecker(api);
    this.#onUnknownField = onUnknownField;
  }

  noteUnknownFields(warnings: readonly ConfigError[]): void {
    for (const warning of warnings) if (/unknown field|has no field/i.test(warning.reason)) this.#onUnknownField();
  }

  /**
   * One resource of an answer, wrapped in a Resource or not.
   * @param version of the answer; a wrapper's own goes before it
   */
  decode(type: ResourceType, any: Any, version: string, origin: ResourceOrigin): Result<DiscoveredResource, string> {
    const anys = origin.anys ?? new AnyMessages(this.api);
    const outer = anys.unpack(any);
    if (!outer.ok) return err(outer.reason);
    if (outer.message.$typeName === RESOURCE_WRAPPER) {
      const wrapper = outer.message as Resource;
      if (wrapper.resource === undefined) return err('a Resource without a resource');
      const inner = this.decode(type, wrapper.resource, wrapper.version === '' ? version : wrapper.version, {
        ...origin,
        anys,
        path: origin.path === '' ? '' : `${origin.path}.resource`,
      });
      if (!inner.ok || wrapper.name === '') return inner;
      return ok({ ...inner.value, name: wrapper.name });
    }
    const { message } = outer;
    if (message.$typeName !== type.typeName) {
      return err(`Unable to unpack as ${type.typeName}: [${any.typeUrl}]`);
    }
    const faults = this.#check(message, any, anys, origin);
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
      // As it came over the wire it is its own encoding.
      bytes: cameEncoded && !reordered ? any.value : toBinary(desc, message),
      origin: { ...origin, anys },
    });
  }

  #check(message: Message, any: Any, anys: AnyMessages, origin: ResourceOrigin): readonly ConfigError[] {
    const desc = this.api.message(message.$typeName)!;
    const faults: ConfigError[] = [];
    // A text was checked as it was read.
    if (origin.positions === null && this.unknownFields !== 'ignore' && any.value.length > 0) {
      const warnings: ConfigError[] = [];
      const found = this.unknownFields === 'warn' ? warnings : faults;
      checkUnknownFields(message, desc, anys, this.api, found, this.unknownFields);
      this.noteUnknownFields(warnings);
    }
    const { errors } = this.#constraints.check(message, desc, anys);
    for (const error of errors) faults.push(locate(error, origin));
    return faults;
  }
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
