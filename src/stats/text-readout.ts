/** A string reported as a stat (for example `control_plane.identifier`). */
export class TextReadout {
  value: string;
  used: boolean;
  /** True when `value` changed since the last delta. Owned by `StatsStore`. */
  dirty: boolean;
  readonly id: number;

  constructor(id = -1) {
    this.value = '';
    this.used = false;
    this.dirty = false;
    this.id = id;
  }

  set(value: string): void {
    this.value = value;
    this.used = true;
    this.dirty = true;
  }
}
