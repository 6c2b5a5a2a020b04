import type { Random } from '../../base/random.ts';

/** 64 random bits as 16 hexadecimal digits. */
export function randomId(random: Random): string {
  return hex32(random.uint32()) + hex32(random.uint32());
}

/** 8 hexadecimal digits. @param value integer in [0, 2^32) */
export function hex32(value: number): string {
  return value.toString(16).padStart(8, '0');
}
