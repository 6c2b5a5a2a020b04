import { err, ok, type Result } from '../base/result.ts';
import { Regex } from './regex.ts';

/** pchar of RFC 3986 without `*`, as a class of a pattern; what `*` and literals stand for. */
const CHARACTERS = "a-zA-Z0-9\\-._~%!$&'()+,;:@=";
const LITERAL = new RegExp(`^[${CHARACTERS}]+$`);
const NAME = /^[A-Za-z][A-Za-z0-9_]*$/;
const MAX_VARIABLES = 5;
const MAX_NAME_LENGTH = 16;

function escaped(literal: string): string {
  return literal.replace(/[^A-Za-z0-9/_~%]/g, (char) => `\\${char}`);
}

/** Builds the pattern of a template, segment by segment. */
class TemplateCompiler {
  readonly variables: string[] = [];
  pattern = '';
  literalPrefix = '';
  #onlyLiterals = true;
  #seenTextGlob = false;

  /** @returns why the template is not one, or null */
  compile(template: string): string | null {
    if (!template.startsWith('/') || /[^\x21-\x7e]/.test(template)) return `Invalid pattern: "${template}"`;
    const segments = splitSegments(template.slice(1));
    for (let i = 0; i < segments.length; i++) {
      this.#literal('/');
      // Only the last segment may be empty: a slash at the end.
      if (segments[i] === '' && i === segments.length - 1) break;
      const error = this.#segment(segments[i]!);
      if (error !== null) return error;
    }
    return null;
  }

  #literal(text: string): void {
    this.pattern += escaped(text);
    if (this.#onlyLiterals) this.literalPrefix += text;
  }

  #segment(segment: string): string | null {
    const special = segment.search(/[*{]/);
    if (special < 0) {
      if (!LITERAL.test(segment)) return `Invalid literal: "${segment}"`;
      this.#literal(segment);
      return null;
    }
    const prefix = segment.slice(0, special);
    if (prefix !== '') {
      if (!LITERAL.test(prefix)) return `Invalid literal: "${prefix}"`;
      this.#literal(prefix);
    }
    this.#onlyLiterals = false;
    let rest = segment.slice(special);
    let error: string | null;
    if (rest.startsWith('{')) {
      const end = rest.indexOf('}');
      if (end < 0) return `Unmatched variable bracket in mixed pattern: "${rest}"`;
      error = this.#variable(rest.slice(1, end));
      rest = rest.slice(end + 1);
    } else {
      const operator = rest.startsWith('**') ? '**' : '*';
      error = this.#glob(operator, false);
      rest = rest.slice(operator.length);
    }
    if (error !== null) return error;
    if (rest === '') return null;
    if (!LITERAL.test(rest)) return `Invalid suffix literal: "${rest}"`;
    this.#literal(rest);
    return null;
  }

  #glob(operator: string, implicit: boolean): string | null {
    if (this.#seenTextGlob) return implicit ? 'Implicit variable path glob after text glob.' : 'Glob after text glob.';
    if (operator === '**') this.#seenTextGlob = true;
    this.pattern += operator === '**' ? `[${CHARACTERS}/]*` : `[${CHARACTERS}]+`;
    return null;
  }

  #variable(text: string): string | null {
    const equal = text.indexOf('=');
    const name = equal < 0 ? text : text.slice(0, equal);
    if (!NAME.test(name)) return `Invalid variable name: "${name}"`;
    if (name.length > MAX_NAME_LENGTH) {
      return `Invalid variable name length (length of "${name}" should be at least 1 and no more than ${MAX_NAME_LENGTH})`;
    }
    if (this.variables.includes(name)) return `Repeated variable name: "${name}"`;
    if (this.variables.length >= MAX_VARIABLES) return `Exceeded variable count limit (${MAX_VARIABLES})`;
    this.variables.push(name);
    this.pattern += '(';
    const error = equal < 0 ? this.#glob('*', true) : this.#variablePattern(text.slice(equal + 1));
    this.pattern += ')';
    return error;
  }

  #variablePattern(text: string): string | null {
    if (text === '') return 'Empty variable match';
    const parts = text.split('/');
    for (let i = 0; i < parts.length; i++) {
      if (i > 0) this.pattern += '/';
      const part = parts[i]!;
      if (part === '*' || part === '**') {
        const error = this.#glob(part, false);
        if (error !== null) return error;
      } else if (LITERAL.test(part)) {
        this.pattern += escaped(part);
      } else {
        return `Invalid variable match: "${part}"`;
      }
    }
    return null;
  }
}

