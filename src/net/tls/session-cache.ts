import { integerOf, readDer } from './der.ts';

/** Sessions of one upstream context for resumption, newest first. Source: Envoy, `max_session_keys`. */
export class SessionCache {
  readonly #limit: number;
  readonly #byName = new Map<string, Buffer[]>();
  #size = 0;

  /** @param limit sessions of all names together; 0: none are kept */
  constructor(limit: number) {
    this.#limit = limit;
  }

  add(serverName: string, session: Buffer): void {
    if (this.#limit === 0) return;
    let sessions = this.#byName.get(serverName);
    if (sessions === undefined) {
      sessions = [];
      this.#byName.set(serverName, sessions);
    }
    sessions.push(session);
    this.#size++;
    if (this.#size <= this.#limit) return;
    // The name that was first to have one gives up its oldest.
    for (const [name, list] of this.#byName) {
      list.shift();
      this.#size--;
      if (list.length === 0) this.#byName.delete(name);
      break;
    }
  }

  /** @returns null when there is none. A session of TLS 1.3 is used once (RFC 8446 C.4). */
  take(serverName: string): Buffer | null {
    const sessions = this.#byName.get(serverName);
    if (sessions === undefined || sessions.length === 0) return null;
    const session = sessions[sessions.length - 1]!;
    if (isTls13(session)) {
      sessions.pop();
      this.#size--;
      if (sessions.length === 0) this.#byName.delete(serverName);
    }
    return session;
  }

  get size(): number {
    return this.#size;
  }
}

/**
 * Fields of a session as BoringSSL writes it: SEQUENCE { version 1, protocol, cipher, session id, ... }; OpenSSL's form
 * begins alike.
 */
function fieldsAt(session: Buffer): number {
  if (session.length < 16 || session[0] !== 0x30) return -1;
  const length = session[1]!;
  return 2 + (length > 0x7f ? length & 0x7f : 0);
}

function isTls13(session: Buffer): boolean {
  const at = fieldsAt(session);
  // INTEGER 1, then INTEGER of two bytes: the protocol.
  return at > 0 && session[at + 3] === 2 && session[at + 4] === 2 && session.readUInt16BE(at + 5) === 0x0304;
}

/** The session's identity in hex; empty: it has none (tickets, TLS 1.3). */
export function sessionIdOf(session: Buffer): string {
  const at = fieldsAt(session);
  if (at < 0 || session[at + 7] !== 4 || session[at + 11] !== 4) return '';
  const size = session[at + 12]!;
  return session.toString('hex', at + 13, at + 13 + size);
}

/** Context-specific, constructed, 18: the group, in BoringSSL's form of a session. */
const GROUP_TAG = 0xb2;

/** IANA number of the group whose secret the session was made with, as BoringSSL keeps it; -1: not told. */
export function groupNumberOf(session: Buffer): number {
  const fields = readDer(session).content;
  for (let at = 0; at < fields.length; ) {
    const field = readDer(fields, at);
    if (field.tag === GROUP_TAG) return integerOf(readDer(field.content));
    at += field.whole.length;
  }
  return -1;
}
