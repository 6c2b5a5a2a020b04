/** Writes header names as the one who received them wants them seen (Envoy: StatefulHeaderKeyFormatter). */
export interface HeaderCase {
  /**
   * As many bytes as `name` has: only the case is another.
   * @param name lower case
   * @param wireName how the peer wrote it; null when the header was not received but added here, or not kept
   */
  format(name: string, wireName: string | null): string;
}

/**
 * Headers in wire order as one flat list: name, value, name, value. Names are lower case. Both are latin1 strings: one UTF-16
 * unit per byte, so any byte survives the round trip. A flat list costs half a Map at the usual dozen headers.
 */
export class HeaderMap {
  /** `[name, value, name, value, ...]`. Read freely; write through the methods. */
  list: string[] = [];
  /** Names as they stood on the wire, one per entry, kept only where a header-case formatter asks for it; empty: added here. */
  wireNames: string[] | null = null;
  /** How the peer wrote the name `Transfer-Encoding`, which is not passed on; kept with `wireNames`, null otherwise. */
  codingWireName: string | null = null;
  /** Comes with `wireNames`: it decides how HTTP/1 writes the names, on whichever side. */
  headerCase: HeaderCase | null = null;

  get size(): number {
    return this.list.length >> 1;
  }

  /** First value of `name` (lower case), or null. */
  get(name: string): string | null {
    const list = this.list;
    for (let i = 0; i < list.length; i += 2) {
      if (list[i] === name) return list[i + 1]!;
    }
    return null;
  }

  has(name: string): boolean {
    const list = this.list;
    for (let i = 0; i < list.length; i += 2) {
      if (list[i] === name) return true;
    }
    return false;
  }

  /** All values of `name`, in order. */
  getAll(name: string): string[] {
    const out: string[] = [];
    const list = this.list;
    for (let i = 0; i < list.length; i += 2) {
      if (list[i] === name) out.push(list[i + 1]!);
    }
    return out;
  }

  /** All values joined by `,` as Envoy matches and logs them; null when absent. */
  getJoined(name: string, separator = ','): string | null {
    let out: string | null = null;
    const list = this.list;
    for (let i = 0; i < list.length; i += 2) {
      if (list[i] === name) out = out === null ? list[i + 1]! : out + separator + list[i + 1]!;
    }
    return out;
  }

  /** Adds an entry behind all others, whether or not the name is there. */
  add(name: string, value: string): void {
    this.list.push(name, value);
    this.wireNames?.push('');
  }

  /** Replaces the first entry's value in place and removes further ones; adds when absent. */
  set(name: string, value: string): void {
    const list = this.list;
    for (let i = 0; i < list.length; i += 2) {
      if (list[i] === name) {
        list[i + 1] = value;
        this.#removeFrom(name, i + 2);
        return;
      }
    }
    this.add(name, value);
  }

  /** Appends to the first entry with `,` as separator (Envoy's appendCopy); adds when absent. */
  append(name: string, value: string, separator = ','): void {
    const list = this.list;
    for (let i = 0; i < list.length; i += 2) {
      if (list[i] === name) {
        list[i + 1] = list[i + 1] === '' ? value : list[i + 1] + separator + value;
        return;
      }
    }
    this.add(name, value);
  }

  /** Removes every entry of `name`. @returns whether there was one */
  remove(name: string): boolean {
    return this.#removeFrom(name, 0);
  }

