import { type SpanTag, type TagSink, TagType } from '../../routing/span-tag.ts';
import type { FormatContext, ValueFormatter } from '../../routing/stream-view.ts';
import { metadataAt } from '../../routing/value-matcher.ts';
import type { LogContext } from '../access-logger.ts';
import { jsonText } from '../format/json-text.ts';
import { byteValue, type MetadataSource } from '../format/metadata-operators.ts';

/** One of `custom_tags`. Source: envoy.type.tracing.v3.CustomTag. */
export abstract class CustomTag implements SpanTag {
  readonly name: string;
  readonly #type: TagType;

  constructor(name: string, type: TagType) {
    this.name = name;
    this.#type = type;
  }

  /** The stream of the context must be a StreamInfo, which it is wherever the pipeline asks. */
  apply(span: TagSink, context: FormatContext): void {
    const value = this.value(context as LogContext);
    if (value === null) return;
    if (this.#type === TagType.Text) span.setTag(this.name, value);
    else span.setTypedTag(this.name, value, this.#type);
  }

  /** Null: no tag. */
  protected abstract value(context: LogContext): string | null;
}

/** A text that was known when the configuration was read: a literal, a variable of the environment. */
export class FixedTag extends CustomTag {
  readonly #text: string;

  constructor(name: string, type: TagType, text: string) {
    super(name, type);
    this.#text = text;
  }

  protected value(_context: LogContext): string | null {
    return this.#text === '' ? null : this.#text;
  }
}

export class RequestHeaderTag extends CustomTag {
  readonly #header: string;
  readonly #fallback: string;

  /** @param header in lower case */
  constructor(name: string, type: TagType, header: string, fallback: string) {
    super(name, type);
    this.#header = header;
    this.#fallback = fallback;
  }

  protected value(context: LogContext): string | null {
    const headers = context.requestHeaders;
    const value = (headers === null ? null : headers.lookup(this.#header)) ?? this.#fallback;
    return value === '' ? null : value;
  }
}

export class FormatTag extends CustomTag {
  readonly #format: ValueFormatter;

  constructor(name: string, type: TagType, format: ValueFormatter) {
    super(name, type);
    this.#format = format;
  }

  protected value(context: LogContext): string | null {
    const value = this.#format.format(context);
    return value === '' ? null : value;
  }
}

/** A number as absl::StrCat writes it: `%g` of C. */
export function sixDigits(value: number): string {
  const [digits = '', power = '0'] = value.toExponential(5).split('e');
  const exponent = Number(power);
  if (exponent >= -4 && exponent < 6) return String(Number(value.toPrecision(6)));
  const sign = exponent < 0 ? '-' : '+';
  return `${Number(digits)}e${sign}${String(Math.abs(exponent)).padStart(2, '0')}`;
}

/** Source: Envoy, MetadataCustomTag. */
export class MetadataTag extends CustomTag {
  readonly #source: MetadataSource | null;
  readonly #namespace: string;
  readonly #path: readonly string[];
  readonly #fallback: string;

  /** @param source null: of no kind, so that there never is a value */
  constructor(
    name: string,
    type: TagType,
    source: MetadataSource | null,
    namespace: string,
    path: readonly string[],
    fallback: string,
  ) {
    super(name, type);
    this.#source = source;
    this.#namespace = namespace;
    this.#path = path;
    this.#fallback = fallback;
  }

  protected value(context: LogContext): string | null {
    const source = this.#source;
    const found = source === null ? undefined : metadataAt(source(context.stream, this.#namespace), this.#path);
    if (found === undefined || found === null) return this.#fallback === '' ? null : this.#fallback;
    const value = byteValue(found);
    if (typeof value === 'string') return value;
    if (typeof value === 'number') return sixDigits(value);
    return typeof value === 'boolean' ? String(value) : jsonText(value);
  }
}
