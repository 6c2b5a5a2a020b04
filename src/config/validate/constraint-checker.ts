/**
 * Checks a message against what the API itself says of it: `validate.rules`, required oneofs, Duration limits, fields
 * that are deprecated or not allowed any more, parts marked as work in progress.
 */
import {
  type DescExtension,
  type DescField,
  type DescMessage,
  type DescOneof,
  getOption,
  hasOption,
  type Message,
} from '@bufbuild/protobuf';
import type { ApiRegistry } from '../../api/api-registry.ts';
import { type ConfigError, configError, type Severity } from '../diagnostics/config-error.ts';
import { FieldPath } from '../field-path.ts';
import type { AnyMessages } from '../load/any-messages.ts';
import { type KnownMessages, NO_MESSAGES, walkMessage } from '../load/message-walk.ts';
import type { PositionMap } from '../load/position-map.ts';
import { compileRules, type FieldChecks, showDuration } from './rule-checks.ts';

/**
 * The largest Duration that Envoy takes, in seconds: 64-bit nanoseconds, less a second (DurationUtil in
 * source/common/protobuf/utility.cc).
 */
const MAX_DURATION_SECONDS = 9_223_372_035n;

/** xds.annotations.v3.PackageVersionStatus and the like: this field number holds the flag in all three options. */
const WORK_IN_PROGRESS = 'workInProgress';

/** Anys that Envoy hands on without looking inside: what nobody reads is not validated. */
const OPAQUE_FIELDS: ReadonlySet<string> = new Set([
  'envoy.config.core.v3.Metadata.typed_filter_metadata',
  'envoy.api.v2.core.Metadata.typed_filter_metadata',
]);

export interface CheckedConfig {
  readonly errors: ConfigError[];
  readonly warnings: ConfigError[];
}

interface FieldPlan {
  readonly field: DescField;
  readonly checks: FieldChecks | undefined;
  readonly isDuration: boolean;
  /** Why the field's mere use is worth a word; undefined when it is not. */
  readonly usage: { readonly severity: Severity; readonly reason: string } | undefined;
  /** Enum numbers whose use is worth a word. */
  readonly valueUsage: ReadonlyMap<number, { readonly severity: Severity; readonly reason: string }> | undefined;
}

interface MessagePlan {
  readonly fields: readonly FieldPlan[];
  readonly requiredOneofs: readonly DescOneof[];
  /** A warning for using this message at all. */
  readonly status: string | undefined;
}

type Fields = Record<string, unknown>;
type OneofValue = { case: string | undefined; value?: unknown };

/** Plans are compiled once per message type: keep one checker for the life of the process. */
export class ConstraintChecker {
  readonly #api: ApiRegistry;
  readonly #plans = new Map<string, MessagePlan>();

  constructor(api: ApiRegistry) {
    this.#api = api;
  }