/** Splits at slashes that are not in braces. */
function splitSegments(text: string): string[] {
  const out: string[] = [];
  let depth = 0;
  let start = 0;
  for (let i = 0; i < text.length; i++) {
    if (text[i] === '{') depth++;
    else if (text[i] === '}') depth--;
    else if (text[i] === '/' && depth === 0) {
      out.push(text.slice(start, i));
      start = i + 1;
    }
  }
  out.push(text.slice(start));
  return out;
}

/** `envoy.path.match.uri_template`: `/a/{x}/{rest=**}`. Source: UriTemplateMatchConfig. */
export class UriTemplate {
  readonly text: string;
  /** With which every path begins that matches. */
  readonly literalPrefix: string;
  readonly variables: readonly string[];
  readonly #regex: Regex;
  readonly #capture: RegExp;

  private constructor(text: string, compiler: TemplateCompiler, regex: Regex) {
    this.text = text;
    this.literalPrefix = compiler.literalPrefix;
    this.variables = compiler.variables;
    this.#regex = regex;
    this.#capture = new RegExp(`^${compiler.pattern}$`);
  }

  /** @returns the template, or what is wrong with it */
  static compile(text: string): Result<UriTemplate, string> {
    const compiler = new TemplateCompiler();
    const error = compiler.compile(text);
    if (error !== null) return err(error);
    const regex = Regex.compile(compiler.pattern);
    return regex.ok ? ok(new UriTemplate(text, compiler, regex.value)) : regex;
  }

  /** @param path without query */
  matches(path: string): boolean {
    return this.#regex.test(path);
  }

  /** Values of the variables; null when the path does not match. */
  capture(path: string): ReadonlyMap<string, string> | null {
    // At most five globs, of which one crosses slashes: the engine's time is bounded; the linear matcher has said yes first.
    if (!this.#regex.test(path)) return null;
    const match = this.#capture.exec(path);
    if (match === null) return null;
    return new Map(this.variables.map((name, i) => [name, match[i + 1] ?? '']));
  }
}

/** `envoy.path.rewrite.uri_template`: `/{rest}/y/{x}`. Source: UriTemplateRewriteConfig. */
export class UriTemplateRewrite {
  readonly text: string;
  /** Literals and names in turn: literal, name, literal, ..., literal. */
  readonly #parts: readonly string[];

  private constructor(text: string, parts: readonly string[]) {
    this.text = text;
    this.#parts = parts;
  }

  static compile(text: string): Result<UriTemplateRewrite, string> {
    const parts = text.split(/\{([A-Za-z][A-Za-z0-9_]*)\}/);
    const bad = parts.some((part, i) => i % 2 === 0 && !/^[a-zA-Z0-9\-._~%!$&'()+,;:@=*/]*$/.test(part));
    return !text.startsWith('/') || bad ? err('invalid rewrite template') : ok(new UriTemplateRewrite(text, parts));
  }

  get variables(): readonly string[] {
    return this.#parts.filter((_, i) => i % 2 === 1);
  }

  /** The new path; null when the template does not match the old one. */
  apply(template: UriTemplate, path: string): string | null {
    const values = template.capture(path);
    if (values === null) return null;
    let out = this.#parts[0]!;
    for (let i = 1; i < this.#parts.length; i += 2) out += (values.get(this.#parts[i]!) ?? '') + this.#parts[i + 1]!;
    return out;
  }
}
