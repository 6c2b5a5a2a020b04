import type { Position, SourceFile } from './source-file.ts';

export type Severity = 'error' | 'warning';

/** What is wrong (or, as a warning, doubtful) in a configuration, and where. */
export interface ConfigError {
  readonly severity: Severity;
  /** The field's path in the message, such as `static_resources.listeners[0].name`; empty for the whole. */
  readonly path: string;
  /** Absent for binary configurations and for what no text holds. */
  readonly position?: Position;
  /** The text that the position points into, for showing the line. */
  readonly source?: SourceFile;
  readonly reason: string;
  /** A remedy, or "did you mean ...". */
  readonly hint?: string;
}

export function configError(
  severity: Severity,
  path: string,
  reason: string,
  hint?: string,
  place?: { readonly source: SourceFile; readonly start: number; readonly end: number },
): ConfigError {
  return {
    severity,
    path,
    reason,
    ...(hint === undefined ? {} : { hint }),
    ...(place === undefined ? {} : { position: place.source.position(place.start, place.end), source: place.source }),
  };
}