  /**
   * Checks the whole message, Anys included; those of unknown types are for their readers to refuse.
   * @param path of the message within the whole
   * @param known messages in which nothing is wrong
   */
  check(
    message: Message,
    desc: DescMessage,
    anys: AnyMessages,
    positions?: PositionMap,
    path = '',
    known: KnownMessages = NO_MESSAGES,
  ): CheckedConfig {
    const run = new CheckRun(positions);
    const skipped = new Set<unknown>();
    walkMessage(message, desc, new FieldPath(path), this.#api, anys, {
      message: (inner, innerDesc, innerPath) => {
        if (skipped.has(inner) || known.has(inner)) return false;
        this.#message(inner, innerDesc, innerPath, run, skipped);
        return !innerDesc.typeName.startsWith('google.protobuf.');
      },
      entersAny: (field) => !OPAQUE_FIELDS.has(`${field.parent.typeName}.${field.name}`),
      broken(any, reason, brokenPath) {
        // A type that nobody knows is for the extension registry: Envoy refuses it there.
        if (!reason.startsWith('unknown type')) run.report('error', brokenPath, `${any.typeUrl}: ${reason}`);
      },
    });
    return { errors: run.errors, warnings: run.warnings };
  }

  #message(message: Message, desc: DescMessage, path: FieldPath, run: CheckRun, skipped: Set<unknown>): void {
    const plan = this.#plan(desc);
    if (plan.status !== undefined) run.report('warning', path, plan.status);
    const fields = message as unknown as Fields;
    for (const oneof of plan.requiredOneofs) {
      if ((fields[oneof.localName] as OneofValue).case !== undefined) continue;
      const names = oneof.fields.map((field) => field.name);
      run.report(
        'error',
        path,
        names.length === 1 ? `${names[0]} is required` : `one of ${names.join(', ')} is required`,
      );
    }
    for (const entry of plan.fields) this.#field(entry, fields, path, run, skipped);
  }

  #field(plan: FieldPlan, fields: Fields, path: FieldPath, run: CheckRun, skipped: Set<unknown>): void {
    const { field, checks } = plan;
    let value: unknown;
    let isSet: boolean;
    if (field.oneof !== undefined) {
      const oneof = fields[field.oneof.localName] as OneofValue;
      isSet = oneof.case === field.localName;
      value = isSet ? oneof.value : undefined;
    } else {
      value = fields[field.localName];
      isSet = hasContent(field, value, fields);
    }
    if (!isSet && checks === undefined) return;
    const at = path.at(field.name);
    if (isSet) {
      if (plan.usage !== undefined) run.report(plan.usage.severity, at, plan.usage.reason);
      if (plan.valueUsage !== undefined) {
        for (const item of field.fieldKind === 'list' ? (value as number[]) : [value as number]) {
          const usage = plan.valueUsage.get(item);
          if (usage !== undefined) run.report(usage.severity, at, usage.reason);
        }
      }
      if (plan.isDuration) checkDurations(field, value, at, run);
    }
    if (checks === undefined) return;
    if (checks.skip) skipped.add(value);
    if (!isSet && field.presence !== 2) {
      // Explicit presence: nothing to look at.
      if (checks.required && field.oneof === undefined)
        run.report('error', path, `${field.name} is required`, `set ${at.text}`);
      return;
    }
    if (field.fieldKind === 'list') {
      const list = value as unknown[];
      run.complain(at, checks.value?.(list));
      if (checks.item !== undefined) for (let i = 0; i < list.length; i++) run.complain(at, checks.item(list[i]), i);
      if (checks.skipItems) for (const item of list) skipped.add(item);
      return;
    }
    if (field.fieldKind === 'map') {
      run.complain(at, checks.value?.(value));
      for (const [key, item] of Object.entries(value as object)) {
        const complaint = checks.key?.(key);
        if (complaint !== undefined) run.complain(at.key(key), `the key ${complaint}`);
        run.complain(at.key(key), checks.item?.(item));
        if (checks.skipItems) skipped.add(item);
      }
      return;
    }
    const bare = field.oneof !== undefined && isWrapper(value) ? (value as unknown as Fields).value : value;
    run.complain(at, checks.value?.(bare));
  }

  #plan(desc: DescMessage): MessagePlan {
    let plan = this.#plans.get(desc.typeName);
    if (plan === undefined) {
      plan = this.#compile(desc);
      this.#plans.set(desc.typeName, plan);
    }
    return plan;
  }

  /** Compiles what is said of a message type; public so that a test can compile all of them. */
  compile(desc: DescMessage): void {
    this.#plan(desc);
  }

  #compile(desc: DescMessage): MessagePlan {
    const disabled = this.#flag(desc, 'validate.disabled') || this.#flag(desc, 'validate.ignored');
    const fields: FieldPlan[] = [];
    for (const field of desc.fields) {
      const rules = disabled ? undefined : this.#option(field, 'validate.rules');
      const checks = rules === undefined ? undefined : compileRules(rules as never, field);
      const isDuration = field.message?.typeName === 'google.protobuf.Duration';
      const usage = this.#usage(field);
      const valueUsage = this.#valueUsage(field);
      if (checks !== undefined || isDuration || usage !== undefined || valueUsage !== undefined) {
        fields.push({ field, checks, isDuration, usage, valueUsage });
      }
    }
    const requiredOneofs = disabled
      ? []
      : desc.oneofs.filter((oneof) => this.#option(oneof, 'validate.required') === true);
    return { fields, requiredOneofs, status: this.#messageStatus(desc) };
  }

  #usage(field: DescField): FieldPlan['usage'] {
    if (this.#flag(field, 'envoy.annotations.disallowed_by_default')) {
      return {
        severity: 'error',
        reason: `the field ${field.parent.typeName}.${field.name} is deprecated and not allowed any more`,
      };
    }
    if (field.deprecated) {
      const since = this.#option(field, 'envoy.annotations.deprecated_at_minor_version');
      const when = typeof since === 'string' && since !== '' ? ` since ${since}` : '';
      return {
        severity: 'warning',
        reason: `the field ${field.parent.typeName}.${field.name} is deprecated${when} and will be removed`,
      };
    }
    const status = this.#option(field, 'xds.annotations.v3.field_status') as Fields | undefined;
    if (status?.[WORK_IN_PROGRESS] === true) {
      return {
        severity: 'warning',
        reason: `the field ${field.parent.typeName}.${field.name} is work in progress: it may change`,
      };
    }
    return undefined;
  }

  #valueUsage(field: DescField): FieldPlan['valueUsage'] {
    if (field.enum === undefined) return undefined;
    const usages = new Map<number, { severity: Severity; reason: string }>();
    for (const value of field.enum.values) {
      const name = `${value.name} of ${field.enum.typeName}`;
      if (this.#flag(value, 'envoy.annotations.disallowed_by_default_enum')) {
        usages.set(value.number, {
          severity: 'error',
          reason: `the value ${name} is deprecated and not allowed any more`,
        });
      } else if (value.deprecated) {
        usages.set(value.number, {
          severity: 'warning',
          reason: `the value ${name} is deprecated and will be removed`,
        });
      }
    }
    return usages.size === 0 ? undefined : usages;
  }

  #messageStatus(desc: DescMessage): string | undefined {
    const own = this.#option(desc, 'xds.annotations.v3.message_status') as Fields | undefined;
    if (own?.[WORK_IN_PROGRESS] === true) return `the message ${desc.typeName} is work in progress: it may change`;
    return undefined;
  }

  #flag(desc: Parameters<typeof getOption>[0], name: string): boolean {
    return this.#option(desc, name) === true;
  }

  #option(desc: Parameters<typeof getOption>[0], name: string): unknown {
    // Most descriptors carry no custom option at all.
    const options = desc.proto.options as { readonly $unknown?: readonly unknown[] } | undefined;
    if (options?.$unknown === undefined || options.$unknown.length === 0) return undefined;
    const extension = this.#api.extension(name) as DescExtension;
    return hasOption(desc as never, extension as never) ? getOption(desc as never, extension as never) : undefined;
  }
}

