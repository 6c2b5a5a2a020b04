import type { HeaderMap } from '../http/header-map.ts';

/** What a host says of its own load: an xds.data.orca.v3.OrcaLoadReport, as far as it is reported further. */
export class OrcaReport {
  /** `cpu_utilization`, `mem_utilization`, `application_utilization`, `eps`, `rps_fractional`. */
  readonly values = new Map<string, number>();
  readonly maps: Readonly<Record<OrcaMap, Map<string, number>>> = {
    named_metrics: new Map(),
    utilization: new Map(),
    request_cost: new Map(),
  };
}

type OrcaMap = 'named_metrics' | 'utilization' | 'request_cost';

const HEADER = 'endpoint-load-metrics';
const BINARY_HEADER = 'endpoint-load-metrics-bin';

/** Names of scalars by their field numbers. */
const SCALARS: Readonly<Record<number, string>> = {
  1: 'cpu_utilization',
  2: 'mem_utilization',
  6: 'rps_fractional',
  7: 'eps',
  9: 'application_utilization',
};
const SCALAR_NAMES: ReadonlySet<string> = new Set(Object.values(SCALARS));
const MAPS: Readonly<Record<number, OrcaMap>> = { 4: 'request_cost', 5: 'utilization', 8: 'named_metrics' };
const NAMED = 'named_metrics.';
const MAP_NAMES: readonly OrcaMap[] = ['named_metrics', 'utilization', 'request_cost'];

/** Reads the report of an answer's head or trailers. Source: Envoy, parseOrcaLoadReportHeaders. @returns null: none that can be read */
export function readOrcaReport(headers: HeaderMap): OrcaReport | null {
  const binary = headers.get(BINARY_HEADER);
  if (binary !== null) return fromWire(Buffer.from(binary, 'base64'));
  const text = headers.get(HEADER);
  if (text === null) return null;
  if (text.startsWith('BIN ')) return fromWire(Buffer.from(text.slice(4), 'base64'));
  if (text.startsWith('JSON ')) return fromJson(text.slice(5));
  return text.startsWith('TEXT ') ? fromText(text.slice(5)) : null;
}

/** `name=value` or `name:value`, with commas in between. One that is bad spoils all, as in Envoy. */
function fromText(text: string): OrcaReport | null {
  const report = new OrcaReport();
  const seen = new Set<string>();
  for (const part of text.split(',')) {
    const split = part.search(/[=:]/);
    const name = part.slice(0, Math.max(split, 0)).trim();
    const digits = part.slice(split + 1).trim();
    const value = Number(digits);
    if (name === '' || digits === '' || seen.has(name) || !Number.isFinite(value)) return null;
    seen.add(name);
    if (SCALAR_NAMES.has(name)) report.values.set(name, value);
    else if (name.startsWith(NAMED) && name.length > NAMED.length)
      report.maps.named_metrics.set(name.slice(NAMED.length), value);
    else return null;
  }
  return report;
}

/** A number of proto3 JSON, which may be a text. */
function numberOf(value: unknown): number {
  return typeof value === 'number' || (typeof value === 'string' && value !== '') ? Number(value) : Number.NaN;
}

function fromJson(text: string): OrcaReport | null {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) return null;
  const report = new OrcaReport();
  for (const [key, value] of Object.entries(json)) {
    // proto3 JSON takes either form of a name.
    const name = key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    const map = MAP_NAMES.find((each) => each === name);
    if (value === null || name === 'rps') continue;
    if (map !== undefined && typeof value === 'object' && !Array.isArray(value)) {
      for (const [inner, number] of Object.entries(value)) report.maps[map].set(inner, numberOf(number));
      if ([...report.maps[map].values()].some(Number.isNaN)) return null;
    } else if (SCALAR_NAMES.has(name) && !Number.isNaN(numberOf(value))) {
      report.values.set(name, numberOf(value));
    } else {
      return null;
    }
  }
  return report;
}

