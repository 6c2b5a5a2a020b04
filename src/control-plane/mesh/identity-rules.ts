import { createHash, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { parse } from 'yaml';
import type { Node } from '../../api/gen/envoy/config/core/v3/base_pb.d.ts';
import type { GrpcServerCall } from '../../grpc/grpc-server-call.ts';
import { type NodeSelector, selectorOf, selectsNode } from '../node-groups.ts';
import { pathFault } from './spiffe-id.ts';
import type { SubjectNames } from './x509-issuer.ts';

/** Who may have which certificate. */
interface IdentityRule {
  /** Name (URI or DNS) in the client's certificate; `*` at the end stands for anything. Null: by token. */
  readonly client: string | null;
  /** Where the bearer's token stands; null: by certificate. */
  readonly tokenFile: string | null;
  readonly node: NodeSelector;
  /** Path of the SPIFFE ID, with `{...}` for what the node or its certificate says. */
  readonly path: string;
  readonly dns: readonly string[];
}

/** What there is to be told of one who asks. */
export type Entitlement =
  | { readonly ok: true; readonly names: SubjectNames }
  | { readonly ok: false; readonly reason: string };

const no = (reason: string): Entitlement => ({ ok: false, reason });

const FIELDS = ['client', 'token_file', 'node', 'identity', 'dns_names'];
const PLACE = /\{([^{}]*)\}/g;
const DNS_NAME = /^(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.?)+$/;

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isKnownPlace(name: string): boolean {
  return ['id', 'cluster', 'region', 'zone', 'sub_zone', 'client'].includes(name) || /^metadata\..+$/.test(name);
}

function ruleOf(value: unknown, folder: string): IdentityRule {
  if (!isRecord(value)) throw new Error('a rule is a mapping');
  for (const field of Object.keys(value)) {
    if (!FIELDS.includes(field)) throw new Error(`unknown field ${field}; known are ${FIELDS.join(', ')}`);
  }
  const { client, token_file: token, identity, dns_names: dns = [] } = value;
  // Nobody gets a certificate for what it says alone.
  if ((client === undefined) === (token === undefined)) throw new Error('a rule has one of client and token_file');
  if (client !== undefined && (typeof client !== 'string' || client === '' || client === '*')) {
    throw new Error('client is a name, or the beginning of one with a * behind');
  }
  if (token !== undefined && (typeof token !== 'string' || token === '')) throw new Error('token_file is a path');
  if (typeof identity !== 'string') throw new Error('identity is missing: such as /ns/default/sa/{cluster}');
  for (const [, name = ''] of identity.matchAll(PLACE)) {
    if (!isKnownPlace(name)) throw new Error(`identity: {${name}} is unknown`);
    if (name === 'client' && client === undefined) throw new Error('identity: {client} needs client');
  }
  const fault = identity === '{client}' ? '' : pathFault(identity.replace(PLACE, 'x'));
  if (fault !== '') throw new Error(`identity: ${fault}`);
  if (!Array.isArray(dns) || !dns.every((name) => typeof name === 'string' && DNS_NAME.test(name))) {
    throw new Error('dns_names is a list of names');
  }
  return {
    client: client ?? null,
    tokenFile: token === undefined ? null : resolve(folder, token),
    node: value.node === undefined ? {} : selectorOf(value.node),
    path: identity,
    dns,
  };
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
/** What anybody could guess is no secret. */
const MIN_TOKEN_BYTES = 16;

/**
 * Which client gets which identity: by the name in its verified certificate, or by a token, and by what its node says. The first rule
 * that fits counts. Without any rule a client gets the identity again that its certificate has.
 */
export class IdentityRules {
  readonly #trustDomain: string;
  readonly #rules: readonly IdentityRule[];

  private constructor(trustDomain: string, rules: readonly IdentityRule[]) {
    this.#trustDomain = trustDomain;
    this.#rules = rules;
  }

  /** Of a client whose certificate is of this mesh already, its own identity. */
  static ownIdentity(trustDomain: string): IdentityRules {
    const own = { client: `spiffe://${trustDomain}/*`, tokenFile: null, node: {}, path: '{client}', dns: [] };
    return new IdentityRules(trustDomain, [own]);
  }

  /**
   * @param path a YAML file: a list `rules`
   * @throws Error with what is wrong
   */
  static read(path: string, trustDomain: string): IdentityRules {
    const content: unknown = parse(readFileSync(path, 'utf8'));
    if (!isRecord(content) || !Array.isArray(content.rules)) throw new Error(`${path}: a list rules is missing`);
    const rules = content.rules.map((value: unknown, index) => {
      try {
        return ruleOf(value, dirname(path));
      } catch (error) {
        throw new Error(`${path}: rules[${index}]: ${(error as Error).message}`);
      }
    });
    const read = new IdentityRules(trustDomain, rules);
    for (const { tokenFile } of rules) if (tokenFile !== null) tokensOf(tokenFile);
    return read;
  }

  entitlementOf(call: GrpcServerCall, node: Node): Entitlement {
    const { security } = call;
    if (security === null) return no('certificates are issued over TLS alone');
    const isVerified = security.peerCertificateValidated && security.peer !== null;
    const names = isVerified ? [...security.peer!.uriNames, ...security.peer!.dnsNames] : [];
    const bearer = /^Bearer +(\S+)$/i.exec(call.headers.get('authorization') ?? '')?.[1] ?? '';
    let reason = 'no rule fits';
    for (const rule of this.#rules) {
      const client = rule.client === null ? '' : (names.find((name) => fits(rule.client!, name)) ?? '');
      const isKnown = rule.tokenFile === null ? client !== '' : bearer !== '' && isToken(rule.tokenFile, bearer);
      if (!isKnown || !selectsNode(rule.node, node)) continue;
      const path = this.#pathOf(rule, node, client);
      if (path.fault === '') {
        return { ok: true, names: { uri: `spiffe://${this.#trustDomain}${path.text}`, dns: rule.dns } };
      }
      reason = path.fault;
    }
    if (names.length === 0 && bearer === '') return no('neither a verified certificate nor a token was presented');
    return no(reason);
  }

  #pathOf({ path }: IdentityRule, node: Node, client: string): { readonly text: string; readonly fault: string } {
    if (path === '{client}') {
      const prefix = `spiffe://${this.#trustDomain}/`;
      const text = client.startsWith(prefix) ? client.slice(prefix.length - 1) : '';
      const fault = text === '' ? `${client} is not of spiffe://${this.#trustDomain}` : pathFault(text);
      return { text, fault };
    }
    let fault = '';
    const text = path.replace(PLACE, (_, name: string) => {
      const value = claimOf(name, node, client);
      // A value is one segment: it must not be able to make others of them.
      if (fault === '' && pathFault(`/${value}`) !== '') fault = `{${name}} of the node: ${pathFault(`/${value}`)}`;
      if (fault === '' && value.includes('/')) fault = `{${name}} of the node holds a /`;
      return value;
    });
    return { text, fault: fault === '' ? pathFault(text) : fault };
  }
}

function fits(pattern: string, name: string): boolean {
  return pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern;
}

function claimOf(name: string, node: Node, client: string): string {
  switch (name) {
    case 'id':
      return node.id;
    case 'cluster':
      return node.cluster;
    case 'region':
      return node.locality?.region ?? '';
    case 'zone':
      return node.locality?.zone ?? '';
    case 'sub_zone':
      return node.locality?.subZone ?? '';
    case 'client':
      return client.slice(client.lastIndexOf('/') + 1);
    default: {
      const value = (node.metadata as Record<string, unknown> | undefined)?.[name.slice('metadata.'.length)];
      return typeof value === 'string' ? value : '';
    }
  }
}

/** The tokens of a file, one a line; each may be renewed by a second one for a while. @throws Error */
function tokensOf(path: string): readonly Buffer[] {
  const tokens = readFileSync(path, 'utf8')
    .split('\n')
    .map((line) => line.trim());
  const given = tokens.filter((line) => line !== '');
  if (given.length === 0) throw new Error(`${path} holds no token`);
  if (given.some((token) => token.length < MIN_TOKEN_BYTES)) {
    throw new Error(`${path}: a token has at least ${MIN_TOKEN_BYTES} characters`);
  }
  return given.map(digest);
}

/** Read at each call: calls are rare, and a token that was withdrawn counts no more. */
function isToken(path: string, bearer: string): boolean {
  const given = digest(bearer);
  try {
    // All are compared: how long it takes tells nothing.
    return tokensOf(path).filter((token) => timingSafeEqual(token, given)).length > 0;
  } catch {
    return false;
  }
}
