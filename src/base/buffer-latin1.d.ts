// Bun and Node both have these; their published types leave them out.
interface Buffer {
  latin1Write(text: string, offset?: number, length?: number): number;
  latin1Slice(start?: number, end?: number): string;
}