/** A position in a message, moved by what is read. */
interface Cursor {
  at: number;
}

/** @returns -1: the bytes end within it */
function varint(bytes: Buffer, cursor: Cursor): number {
  let value = 0;
  for (let scale = 1; cursor.at < bytes.length && scale <= 2 ** 63; scale *= 128) {
    const byte = bytes[cursor.at++]!;
    value += (byte & 0x7f) * scale;
    if (byte < 0x80) return value;
  }
  return -1;
}

/** Walks the fields of a message. @returns false for bytes that are none */
function eachField(bytes: Buffer, visit: (field: number, type: number, start: number, end: number) => void): boolean {
  const cursor: Cursor = { at: 0 };
  while (cursor.at < bytes.length) {
    const tag = varint(bytes, cursor);
    if (tag < 8) return false;
    const type = tag & 7;
    let start = cursor.at;
    if (type === 0) {
      if (varint(bytes, cursor) < 0) return false;
    } else if (type === 2) {
      const length = varint(bytes, cursor);
      if (length < 0) return false;
      start = cursor.at;
      cursor.at += length;
    } else if (type === 1 || type === 5) {
      cursor.at += type === 1 ? 8 : 4;
    } else {
      return false;
    }
    if (cursor.at > bytes.length) return false;
    visit(Math.floor(tag / 8), type, start, cursor.at);
  }
  return true;
}

function fromWire(bytes: Buffer): OrcaReport | null {
  const report = new OrcaReport();
  let sound = true;
  const walked = eachField(bytes, (field, type, start, end) => {
    const scalar = SCALARS[field];
    const map = MAPS[field];
    if (scalar !== undefined && type === 1) report.values.set(scalar, bytes.readDoubleLE(start));
    if (map === undefined || type !== 2) return;
    let key = '';
    let value = 0;
    const entry = bytes.subarray(start, end);
    sound &&= eachField(entry, (inner, innerType, from, to) => {
      if (inner === 1 && innerType === 2) key = entry.toString('utf8', from, to);
      else if (inner === 2 && innerType === 1) value = entry.readDoubleLE(from);
    });
    report.maps[map].set(key, value);
  });
  return walked && sound ? report : null;
}

/** How often a metric was told, and the sum of what was told. */
export interface MetricSum {
  count: number;
  total: number;
}

/** A host that makes up ever new names does not fill the memory. */
const MAX_NAMES = 1000;

/** Sums of what a host has told since they were taken last. */
export class LoadMetrics {
  #sums = new Map<string, MetricSum>();

  /**
   * Adds what is asked for. Source: Envoy, addOrcaLoadReportToLoadMetricStats.
   * @param names `cpu_utilization`, `named_metrics.a`, `named_metrics.*`, ...
   */
  add(names: readonly string[], report: OrcaReport): void {
    for (const name of names) {
      const dot = name.indexOf('.');
      const map = dot < 0 ? undefined : MAP_NAMES.find((each) => each === name.slice(0, dot));
      if (map === undefined) {
        if (SCALAR_NAMES.has(name)) this.#add(name, report.values.get(name) ?? 0);
      } else if (name === `${map}.*`) {
        for (const [key, value] of report.maps[map]) this.#add(`${map}.${key}`, value);
      } else {
        const value = report.maps[map].get(name.slice(dot + 1));
        if (value !== undefined) this.#add(name, value);
      }
    }
  }

  #add(name: string, value: number): void {
    const sum = this.#sums.get(name);
    if (sum !== undefined) {
      sum.count++;
      sum.total += value;
    } else if (this.#sums.size < MAX_NAMES) {
      this.#sums.set(name, { count: 1, total: value });
    }
  }

  /** What there is; from here on it begins anew. */
  take(): ReadonlyMap<string, MetricSum> {
    const taken = this.#sums;
    if (taken.size > 0) this.#sums = new Map();
    return taken;
  }
}
