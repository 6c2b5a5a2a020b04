import type { SeededRandom } from '../../src/base/random.ts';

/** What means something in YAML, JSON or protobuf text, or nearly does. */
const PIECES = [
  ...['{', '}', '[', ']', ':', ': ', ',', '\n', '  ', '- ', '"', "'", '&a ', '*a', '!x ', '|', '>', '#', '\\', '\0'],
  ...['\u{1F600}', '0x', '~', '@type', '?', '%', '<', '---\n', '1e9', '\t', '\n  - ', '\nclusters:\n'],
];

/** A configuration's text behind one to four edits: parts are cut out, put in, doubled or overwritten. */
export function editedText(text: string, random: SeededRandom): string {
  let made = text;
  for (let edits = 1 + random.below(4); edits > 0; edits--) {
    const at = random.below(made.length);
    const before = made.slice(0, at);
    const kind = random.below(20);
    if (kind < 6) made = before + made.slice(at + 1 + random.below(8));
    else if (kind < 14) made = before + PIECES[random.below(PIECES.length)] + made.slice(at);
    else if (kind < 17) {
      const from = random.below(made.length);
      made = before + made.slice(from, from + 40) + made.slice(at);
    } else made = before + String.fromCharCode(random.below(256)) + made.slice(at + 1);
  }
  return made;
}