  #removeFrom(name: string, from: number): boolean {
    const list = this.list;
    let i = from;
    while (i < list.length && list[i] !== name) i += 2;
    if (i >= list.length) return false;
    const wireNames = this.wireNames;
    let write = i;
    for (i += 2; i < list.length; i += 2) {
      if (list[i] === name) continue;
      list[write] = list[i]!;
      list[write + 1] = list[i + 1]!;
      if (wireNames !== null) wireNames[write >> 1] = wireNames[i >> 1]!;
      write += 2;
    }
    list.length = write;
    if (wireNames !== null) wireNames.length = write >> 1;
    return true;
  }

  /** Removes every entry for which `test` holds. */
  removeWhere(test: (name: string, value: string) => boolean): void {
    const list = this.list;
    const wireNames = this.wireNames;
    let write = 0;
    for (let i = 0; i < list.length; i += 2) {
      if (test(list[i]!, list[i + 1]!)) continue;
      list[write] = list[i]!;
      list[write + 1] = list[i + 1]!;
      if (wireNames !== null) wireNames[write >> 1] = wireNames[i >> 1]!;
      write += 2;
    }
    list.length = write;
    if (wireNames !== null) wireNames.length = write >> 1;
  }

  /** Bytes of all names and values (Envoy: HeaderMap::byteSize, pseudo-headers of subclasses included). */
  byteSize(): number {
    let total = 0;
    for (const text of this.list) total += text.length;
    return total;
  }

  protected copyEntriesTo(target: HeaderMap): void {
    target.list = this.list.slice();
    target.wireNames = this.wireNames === null ? null : this.wireNames.slice();
    target.headerCase = this.headerCase;
    target.codingWireName = this.codingWireName;
  }

  clone(): HeaderMap {
    const copy = new HeaderMap();
    this.copyEntriesTo(copy);
    return copy;
  }

  /** Lookup that also knows the pseudo-headers of the subclass (`:method`, `:status`, ...): for formats and matchers. */
  lookup(name: string): string | null {
    return this.get(name);
  }

  /** Like `lookup`, several values joined by `,`. */
  lookupJoined(name: string): string | null {
    return this.getJoined(name);
  }
}

/** A request's head. `authority` stands for the Host header: `list` never holds `host`. */
export class RequestHeaders extends HeaderMap {
  method = '';
  /** `http` or `https`; empty until known. */
  scheme = '';
  /** Host and port as the client sent them; null when absent (HTTP/1.0). */
  authority: string | null = null;
  /** Path with query, `*` for OPTIONS *, null for CONNECT in authority form. */
  path: string | null = null;
  /** `:protocol` of an extended CONNECT; null otherwise. */
  protocol: string | null = null;
  /** How the peer wrote the name `Host`; kept with `wireNames`, null otherwise. */
  authorityWireName: string | null = null;

  override clone(): RequestHeaders {
    const copy = new RequestHeaders();
    this.copyEntriesTo(copy);
    copy.method = this.method;
    copy.scheme = this.scheme;
    copy.authority = this.authority;
    copy.path = this.path;
    copy.protocol = this.protocol;
    copy.authorityWireName = this.authorityWireName;
    return copy;
  }

  /** Takes over everything of `saved`, a clone of earlier. */
  restore(saved: RequestHeaders): void {
    saved.copyEntriesTo(this);
    this.method = saved.method;
    this.scheme = saved.scheme;
    this.authority = saved.authority;
    this.path = saved.path;
    this.protocol = saved.protocol;
    this.authorityWireName = saved.authorityWireName;
  }

  override lookup(name: string): string | null {
    switch (name) {
      case ':method':
        return this.method === '' ? null : this.method;
      case ':scheme':
        return this.scheme === '' ? null : this.scheme;
      case ':authority':
      case 'host':
        return this.authority;
      case ':path':
        return this.path;
      case ':protocol':
        return this.protocol;
      default:
        return this.get(name);
    }
  }

  override lookupJoined(name: string): string | null {
    return name.charCodeAt(0) === 58 || name === 'host' ? this.lookup(name) : this.getJoined(name);
  }

  override byteSize(): number {
    let total = super.byteSize();
    if (this.method !== '') total += 7 + this.method.length;
    if (this.scheme !== '') total += 7 + this.scheme.length;
    if (this.authority !== null) total += 10 + this.authority.length;
    if (this.path !== null) total += 5 + this.path.length;
    if (this.protocol !== null) total += 9 + this.protocol.length;
    return total;
  }
}

/** A response's head. */
export class ResponseHeaders extends HeaderMap {
  /** 100-599; 0 until known. */
  status = 0;
  /** Received reason phrase, where a header-case formatter sends it on; null: the usual words. */
  reasonPhrase: string | null = null;

  static of(status: number): ResponseHeaders {
    const headers = new ResponseHeaders();
    headers.status = status;
    return headers;
  }

  override clone(): ResponseHeaders {
    const copy = new ResponseHeaders();
    this.copyEntriesTo(copy);
    copy.status = this.status;
    copy.reasonPhrase = this.reasonPhrase;
    return copy;
  }

  override lookup(name: string): string | null {
    return name === ':status' ? (this.status === 0 ? null : String(this.status)) : this.get(name);
  }

  override lookupJoined(name: string): string | null {
    return name === ':status' ? this.lookup(name) : this.getJoined(name);
  }

  override byteSize(): number {
    return super.byteSize() + (this.status === 0 ? 0 : 10);
  }
}