class CheckRun {
  readonly errors: ConfigError[] = [];
  readonly warnings: ConfigError[] = [];
  readonly #positions: PositionMap | undefined;

  constructor(positions: PositionMap | undefined) {
    this.#positions = positions;
  }

  /** @param index of the item that the complaint is about; -1: it is about the whole */
  complain(at: FieldPath, complaint: string | undefined, index = -1): void {
    if (complaint !== undefined) this.report('error', index < 0 ? at : at.at(index), complaint);
  }

  report(severity: Severity, at: FieldPath, reason: string, hint?: string): void {
    const path = at.text;
    const place = this.#positions?.place(path);
    (severity === 'error' ? this.errors : this.warnings).push(configError(severity, path, reason, hint, place));
  }
}

/** Whether a field outside of oneofs is set; for fields without presence, whether it is not zero. */
function hasContent(field: DescField, value: unknown, fields: Fields): boolean {
  if (field.fieldKind === 'list') return (value as unknown[]).length > 0;
  if (field.fieldKind === 'map') return Object.keys(value as object).length > 0;
  if (field.presence !== 2) return value !== undefined && Object.hasOwn(fields, field.localName);
  if (value instanceof Uint8Array) return value.length > 0;
  return value !== 0 && value !== 0n && value !== '' && value !== false;
}

function isWrapper(value: unknown): boolean {
  const name = (value as { readonly $typeName?: string } | undefined)?.$typeName;
  return name?.startsWith('google.protobuf.') === true && name.endsWith('Value') && name !== 'google.protobuf.Value';
}

function checkDurations(field: DescField, value: unknown, at: FieldPath, run: CheckRun): void {
  if (field.fieldKind === 'list') {
    const list = value as unknown[];
    for (let i = 0; i < list.length; i++) checkDuration(list[i], at.at(i), run);
  } else if (field.fieldKind === 'map') {
    for (const [key, item] of Object.entries(value as object)) checkDuration(item, at.key(key), run);
  } else checkDuration(value, at, run);
}

function checkDuration(value: unknown, at: FieldPath, run: CheckRun): void {
  const span = value as { readonly seconds: bigint; readonly nanos: number };
  if (span.seconds < 0n || span.nanos < 0)
    run.report('error', at, `a duration must not be negative, ${showDuration(span)} is`);
  else if (span.nanos > 999_999_999 || span.seconds > MAX_DURATION_SECONDS) {
    run.report('error', at, `a duration must be at most ${MAX_DURATION_SECONDS}s, with less than a second of nanos`);
  }
}
