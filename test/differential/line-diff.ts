/**
 * The lines by which two texts differ, as a unified diff with all the common lines that stand near a difference;
 * empty where the texts are equal.
 */
export function diffLines(left: string, right: string, context = 3): string {
  if (left === right) return '';
  const a = left.split('\n');
  const b = right.split('\n');
  // Longest common subsequence; transcripts are short.
  const width = b.length + 1;
  const lengths = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      lengths[i * width + j] =
        a[i] === b[j]
          ? (lengths[(i + 1) * width + j + 1] ?? 0) + 1
          : Math.max(lengths[(i + 1) * width + j] ?? 0, lengths[i * width + j + 1] ?? 0);
    }
  }
  const lines: string[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      lines.push(`  ${a[i]}`);
      i++;
      j++;
    } else if (
      i < a.length &&
      (j >= b.length || (lengths[(i + 1) * width + j] ?? 0) >= (lengths[i * width + j + 1] ?? 0))
    ) {
      lines.push(`- ${a[i]}`);
      i++;
    } else {
      lines.push(`+ ${b[j]}`);
      j++;
    }
  }
  const near = (at: number): boolean => {
    for (let k = Math.max(0, at - context); k <= Math.min(lines.length - 1, at + context); k++) {
      if (!lines[k]?.startsWith('  ')) return true;
    }
    return lines[at]?.startsWith('  ==') === true;
  };
  const shown: string[] = [];
  let skipped = false;
  for (let k = 0; k < lines.length; k++) {
    if (near(k)) {
      if (skipped) shown.push('  ...');
      skipped = false;
      shown.push(lines[k] ?? '');
    } else skipped = true;
  }
  return shown.join('\n');
}
