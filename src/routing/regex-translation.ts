export interface SafeTranslation {
  readonly wholeMatch: RegExp | null;
  readonly search: RegExp | null;
}

export function translateSafe(_pattern: string): SafeTranslation {
  return { wholeMatch: null, search: null };
}

/** The text with which every match of the pattern begins; empty where that is not plain to see. */
export function literalPrefixOfPattern(_pattern: string): string {
  return '';
}
