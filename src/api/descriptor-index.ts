import type { EncodedType, EncodedTypes } from './lazy-descriptors.ts';

/**
 * A skim over an encoded `google.protobuf.FileDescriptorSet`: where each file lies, which package it has and what it
 * imports. It reads field headers only (under 2 ms for Envoy's 729 files), so that decoding is paid per file used.
 */
export class IndexedFile {
  readonly name: string;
  readonly package: string;
  /** Where the encoded FileDescriptorProto begins and ends, in bytes. */
  readonly start: number;
  readonly end: number;

  constructor(name: string, packageName: string, start: number, end: number) {
    this.name = name;
    this.package = packageName;
    this.start = start;
    this.end = end;
  }
}

const WIRE_LENGTH = 2;

/** Field numbers of descriptor.proto that the skim looks at. */
const SET_FILE = 1;
const FILE_DEPENDENCY = 3;
const FILE_MESSAGE = 4;
const FILE_ENUM = 5;
const FILE_SERVICE = 6;
const FILE_EXTENSION = 7;
const FILE_SYNTAX = 12;
const MESSAGE_NAME = 1;
const MESSAGE_NESTED = 3;

type Visitor = (field: number, start: number, end: number) => void;

export class DescriptorIndex {
  readonly bytes: Uint8Array;
  readonly #buffer: Buffer;
  readonly #files = new Map<string, IndexedFile>();
  readonly #byPackage = new Map<string, IndexedFile[]>();
  /** Top-level type name to file, filled one package at a time. */
  readonly #topLevel = new Map<string, IndexedFile>();
  readonly #skimmedPackages = new Set<string>();

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.#buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    walk(bytes, 0, bytes.length, (field, start, end) => {
      if (field === SET_FILE) this.#addFile(start, end);
    });
  }

  get files(): Iterable<IndexedFile> {
    return this.#files.values();
  }

  file(name: string): IndexedFile | undefined {
    return this.#files.get(name);
  }

  /** The file that declares a message, enum, service or extension, nested or not; undefined when none does. */
  fileOfType(typeName: string): IndexedFile | undefined {
    let end = typeName.lastIndexOf('.');
    // From 0, lastIndexOf would find a leading dot for ever.
    while (end > 0) {
      const packageName = typeName.slice(0, end);
      if (this.#byPackage.has(packageName)) {
        this.#skimPackage(packageName);
        const next = typeName.indexOf('.', end + 1);
        return this.#topLevel.get(next < 0 ? typeName : typeName.slice(0, next));
      }
      end = typeName.lastIndexOf('.', end - 1);
    }
    this.#skimPackage('');
    const dot = typeName.indexOf('.');
    return this.#topLevel.get(dot < 0 ? typeName : typeName.slice(0, dot));
  }

  /** Full names of all messages, nested ones included, map entries excluded by their conventional suffix. */
  messageTypeNames(): string[] {
    const names: string[] = [];
    for (const file of this.#files.values()) {
      walk(this.bytes, file.start, file.end, (field, start, end) => {
        if (field === FILE_MESSAGE) this.#messageNames(file.package, start, end, names);
      });
    }
    return names;
  }

  #messageNames(scope: string, start: number, end: number, into: string[]): void {
    let name = '';
    const nested: [number, number][] = [];
    walk(this.bytes, start, end, (field, from, to) => {
      if (field === MESSAGE_NAME) name = this.#text(from, to);
      else if (field === MESSAGE_NESTED) nested.push([from, to]);
    });
    const full = scope === '' ? name : `${scope}.${name}`;
    into.push(full);
    for (const [from, to] of nested) {
      const before = into.length;
      this.#messageNames(full, from, to, into);
      if (into[before]?.endsWith('Entry') && into.length === before + 1 && this.#isMapEntry(from, to)) into.pop();
    }
  }

  #isMapEntry(start: number, end: number): boolean {
    let mapEntry = false;
    walk(this.bytes, start, end, (field, from, to) => {
      // MessageOptions (7) with map_entry (7, varint): the two bytes 0x38 0x01.
      if (field === 7)
        for (let i = from; i + 1 < to; i++) if (this.bytes[i] === 0x38 && this.bytes[i + 1] === 1) mapEntry = true;
    });
    return mapEntry;
  }

  #addFile(start: number, end: number): void {
    let name = '';
    let packageName = '';
    // Serializers write fields in order: name (1) and package (2) come first, so this stops early.
    const bytes = this.bytes;
    let at = start;
    while (at < end && (bytes[at] === 0x0a || bytes[at] === 0x12)) {
      const isName = bytes[at] === 0x0a;
      at++;
      let length = 0;
      let shift = 0;
      let byte = 0;
      do {
        byte = bytes[at++]!;
        length |= (byte & 0x7f) << shift;
        shift += 7;
      } while (byte >= 0x80);
      const text = this.#text(at, at + length);
      if (isName) name = text;
      else packageName = text;
      at += length;
    }
    this.#files.set(name, new IndexedFile(name, packageName, start, end));
    const siblings = this.#byPackage.get(packageName);
    if (siblings === undefined) this.#byPackage.set(packageName, [this.#files.get(name)!]);
    else siblings.push(this.#files.get(name)!);
  }

  /** The top-level types of a file, still encoded. */
  types(file: IndexedFile): EncodedTypes {
    const messages: EncodedType[] = [];
    const enums: EncodedType[] = [];
    const services: EncodedType[] = [];
    let isProto3 = false;
    let hasExtensions = false;
    walk(this.bytes, file.start, file.end, (field, from, to) => {
      if (field === FILE_SYNTAX) isProto3 = this.#text(from, to) === 'proto3';
      else if (field === FILE_EXTENSION) hasExtensions = true;
      const list =
        field === FILE_MESSAGE ? messages : field === FILE_ENUM ? enums : field === FILE_SERVICE ? services : undefined;
      list?.push({ name: this.#nameIn(from), bytes: this.bytes.subarray(from, to) });
    });
    return { messages, enums, services, isProto3, hasExtensions };
  }

  /** The name of the type whose encoding starts there: `name` is field 1 of all kinds, and comes first. */
  #nameIn(start: number): string {
    if (this.bytes[start] !== 0x0a) throw new Error(`descriptor file: a type without a name at byte ${start}`);
    // Names are shorter than 128 bytes.
    const length = this.bytes[start + 1]!;
    return this.#text(start + 2, start + 2 + length);
  }

  /** Names of the files that a file imports. */
  dependencies(file: IndexedFile): string[] {
    const names: string[] = [];
    walk(this.bytes, file.start, file.end, (field, from, to) => {
      if (field === FILE_DEPENDENCY) names.push(this.#text(from, to));
    });
    return names;
  }

  /** Protobuf identifiers and file names are ASCII. */
  #text(start: number, end: number): string {
    return this.#buffer.latin1Slice(start, end);
  }

  #skimPackage(packageName: string): void {
    if (this.#skimmedPackages.has(packageName)) return;
    this.#skimmedPackages.add(packageName);
    const prefix = packageName === '' ? '' : `${packageName}.`;
    for (const file of this.#byPackage.get(packageName) ?? []) {
      walk(this.bytes, file.start, file.end, (field, start) => {
        if (field === FILE_MESSAGE || field === FILE_ENUM || field === FILE_SERVICE || field === FILE_EXTENSION) {
          this.#topLevel.set(prefix + this.#nameIn(start), file);
        }
      });
    }
  }
}

/** Visits the length-delimited fields of one encoded message; others are stepped over. Throws on bytes that are not protobuf. */
function walk(bytes: Uint8Array, start: number, end: number, visit: Visitor): void {
  let at = start;
  while (at < end) {
    let tag = 0;
    let shift = 0;
    let byte = 0;
    do {
      byte = bytes[at++]!;
      tag |= (byte & 0x7f) << shift;
      shift += 7;
    } while (byte >= 0x80);
    switch (tag & 7) {
      case 0:
        while (bytes[at++]! >= 0x80);
        break;
      case 1:
        at += 8;
        break;
      case 5:
        at += 4;
        break;
      case WIRE_LENGTH: {
        let length = 0;
        shift = 0;
        do {
          byte = bytes[at++]!;
          length |= (byte & 0x7f) << shift;
          shift += 7;
        } while (byte >= 0x80);
        visit(tag >>> 3, at, at + length);
        at += length;
        break;
      }
      default:
        throw new Error(`descriptor file: unexpected wire type ${tag & 7} at byte ${at}`);
    }
  }
}
